"""Training goes on after an evaluation as if there had been none."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Inside, `model` computes in the type of its weights; at the end all generators of random
    numbers are as they were.

    The engines restore the modes of modules by themselves.
    """
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices), _without_autocast(model):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _without_autocast(model: Any) -> Iterator[None]:
    """Take off the autocast that accelerate puts around `forward` for `bf16=True`.

    It would cast every weight again at each decoding step. `Accelerator.prepare_model` keeps what
    it wraps as `_original_forward`.
    """
    attributes = getattr(model, "__dict__", {})
    wrapped, original = attributes.get("forward"), attributes.get("_original_forward")
    if wrapped is None or original is None:
        yield
        return
    model.forward = original
    try:
        yield
    finally:
        model.forward = wrapped
