"""Evaluation leaves a model as it found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """No dropout, no gradients, no autocast; every module's own mode, and the model's attention
    function, are restored at the end.

    Dropout off also means that nothing is drawn from the random number generator. Activation
    checkpointing acts only in training mode, so it does not get in the way of the KV cache.
    Autocast would cast all weights again at every decoding step, and would give verification
    and decoding another dtype than the one the model is held in.
    """
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    training = [module for module in modules if module.training]
    device = device_of(model)
    attention = _attention(model)
    for module in training:
        module.training = False
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        if attention is not None and _attention(model) != attention:
            model.set_attn_implementation(attention)  # a forest forward changes it
        for module in training:
            module.training = True


def _attention(model: Any) -> str | None:
    config = getattr(model, "config", None)
    name = getattr(config, "_attn_implementation", None)
    return name if isinstance(name, str) else None


def device_of(model: Any) -> torch.device:
    """The device of the first parameter; the CPU for an object without parameters."""
    parameters = getattr(model, "parameters", None)
    if callable(parameters):
        for parameter in parameters():
            return torch.device(parameter.device)
    return torch.device("cpu")
