"""Exact attention over a token forest, as an attention function of transformers.

The forest is cut into segments, maximal runs without a fork. A segment's queries see all keys of
its ancestor segments (the root path) and, causally, its own: ordinary attention with more keys
than queries, no dense mask over the forest. The plan travels as the model keyword argument
`path_plan`, so that a layer that activation checkpointing runs again sees its own batch.

Importing this module registers the attention function `tooltune_path`. Without a plan it is
transformers' own SDPA attention, mask included, so a model may keep it for all its calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tooltune.render.forest import TokenForest

NAME = "tooltune_path"


@dataclass(frozen=True, slots=True)
class PathPlan:
    """The segments of a forest in depth-first order.

    `sizes[i]` is the number of tokens of segment i; `ancestors[i]` the segments on its root path,
    root first, itself left out.
    """

    sizes: tuple[int, ...]
    ancestors: tuple[tuple[int, ...], ...]


def plan_segments(forest: TokenForest) -> PathPlan:
    """Cut `forest` into segments: a node and its next share one iff their subtrees end together."""
    n = len(forest)
    cuts = np.flatnonzero(np.diff(forest.end)) + 1
    starts = [0, *cuts.tolist()] if n else []
    sizes = np.diff([*starts, n]).tolist() if n else []
    ancestors: list[tuple[int, ...]] = []
    path: list[int] = []  # the segments that are still open
    for i, start in enumerate(starts):
        while path and forest.end[starts[path[-1]]] <= start:
            path.pop()
        ancestors.append(tuple(path))
        path.append(i)
    return PathPlan(sizes=tuple(sizes), ancestors=tuple(ancestors))


def path_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    path_plan: PathPlan | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer; query [1, H, N, D], key and value [1, H_kv, N, D] -> [1, N, H, D].

    N tokens lie in forest order. With `path_plan=None`: transformers' SDPA for any shapes.
    """
    if path_plan is None:
        if attention_mask is not None and attention_mask.numel() == 0:
            raise RuntimeError(f"{type(module).__name__} was given a forest without its plan")
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    assert query.shape[0] == 1, "a forest is one row"
    assert query.shape[2] == key.shape[2] == sum(path_plan.sizes), "the cache must start empty"
    groups = query.shape[1] // key.shape[1]
    # split, not slices: the backward of a slice writes a zero tensor of the full size.
    queries = query.split(path_plan.sizes, dim=2)
    keys = key.split(path_plan.sizes, dim=2)
    values = value.split(path_plan.sizes, dim=2)
    outputs = []
    for i, ancestors in enumerate(path_plan.ancestors):
        path = [*ancestors, i]
        outputs.append(
            scaled_dot_product_attention(
                queries[i],
                _repeat(_join([keys[j] for j in path]), groups),
                _repeat(_join([values[j] for j in path]), groups),
                attn_mask=_lower_right(path_plan, i, query.device),
                dropout_p=dropout,
                is_causal=not ancestors,
                scale=scaling,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def no_mask(device: torch.device) -> Tensor:
    """The attention mask of a forest forward: transformers hands a 4D mask on and builds none.

    It is empty, so that a layer that lost the plan fails instead of attending to the wrong keys.
    """
    return torch.empty(1, 1, 0, 0, dtype=torch.bool, device=device)


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _repeat(tensor: Tensor, groups: int) -> Tensor:
    """Each key/value head once per query head of its group: [1, H_kv, n, D] -> [1, H, n, D]."""
    return tensor if groups == 1 else tensor.repeat_interleave(groups, dim=1)


def _lower_right(plan: PathPlan, i: int, device: torch.device) -> Tensor | None:
    """Bool [queries, keys]: all of the root path, then causal; None where plain causal will do."""
    if not plan.ancestors[i]:
        return None
    before = sum(plan.sizes[j] for j in plan.ancestors[i])
    own = plan.sizes[i]
    return torch.ones(own, before + own, dtype=torch.bool, device=device).tril(before)


AttentionInterface.register(NAME, path_attention)
# Without a plan, the mask is SDPA's. With one, `no_mask` is the mask, see there.
AttentionMaskInterface.register(NAME, sdpa_mask)
