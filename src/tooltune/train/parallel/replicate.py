"""DDP without a wrapper: every rank holds the whole model, and gradients are added once a step.

The sum is taken over the fp32 masters' gradients after the last micro-batch, so ranks may have
different numbers of micro-batches, and accumulation costs no communication.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET_ELEMENTS = 1 << 24  # fp32 elements sent at once: 64 MiB


def sum_gradients(parameters: Mapping[str, nn.Parameter]) -> None:
    """Add every gradient over all ranks; one that no rank has stays None."""
    wanted = list(parameters.values())
    if not wanted:
        return
    used = torch.tensor([float(p.grad is not None) for p in wanted], device=wanted[0].device)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    gradients: list[Tensor] = []
    for parameter, somewhere in zip(wanted, used.tolist(), strict=True):
        if somewhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None:
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET_ELEMENTS:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
