"""Attention of a few new tokens a row over cached keys and values, most of which rows share.

A batch's rows stand in groups; the rows of a group have a prefix in common, whose keys and values
are stored once and read once for all of them. What a row has behind it lies in the row's own
columns, from the left, with room to grow. The two parts of a softmax are merged by their maxima
and sums (Dao et al. 2022, arXiv:2205.14135, section 3.1). Scores and sums are fp32 in any dtype.

Importing this module registers the attention function `tooltune_rows`. The plan travels as the
model keyword argument `rows_plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "tooltune_rows"

States = tuple[Tensor, Tensor]
"""Keys and values of one layer."""


@dataclass(frozen=True, slots=True)
class RowsPlan:
    """N new tokens, those of a row side by side, rows in the order of the batch.

    shared: per group, per layer: keys and values [key heads, prefix, head size].
    group_tokens: per group, how many of the N tokens are its rows'.
    own: per layer: keys and values [rows, key heads, columns, head size]; written to.
    row, place, column: int64 [N]. A token's row, its place among its row's new tokens, and the own
        column that it takes.
    visible: bool [rows, most new tokens of a row, columns read]: the own columns it sees.
    """

    shared: tuple[tuple[States, ...], ...]
    group_tokens: tuple[int, ...]
    own: tuple[States, ...]
    row: Tensor
    place: Tensor
    column: Tensor
    visible: Tensor


@dataclass(frozen=True, slots=True)
class _Part:
    """Softmax over some of the keys, not yet divided: largest score, sum [.., 1], weighted values
    [.., head size]."""

    top: Tensor
    total: Tensor
    values: Tensor


def row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows_plan: RowsPlan | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer; query [1, H, N, D], key and value [1, H_kv, N, D] -> [1, N, H, D]."""
    if rows_plan is None:
        raise RuntimeError(f"{type(module).__name__} was given rows without their plan")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    (_, heads, count, size), kv_heads = query.shape, key.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    own_keys, own_values = rows_plan.own[layer]
    own_keys[rows_plan.row, :, rows_plan.column] = key[0].transpose(0, 1)
    own_values[rows_plan.row, :, rows_plan.column] = value[0].transpose(0, 1)
    # The query heads of a group become rows of their key head: nothing is repeated.
    packed = (query[0] * scale).float().view(kv_heads, heads // kv_heads, count, size)
    packed = packed.permute(2, 0, 1, 3)  # [N, key heads, heads a key head, head size]
    own = _own_part(packed, own_keys, own_values, rows_plan)
    shared = _shared_part(packed, [group[layer] for group in rows_plan.shared], rows_plan)
    top = torch.maximum(own.top, shared.top)
    left, right = (own.top - top).exp(), (shared.top - top).exp()
    total = own.total * left + shared.total * right
    out = (own.values * left + shared.values * right) / total
    return out.reshape(1, count, heads, size).to(query.dtype), None


def _own_part(query: Tensor, keys: Tensor, values: Tensor, plan: RowsPlan) -> _Part:
    (_, kv_heads, groups, size), (rows, places, columns) = query.shape, plan.visible.shape
    padded = query.new_zeros(rows, places, kv_heads, groups, size)
    padded[plan.row, plan.place] = query
    padded = padded.permute(0, 2, 1, 3, 4).reshape(rows, kv_heads, places * groups, size)
    scores = padded @ keys[:, :, :columns].float().transpose(-1, -2)
    scores = scores.view(rows, kv_heads, places, groups, columns)
    # Not -inf: a row without a new token would give NaN.
    scores.masked_fill_(~plan.visible[:, None, :, None], torch.finfo(torch.float32).min)
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    flat = weights.view(rows, kv_heads, places * groups, columns)
    mixed = (flat @ values[:, :, :columns].float()).view(rows, kv_heads, places, groups, size)
    return _Part(*(part[plan.row, :, plan.place] for part in (top, total, mixed)))


def _shared_part(query: Tensor, layer: list[States], plan: RowsPlan) -> _Part:
    _, kv_heads, groups, size = query.shape
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for part, (keys, values) in zip(query.split(plan.group_tokens), layer, strict=True):
        count = len(part)
        if count == 0:  # its rows are over
            continue
        flat = part.transpose(0, 1).reshape(kv_heads, count * groups, size)
        scores = flat @ keys.float().transpose(-1, -2)
        top = scores.amax(-1, keepdim=True)
        weights = scores.sub_(top).exp_()
        found = (top, weights.sum(-1, keepdim=True), weights @ values.float())
        top, total, mixed = (t.view(kv_heads, count, groups, -1).transpose(0, 1) for t in found)
        parts.append((top, total, mixed))
    return _Part(*(torch.cat(some) for some in zip(*parts, strict=True)))


AttentionInterface.register(NAME, row_attention)
# Never asked: a plan comes with an empty 4D mask, which transformers hands on as it is.
AttentionMaskInterface.register(NAME, sdpa_mask)
