"""AdamW, the learning rate of a step, and gradient clipping that refuses to go on after a NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

Style = Literal["cosine", "linear", "constant"]


class NonFiniteError(RuntimeError):
    """A loss or gradient is NaN or infinite; raised before the update, weights are untouched."""


def make_optimizer(
    parameters: Mapping[str, nn.Parameter],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    no_decay: Collection[str] = (),
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) over fp32 masters, in torch's fused kernels.

    Weights of two and more dimensions decay, LoRA matrices among them. Biases and norm gains (one
    dimension) do not, nor do those named in `no_decay` (see `embedding_names`).
    """
    assert all(p.dtype == torch.float32 for p in parameters.values()), "masters must be fp32"
    decayed = [p for name, p in parameters.items() if p.ndim >= 2 and name not in no_decay]
    others = [p for name, p in parameters.items() if p.ndim < 2 or name in no_decay]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=lr,
        betas=betas,
        eps=eps,
        fused=all(p.device.type in ("cpu", "cuda") for p in parameters.values()),
    )


def embedding_names(model: nn.Module) -> frozenset[str]:
    """Names, as `named_parameters` gives them, of embedding tables (an output tied to one too).

    A row of a token that a batch does not hold gets no gradient: decay would only erase it.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return frozenset(name for name, p in model.named_parameters() if id(p) in tables)


def learning_rate(
    step: int,
    total_steps: int,
    *,
    lr: float,
    min_lr: float = 0.0,
    warmup_steps: int = 0,
    style: Style = "cosine",
) -> float:
    """The learning rate of update `step` (0-based), a pure function: resuming needs no state.

    Warm-up is linear, lr·(step+1)/warmup_steps: the first update is not wasted on lr 0 and the
    last of the warm-up has the full lr. The first update after it has it too; from there the rate
    falls to `min_lr`, which would be reached at step `total_steps`, one past the last. `cosine`:
    min_lr + (lr-min_lr)·(1+cos(π·progress))/2 (Loshchilov & Hutter, SGDR, 2017, eq. 5).
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return min_lr + (lr - min_lr) * _SHAPES[style](progress)


_SHAPES: dict[Style, Callable[[float], float]] = {
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
}


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` for the next update, in every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def clip_gradients(parameters: Mapping[str, nn.Parameter], max_norm: float | None = None) -> float:
    """Scale gradients so that their joint L2 norm is at most `max_norm`; return the norm before.

    Computed in fp32, over all ranks where gradients are sharded. `None` clips nothing. Raises
    `NonFiniteError`, naming the first parameters at fault, where a gradient is NaN or infinite:
    call it before every optimizer step.
    """
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    if not gradients:
        return 0.0
    norms = _norms(list(gradients.values()))
    total = float(torch.linalg.vector_norm(norms))
    if not math.isfinite(total):
        sizes = zip(gradients, norms.tolist(), strict=True)
        bad = [name for name, size in sizes if not math.isfinite(size)]
        shown = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        raise NonFiniteError(
            f"the gradient is not finite (norm {total}) in {shown or 'their sum'}; "
            "the update was not made\n"
            "  fix: a lower optimizer.lr, more lr_scheduler.lr_warmup_steps, or fp32 compute"
        )
    if max_norm is not None and total > max_norm:
        torch._foreach_mul_(list(gradients.values()), max_norm / (total + 1e-6))
    return total


def _norms(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """The L2 norm of each gradient, fp32 [n]; a sharded one's over all of its shards."""
    device = gradients[0].device
    local = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
    norms = torch.stack(
        [torch.linalg.vector_norm(g, dtype=torch.float32).to(device) for g in local]
    )
    first = gradients[0]
    if not isinstance(first, DTensor):
        return norms
    # Weights are copied along every other dimension of the mesh: shards are along the last one.
    squares = norms.square()
    dist.all_reduce(squares, group=first.device_mesh.get_group(first.device_mesh.ndim - 1))
    return squares.sqrt()
