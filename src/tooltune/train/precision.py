"""bf16 compute with fp32 master weights, without autocast.

bf16 has 8 significant bits: near 1.0 the next number is 0.0078 away, so an AdamW update of 1e-5
applied to a bf16 weight is lost, and gradients of many micro-batches summed in bf16 lose the small
ones. So the model computes in bf16, while weights and gradient sums live in fp32 (Micikevicius
et al., "Mixed Precision Training", ICLR 2018). Autocast would recast every weight at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that require a gradient, by name; a tied weight once, under its first name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class MasterWeights:
    """fp32 masters of a model's trainable parameters, which themselves become `compute_dtype`.

    After each backward pass a parameter's gradient is added to its master's fp32 `.grad` and
    freed. So: backward any number of micro-batches, clip and step the masters, `write_back`.
    Frozen parameters and buffers are left alone. With `compute_dtype` fp32
    a parameter is its own master and nothing is copied.

    LoRA: adapters that `add_lora` made are fp32 over a base of any dtype; `compute_dtype=fp32`
    leaves them so (PEFT casts activations at each adapter), bf16 computes them in bf16.
    """

    def __init__(self, model: nn.Module, compute_dtype: torch.dtype) -> None:
        self.compute_dtype = compute_dtype
        self._compute = trainable_parameters(model)
        self._masters: dict[str, nn.Parameter] = {}
        for name, parameter in self._compute.items():
            if compute_dtype == torch.float32:
                parameter.data = parameter.data.to(torch.float32)
                self._masters[name] = parameter
                continue
            master = nn.Parameter(parameter.detach().to(torch.float32, copy=True))
            self._masters[name] = master
            parameter.data = parameter.data.to(compute_dtype)
            hook = _adder(master)
            parameter.register_post_accumulate_grad_hook(hook)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The fp32 masters by the model's parameter names: what to optimise, clip and save."""
        return dict(self._masters)

    @torch.no_grad()
    def write_back(self) -> None:
        """Round the masters into the model's parameters; call after each optimizer step."""
        for name, master in self._masters.items():
            if self._compute[name] is not master:
                self._compute[name].copy_(master)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Inside, the model's trainable parameters *are* the fp32 masters: to save or evaluate.

        The parameters stay the same objects (ties hold); no backward pass inside.
        """
        rounded = {name: parameter.data for name, parameter in self._compute.items()}
        for name, master in self._masters.items():
            self._compute[name].data = master.data
        try:
            yield
        finally:
            for name, parameter in self._compute.items():
                parameter.data = rounded[name]


def _adder(master: nn.Parameter) -> Callable[[torch.Tensor], None]:
    def add(parameter: torch.Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if master.grad is None:
            master.grad = gradient.to(torch.float32)
        else:
            master.grad.add_(gradient)
        parameter.grad = None

    return add
