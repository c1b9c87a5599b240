"""The training loss: Σ weight·nll over the targets, divided by Σ weight of the whole global batch.

Written so that micro-batches, packing, sharing and world size do not change a step (invariant 6):
a micro-batch contributes a sum, never a mean of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_ELEMENTS = 1 << 24  # fp32 elements of one temporary: 64 MiB


def step_loss(
    logits: Tensor,
    target_ids: Tensor,
    weights: Tensor,
    total_weight: float,
    *,
    rows: Tensor | None = None,
    world_size: int = 1,
) -> Tensor:
    """This micro-batch's share of the step's loss, an fp32 scalar to call `backward` on.

    `total_weight` is Σ weight over all micro-batches of all ranks. The shares of a step add up to
    its loss; FSDP and DDP average gradients over ranks instead of adding them, which
    `world_size` undoes. Raises ValueError unless `total_weight` is positive: a step without
    targets has no loss and must be skipped.
    """
    if not total_weight > 0:
        raise ValueError(f"a step needs targets, total weight is {total_weight}")
    return weighted_nll(logits, target_ids, weights, rows=rows) * (world_size / total_weight)


def weighted_nll(
    logits: Tensor, target_ids: Tensor, weights: Tensor, *, rows: Tensor | None = None
) -> Tensor:
    """Σ weights[t] · -log softmax(logits[rows[t]])[target_ids[t]], an fp32 scalar.

    logits: [S, V], any floating type; target_ids: int64 [T]; weights: floating [T];
    rows: int64 [T], the logits row of each target (default: target t has row t, T = S).
    Computed in fp32, a few rows at a time: beside the logits and their gradient, nothing of size
    S·V ever exists. Can be differentiated once, with respect to the logits.
    """
    if rows is None:
        assert len(logits) == len(target_ids), "without rows, every target needs its own"
        rows = torch.arange(len(target_ids), device=logits.device)
    nll = _WeightedNLL.apply(logits, rows, target_ids, weights.float())  # type: ignore[no-untyped-call]
    assert isinstance(nll, Tensor)
    return nll


class _WeightedNLL(torch.autograd.Function):
    """d/dlogits = (Σ weights of the row) · softmax - (weight at each target)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        lse = torch.cat([chunk.float().logsumexp(-1) for chunk in _chunks(logits)])
        ctx.save_for_backward(logits, lse, rows, ids, weights)
        return (weights * (lse[rows] - logits[rows, ids].float())).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        logits, lse, rows, ids, weights = ctx.saved_tensors
        weights = weights * upstream
        row_weight = torch.zeros_like(lse).index_add_(0, rows, weights)
        gradient = torch.empty_like(logits)
        order = torch.argsort(rows, stable=True)
        counts = torch.bincount(rows, minlength=len(logits)).tolist()
        start = first = 0
        for out, chunk in zip(_chunks(gradient), _chunks(logits), strict=True):
            stop, last = start + len(chunk), first + sum(counts[start : start + len(chunk)])
            exact = (
                (chunk.float() - lse[start:stop, None]).exp_().mul_(row_weight[start:stop, None])
            )
            here = order[first:last]
            # In fp32 still: softmax - 1 near 0 is where rounding to bf16 first would hurt.
            exact.index_put_((rows[here] - start, ids[here]), -weights[here], accumulate=True)
            out.copy_(exact)
            start, first = stop, last
        return gradient, None, None, None


def _chunks(matrix: Tensor) -> Sequence[Tensor]:
    chunks: Sequence[Tensor] = matrix.split(max(1, _CHUNK_ELEMENTS // max(1, matrix.shape[-1])))
    return chunks
