"""Kernels that give the same bits each time, on request.

On a CPU every operation here is deterministic for a given number of threads. On CUDA some add in
whatever order threads finish (`index_add_`, `index_put_` with accumulation, the backward pass of
an embedding and of fused attention), and cuBLAS may choose another order for each stream.
https://docs.pytorch.org/docs/stable/notes/randomness.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tooltune.errors import UserError

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_DETERMINISTIC = (":4096:8", ":16:8")


@contextmanager
def deterministic_kernels(on: bool) -> Iterator[None]:
    """Inside, PyTorch computes with deterministic algorithms only, or raises where it has none.

    Enter it before anything is computed on a GPU: cuBLAS reads its setting once, when it starts.
    On leaving, all switches are put back. With `on` False nothing changes.

    Raises UserError if CUBLAS_WORKSPACE_CONFIG is set to something else, or cuBLAS may have
    started without it.
    """
    if not on:
        yield
        return
    workspace = os.environ.get(_CUBLAS)
    _check_cublas(workspace)
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    os.environ[_CUBLAS] = workspace or _DETERMINISTIC[0]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # Filling fresh memory finds bugs; what is computed from it here is always written first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic = before[2]
        torch.backends.cudnn.benchmark = before[3]
        torch.utils.deterministic.fill_uninitialized_memory = before[4]  # type: ignore[attr-defined]
        if workspace is None:
            del os.environ[_CUBLAS]


def _check_cublas(workspace: str | None) -> None:
    allowed = " or ".join(_DETERMINISTIC)
    if workspace is not None and workspace not in _DETERMINISTIC:
        raise UserError(
            f"deterministic: true, and the environment sets {_CUBLAS} to {workspace!r}, with which "
            "cuBLAS does not promise the same result twice",
            fix=f"unset it, or set it to {allowed}",
        )
    if workspace is None and _gpu_was_used():
        raise UserError(
            f"deterministic: true, but this process has used its GPU without {_CUBLAS} already",
            fix=f"set {_CUBLAS}={_DETERMINISTIC[0]} before the process starts",
        )


def _gpu_was_used() -> bool:
    """Whether a tensor has been on a GPU: choosing a device alone does not start cuBLAS."""
    return torch.cuda.is_initialized() and torch.cuda.max_memory_allocated() > 0
