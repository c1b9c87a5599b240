"""GPU memory of a training run, told from the config and the model's shape: an estimate.

It adds up what the recipe holds. Unsharded (one process, or DDP): weights in the compute dtype,
their fp32 masters, fp32 gradients and two fp32 moments of AdamW: 2 + 4 + 4 + 8 = 18 bytes a
parameter in bf16 (Rajbhandari et al., "ZeRO", SC 2020, section 3.1, counts 16: its gradients are
fp16). FSDP2: parameters stay fp32 and are their own masters, so 16 bytes, over the shards; beside
them the block that is at work is gathered whole. LoRA: the frozen weights once, and the rest for
the adapters alone. What grows with the micro-batch is in `activations.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tooltune.config.schema import Config, Peft
from tooltune.models.shapes import Linear, ModelShape
from tooltune.train.sizing.activations import (
    Adapters,
    backward_bytes,
    model_bytes,
    score_bytes,
    target_bytes,
)

GIB = 1024**3
GPUS_PER_NODE = 8
ASSUMED_TOKENS = 4096
TARGET_SHARE = 0.25

_WIDTH = {"bfloat16": 2, "float32": 4}
_FP32 = 4
# Layers of these names get no adapter where experts are fused tensors, see `lora.py`.
_NAMES_OF_EXPERTS = ("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
# NF4 with doubly quantized scales: 4.127 bits a weight (Dettmers et al., "QLoRA", section 3).
# LLM.int8: a byte, and an fp32 scale a row, which is lost in the rounding.
_QUANTIZED = {"nf4": 4.127 / 8, "int8": 1.0}
_CONTEXT = 1.0 * GIB  # CUDA context, its libraries and their workspaces
_COLLECTIVES = 1.0 * GIB  # buffers of NCCL and of the gradients that it is sending
_LOSS_CHUNKS = 0.2 * GIB  # fp32 pieces of the loss, whatever the batch
_FRAGMENTS = 0.06  # share of what comes and goes that the allocator cannot use


@dataclass(frozen=True, slots=True)
class Batch:
    """The largest micro-batch of one GPU: its tokens, and how many of them are targets."""

    tokens: int
    targets: int


def assumed_batch(config: Config) -> Batch:
    """Without data: one trace of `dataset.seq_length` tokens, or of a usual length."""
    tokens = config.dataset.seq_length or ASSUMED_TOKENS
    return Batch(tokens, max(1, round(tokens * TARGET_SHARE)))


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on each GPU. `items` adds up to `total`; `why` has a few words on each of them.

    per_token, per_pair: what each token of the micro-batch costs, with its share of targets, and
    with eager attention each pair of tokens.
    host: bytes of main memory that loading the model takes on one machine.
    """

    gpus: int
    layout: str
    batch: Batch
    items: Mapping[str, float]
    why: Mapping[str, str]
    per_token: float
    per_pair: float
    host: float

    @property
    def total(self) -> float:
        return sum(self.items.values())

    @property
    def fixed(self) -> float:
        """What is there whatever the micro-batch."""
        tokens = self.batch.tokens
        return self.total - self.per_token * tokens - self.per_pair * tokens**2

    def tokens_within(self, device_bytes: float) -> int:
        """Tokens of the largest micro-batch that fits, 0 if none does."""
        room = device_bytes - self.fixed
        if room <= 0:
            return 0
        if not self.per_pair:
            return int(room / self.per_token)
        # The positive root of per_pair·n² + per_token·n = room.
        root = math.sqrt(self.per_token**2 + 4 * self.per_pair * room)
        return int((root - self.per_token) / (2 * self.per_pair))


def estimate_memory(config: Config, shape: ModelShape, gpus: int, batch: Batch) -> MemoryEstimate:
    """What each of `gpus` GPUs holds at the peak of a step. The mesh is taken to be possible."""
    width = _WIDTH[config.model.dtype]
    copies = config.distributed.dp_replicate_size
    sharded = config.distributed.strategy == "fsdp2" and gpus > 1
    shards = gpus // copies if sharded else 1
    trained = trained_parameters(config, shape)
    adapters = _adapters(config.peft, shape)

    checkpointing = config.model.activation_checkpointing
    eager = config.model.attn_implementation == "eager"
    pair = score_bytes(shape, width, checkpointing) if eager else 0.0

    frozen = shape.parameters if config.peft else 0
    frozen_bytes = frozen * width - _saved_by_quantizing(config, shape, width)
    masters = trained * _FP32 if width < _FP32 and not sharded else 0
    own = trained * (_FP32 if sharded else width)
    items = {
        "weights": (frozen_bytes + own) / shards,
        "masters": masters,
        "gradients": trained * _FP32 / shards,
        "optimizer": 2 * trained * _FP32 / shards,
        "gathered": _gathered(config, shape, width) if sharded else 0.0,
        "activations": batch.tokens * model_bytes(shape, width, checkpointing, adapters),
        "scores": batch.tokens**2 * pair,
        "logits": batch.targets * target_bytes(shape, width),
        "backward": batch.tokens * backward_bytes(shape, width) + _widened(config, shape, width),
    }
    passing = sum(items[name] for name in ("activations", "scores", "logits", "backward"))
    constant = _CONTEXT + _LOSS_CHUNKS + (_COLLECTIVES if gpus > 1 else 0.0)
    items["reserve"] = constant + _FRAGMENTS * (passing + items["gathered"])
    grows = passing - items["scores"] - _widened(config, shape, width)
    return MemoryEstimate(
        gpus=gpus,
        layout=_layout(gpus, copies, sharded),
        batch=batch,
        items={name: float(size) for name, size in items.items() if size},
        why=_why(config, sharded, width),
        per_token=grows * (1 + _FRAGMENTS) / batch.tokens,
        per_pair=pair * (1 + _FRAGMENTS),
        host=_host(config, shape, gpus, sharded, width),
    )


def trained_parameters(config: Config, shape: ModelShape) -> int:
    """All of them; with LoRA those of the adapters, and of DoRA's magnitudes."""
    adapters = _adapters(config.peft, shape, per_layer=False)
    if adapters is None:
        return shape.parameters
    magnitudes = adapters.outputs if adapters.dora else 0
    return adapters.rank * (adapters.inputs + adapters.outputs) + magnitudes


def _adapters(peft: Peft | None, shape: ModelShape, *, per_layer: bool = True) -> Adapters | None:
    if peft is None:
        return None
    chosen = adapted_linears(peft, shape)
    share = shape.layers if per_layer else 1
    return Adapters(
        rank=peft.dim,
        number=len(chosen) // share,
        inputs=sum(linear.inputs for linear in chosen) // share,
        outputs=sum(linear.outputs for linear in chosen) // share,
        dropout=peft.dropout > 0,
        dora=peft.use_dora,
    )


def adapted_linears(peft: Peft, shape: ModelShape) -> list[Linear]:
    """The linear layers that `peft.target_modules` selects, by the rules of `add_lora`."""
    wanted = peft.target_modules
    patterns = [wanted] if isinstance(wanted, str) else list(wanted)
    taken = _NAMES_OF_EXPERTS if shape.experts else ()

    def matches(name: str, pattern: str) -> bool:
        if pattern == "all-linear":
            return True
        return fnmatchcase(name, pattern) if "*" in pattern else f".{name}".endswith(f".{pattern}")

    return [
        linear
        for linear in shape.linears
        if linear.name.rpartition(".")[2] not in taken
        and any(matches(linear.name, pattern) for pattern in patterns)
    ]


def _saved_by_quantizing(config: Config, shape: ModelShape, width: int) -> float:
    kind = config.peft.quantization if config.peft else None
    if kind is None:
        return 0.0
    return sum(linear.weights for linear in shape.linears) * (width - _QUANTIZED[kind])


def _widened(config: Config, shape: ModelShape, width: int) -> float:
    """The largest weight's gradient before it is added to its master, or a widened 4-bit weight."""
    if config.peft is None:
        return float(shape.largest_tensor * width)
    if config.peft.quantization is None:
        return 0.0
    return float(max((linear.weights for linear in shape.linears), default=0) * width)


def _gathered(config: Config, shape: ModelShape, width: int) -> float:
    """Whole weights that an FSDP2 rank holds for a while, and their gradients on the way out.

    The embeddings and the head stay gathered from the forward pass to the end of the backward
    pass. Of the blocks there are the one at work and the next one, which is being fetched (all of
    them without `reshard_after_forward`); where all weights learn, also the gradients of the one
    at work in the compute dtype, and those that are being reduced, in fp32.
    https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
    """
    learns = config.peft is None
    outside = shape.embeddings * width * (2 if learns else 1)
    blocks = 2 * shape.block if config.distributed.reshard_after_forward else 0
    if not config.distributed.reshard_after_forward:
        blocks = shape.block * shape.layers
    return float(outside + blocks * width + (shape.block * (width + _FP32) if learns else 0))


def _host(config: Config, shape: ModelShape, gpus: int, sharded: bool, width: int) -> float:
    """FSDP2: the first process alone reads the weights; else each process of the machine does."""
    held = shape.parameters * (width if config.peft else _FP32)
    return float(held * (1 if sharded else min(gpus, GPUS_PER_NODE)))


def _layout(gpus: int, copies: int, sharded: bool) -> str:
    if gpus == 1:
        return "whole"
    if not sharded:
        return f"{gpus} whole copies (DDP)"
    if copies > 1:
        return f"{copies} copies, each over {gpus // copies} GPUs (HSDP)"
    return f"sharded over {gpus} (FSDP2)"


def _why(config: Config, sharded: bool, width: int) -> dict[str, str]:
    compute = "bf16" if width < _FP32 else "fp32"
    kind = config.peft.quantization if config.peft else None
    held = compute if config.peft or not sharded else "fp32, their own masters"
    checkpointing = config.model.activation_checkpointing
    return {
        "weights": f"{kind}, what is not linear in {compute}" if kind else held,
        "masters": "fp32" + (", of the adapters" if config.peft else ""),
        "gradients": "fp32" + (", of the adapters" if config.peft else ""),
        "optimizer": "two moments of AdamW, fp32",
        "gathered": "whole blocks and embeddings for a while",
        "activations": "kept for the backward pass"
        + ("" if checkpointing == "none" else f", checkpointing {checkpointing}"),
        "scores": "of eager attention, a matrix for each head",
        "logits": "of the targets alone, and their gradient",
        "backward": "gradients of the layer at work",
        "reserve": "CUDA, its libraries, fragments",
    }
