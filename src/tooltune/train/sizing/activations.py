"""Bytes that a forward pass keeps for its backward pass, per token, told from a model's shape.

The method is that of Korthikanti et al., "Reducing Activation Recomputation in Large Transformer
Models" (MLSys 2023), section 4.1: list what each operation needs for its gradient. The list is that
of transformers' Llama-like blocks over our path attention, run eagerly, which keeps more than
theirs: norms compute in fp32, a gated MLP has one tensor more, and keys and values are repeated for
all query heads. A test counts what autograd really saves.
"""

from __future__ import annotations

from dataclasses import dataclass

from tooltune.models.shapes import ModelShape

_FP32 = 4
_MASK = 1  # a dropout mask is a byte an element


@dataclass(frozen=True, slots=True)
class Adapters:
    """What LoRA adds to a layer: `inputs` and `outputs` of its adapted linears, summed."""

    rank: int
    number: int
    inputs: int
    outputs: int
    dropout: bool
    dora: bool


def layer_bytes(shape: ModelShape, width: int, adapters: Adapters | None) -> float:
    """One layer, one token, nothing computed again; `width` is that of the compute dtype.

    Norms: the fp32 copy that they normalise, its rounded result where their weights learn, and the
    output, which the linear layers after them read. Attention: queries, keys and values (of all
    heads), its result, and that result as the output projection reads it. MLP: gate, activated
    gate, up, and their product, of each active expert; experts also copy their input, and keep
    their output to weigh it.
    """
    hidden, query, mlp = shape.hidden, shape.query_width, shape.intermediate
    norms = shape.norm_width * (_FP32 + (width if adapters is None else 0)) + 2 * hidden * width
    attention = 5 * query * width + shape.heads * _FP32
    routed = 2 * shape.active_experts * hidden * width + 4 * shape.experts * _FP32
    kept = norms + attention + 4 * mlp * width + routed
    if adapters is not None:
        kept += adapters.number * adapters.rank * width
        kept += adapters.inputs * (width + _MASK) if adapters.dropout else 0
        kept += 2 * adapters.outputs * width if adapters.dora else 0
    return float(kept)


def selective_bytes(shape: ModelShape, width: int, adapters: Adapters | None) -> float:
    """One layer, one token, under selective checkpointing: what `train/activation.py` keeps.

    The layer's input, the result of attention, and every second matrix product: of q, k, v, o,
    gate, up and down the first, third, fifth and seventh. With adapters each linear layer has three
    products, its own and two of the adapter: the same layers' own and last are kept, and the
    narrow one between of the other three.
    """
    query, kv = shape.query_width, shape.kv_width
    products = query + kv + shape.intermediate + shape.hidden
    if adapters is not None:
        products = 2 * products + 3 * adapters.rank
    return float((shape.hidden + products + query) * width + shape.heads * _FP32)


def model_bytes(
    shape: ModelShape, width: int, checkpointing: str, adapters: Adapters | None
) -> float:
    """All layers and the last norm, one token, with `model.activation_checkpointing`.

    Whatever is computed again is computed for one layer at a time, which then is whole for a while.
    """
    layer = layer_bytes(shape, width, adapters)
    last_norm = shape.hidden * (_FP32 + (width if adapters is None else 0))
    if checkpointing == "none":
        return shape.layers * layer + last_norm
    kept = float(shape.hidden * width)
    if checkpointing == "selective":
        kept = selective_bytes(shape, width, adapters)
    return shape.layers * kept + layer + last_norm


def score_bytes(shape: ModelShape, width: int, checkpointing: str) -> float:
    """Eager attention keeps its score matrices: bytes for each *pair* of tokens of a sequence.

    The softmax in fp32 and its result in the compute dtype, of all layers or of the one at work.
    """
    layers = shape.layers if checkpointing == "none" else 1
    return float(layers * shape.heads * (_FP32 + width))


def target_bytes(shape: ModelShape, width: int) -> float:
    """One target: its logits, their gradient, and its hidden state."""
    return float(width * (2 * shape.vocab + shape.hidden))


def backward_bytes(shape: ModelShape, width: int) -> float:
    """Gradients that live at once in a layer's backward pass beside what it kept, one token.

    They are most in the MLP; further on, what was kept goes as fast as gradients come.
    """
    return float(2 * (shape.intermediate + shape.hidden) * width)
