"""Forwards in step: ranks that have different amounts to do with one sharded model.

Every forward of a sharded model gathers its weights from all ranks, so all of them must run the
same number of forwards. Here each forward begins with a question to all ranks, and a rank that is
done answers with empty forwards until the last one is done too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule


def _nothing() -> None: ...


def needs_synchrony(model: Any) -> bool:
    """Whether `model` is sharded over several ranks."""
    return isinstance(model, FSDPModule) and dist.is_initialized() and dist.get_world_size() > 1


class Torn(BaseException):
    """A forward of a sharded model, or gathering its weights, failed half-way on this rank alone;
    `__cause__` says how.

    The others wait in a collective that this rank cannot join any more: nothing is left but to
    end this process, which ends them. Not an `Exception`: code that forgives a bad sample, or
    asks the other ranks, must not stand in the way.
    """


@contextmanager
def synchronous_forwards(model: Any, on_forward: Callable[[], None] = _nothing) -> Iterator[None]:
    """Inside, ranks may run unequal numbers of forwards of `model`, in evaluation mode.

    Every rank must enter. An exception between two forwards leaves only after all other ranks are
    done. `on_forward` is called at each forward. For a model that is not sharded this does
    nothing.

    Raises: Torn where a forward fails, out of memory say.
    """
    if not needs_synchrony(model):
        yield
        return
    device = _device(model)
    inside = False

    def begin(*_: Any) -> None:
        nonlocal inside
        if inside:
            raise Torn("a forward before this one failed half-way")
        on_forward()
        _someone_goes_on(True, device)
        inside = True

    def end(*_: Any) -> None:
        nonlocal inside
        inside = False

    hooks = [
        model.register_forward_pre_hook(begin, prepend=True),
        model.register_forward_hook(end),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if inside:
            cause = sys.exception()
            raise Torn(f"a forward of a sharded model failed half-way: {cause}") from cause
        keep_pace(model, on_forward)


def keep_pace(model: Any, on_forward: Callable[[], None] = _nothing) -> None:
    """Run empty forwards until no rank has another forward to run."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    token = torch.zeros(1, 1, dtype=torch.long, device=next(model.parameters()).device)
    device = _device(model)
    try:
        with torch.no_grad():
            while _someone_goes_on(False, device):
                on_forward()
                try:
                    model(input_ids=token, use_cache=False)
                except Exception as error:
                    raise Torn(f"an empty forward failed half-way: {error}") from error
    finally:
        for module in training:
            module.training = True


def _someone_goes_on(here: bool, device: torch.device) -> bool:
    flag = torch.tensor([float(here)], device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def _device(model: Any) -> torch.device:
    """Where to ask: over the CPU if the process group can, so that a GPU is not waited for."""
    over_cpu = "cpu" in dist.get_backend_config()
    return torch.device("cpu") if over_cpu else torch.device(next(model.parameters()).device)
