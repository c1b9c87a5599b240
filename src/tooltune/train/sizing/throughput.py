"""How fast a run can be expected to go: floating-point operations, divided by what GPUs reach.

An estimate, and a wide one: the share of its peak that a GPU reaches depends on kernels, lengths
and the network, so two bounds are given.
"""

from __future__ import annotations

from dataclasses import dataclass

from tooltune.config.schema import Config
from tooltune.models.shapes import ModelShape
from tooltune.train.sizing.memory import GIB, trained_parameters


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU: memory as CUDA reports it, and peak dense operations a second (with fp32 sums)."""

    name: str
    memory: float
    bfloat16: float
    float32: float


# Data sheets of NVIDIA: H100 and H200 (SXM), A100 (SXM, 80 GB), GeForce RTX 4090. Dense peaks: half
# of those that count on sparsity. fp32 without TF32, which PyTorch does not use by itself.
DEVICES = {
    "RTX 4090": Device("RTX 4090", 23.5 * GIB, 165.2e12, 82.6e12),
    "A100": Device("A100", 79.1 * GIB, 312e12, 19.5e12),
    "H100": Device("H100", 79.1 * GIB, 989.4e12, 66.9e12),
    "H200": Device("H200", 139.8 * GIB, 989.4e12, 66.9e12),
}

# Of the peak, counting operations that are made twice as well. The upper bound is what a tuned
# recipe reaches (torchtitan, docs/performance.md: 33 % for Llama-3.1-8B on 8 H100 with FSDP2, 39 %
# compiled, over 50 % on A100); plain modules without fused kernels, short traces and small models
# stay well below.
UTILISATION = (0.15, 0.40)


def operations_per_token(
    config: Config, shape: ModelShape, *, context: float, target_share: float
) -> float:
    """Floating-point operations of a step, for each of its tokens.

    Twice the parameters that compute a token in the forward pass, and again twice that in the
    backward pass: 6·N (Kaplan et al., "Scaling Laws", 2020, section 2.1). With LoRA frozen weights
    have no gradient of their own: 4·N, and 6 for each parameter of the adapters. Attention is
    4·`context`·(query width) a layer in the forward pass, `context` being the keys that a token
    sees on average. The head works for targets alone. Activation checkpointing adds a forward pass
    (full), or its attention and pointwise half, counted as a third of it (selective).
    """
    table = shape.vocab * shape.hidden
    body = shape.active - shape.embeddings
    matrices = 2 * (body + table * target_share)
    attention = 4 * shape.layers * shape.query_width * context
    again = {"none": 0.0, "selective": 1 / 3, "full": 1.0}[config.model.activation_checkpointing]
    if config.peft is None:
        return (3 + again) * (matrices + attention)
    adapters = 6 * trained_parameters(config, shape)
    return (2 + again) * matrices + (3 + again) * attention + adapters


def tokens_per_second(
    config: Config,
    shape: ModelShape,
    gpus: int,
    device: Device,
    *,
    context: float,
    target_share: float,
) -> tuple[float, float]:
    """Tokens a second of all GPUs together, between two bounds."""
    operations = operations_per_token(config, shape, context=context, target_share=target_share)
    peak = device.bfloat16 if config.model.dtype == "bfloat16" else device.float32
    low, high = (gpus * peak * share / operations for share in UTILISATION)
    return low, high


def device_named(name: str) -> Device | None:
    """The device of `DEVICES` that a name such as `NVIDIA H100 80GB HBM3` means."""
    return next((device for key, device in DEVICES.items() if key in name), None)
