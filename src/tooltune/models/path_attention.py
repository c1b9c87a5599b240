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
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    assert query.shape[0] == 1, "a forest is one row"
    assert query.shape[2] == key.shape[2] == sum(path_plan.sizes), "the cache must start empty"
    # split, not slices: the backward of a slice writes a zero tensor of the full size.
    queries = query.split(path_plan.sizes, dim=2)
    keys = key.split(path_plan.sizes, dim=2)
    values = value.split(path_plan.sizes, dim=2)
    outputs = []
    for i, ancestors in enumerate(path_plan.ancestors):
        path = [*ancestors, i]
        outputs.append(
            _attend(
                queries[i],
                torch.cat([keys[j] for j in path], dim=2) if ancestors else keys[i],
                torch.cat([values[j] for j in path], dim=2) if ancestors else values[i],
                dropout_p=dropout,
                scale=scaling,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _attend(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """Causal attention, aligned at the last key: [1, H, q, D] over [1, H_kv, k >= q, D]."""
    (_, heads, q, _), (_, kv_heads, k, _) = query.shape, key.shape
    groups = heads // kv_heads
    if q == k:
        key, value = (t.repeat_interleave(groups, dim=1) if groups > 1 else t for t in (key, value))
        return scaled_dot_product_attention(query, key, value, is_causal=True, **options)
    # The query heads of a group become rows of their key head: nothing is repeated, and the CPU
    # kernel's blocks grow with the number of rows (a quarter less time, measured).
    visible = torch.ones(q, k, dtype=torch.bool, device=query.device).tril(k - q)
    packed = scaled_dot_product_attention(
        query.reshape(1, kv_heads, groups * q, -1),
        key,
        value,
        attn_mask=visible.repeat(groups, 1),
        **options,
    )
    return packed.reshape(1, heads, q, -1)


def no_mask(device: torch.device) -> Tensor:
    """The attention mask of a forest forward: transformers hands a 4D mask on and builds none.

    It is empty, so that a layer that lost the plan fails instead of attending to the wrong keys.
    """
    return torch.empty(1, 1, 0, 0, dtype=torch.bool, device=device)


AttentionInterface.register(NAME, path_attention)
# Without a plan, the mask is SDPA's. With one, `no_mask` is the mask, see there.
AttentionMaskInterface.register(NAME, sdpa_mask)
