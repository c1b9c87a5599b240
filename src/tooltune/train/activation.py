"""Activation checkpointing: what a block computed is dropped and computed again in the backward.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. `full` keeps only the input of
each block and pays about a third more compute. `selective` keeps the outputs of attention and of
every second matrix product too, the two that cost most to make again per byte kept (the scheme of
torchtitan; Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models",
2022, on why not everything is worth it).
https://docs.pytorch.org/docs/stable/checkpoint.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
from peft import PeftModel
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
)
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tooltune.errors import UserError
from tooltune.models.blocks import decoder_blocks

Activations = Literal["none", "selective", "full"]

_aten = torch.ops.aten
# Those of linear layers. Experts add a bias to their products in place, so these cannot be kept.
_PRODUCTS = frozenset(
    op
    for packet in ("mm", "addmm")
    if (op := getattr(getattr(_aten, packet, None), "default", None)) is not None
)
_ATTENTIONS = frozenset(
    op
    for packet in (
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_fused_attention_overrideable",
    )
    if (op := getattr(getattr(_aten, packet, None), "default", None)) is not None
)


def apply_activation_checkpointing(model: PreTrainedModel | PeftModel, kind: Activations) -> None:
    """Checkpoint every decoder block of `model`, in training mode only; its outputs are the same.

    The switch is the one that transformers builds into its blocks: it acts inside a block's
    `forward`, so the hooks of FSDP2 stay outside, keyword arguments (a forest's plan) are kept
    with the block's own call, and no parameter changes its name. Random states are restored, so
    that a dropout drops the same again. Call it before blocks are compiled or sharded.

    Raises UserError for a model that has no blocks, or blocks without that switch.
    """
    for block in decoder_blocks(model):
        if not isinstance(block, GradientCheckpointingLayer):
            if kind == "none":
                continue
            raise UserError(
                f"model.activation_checkpointing: {type(block).__name__} of this model cannot be "
                "computed again",
                fix="set model.activation_checkpointing: none",
            )
        block.gradient_checkpointing = kind != "none"
        if kind != "none":
            block._gradient_checkpointing_func = _FUNCTIONS[kind]


def _selective_contexts() -> tuple[Any, Any]:
    """The contexts of one call of one block: every second product is counted from its start."""
    policy: Any = _Policy()
    contexts: tuple[Any, Any] = create_selective_checkpoint_contexts(policy)
    return contexts


class _Policy:
    """Which operations' results are kept; each is asked about once in the forward pass."""

    def __init__(self) -> None:
        self._seen: Counter[bool] = Counter()

    def __call__(
        self, context: SelectiveCheckpointContext, op: Any, *args: Any, **kwargs: Any
    ) -> CheckpointPolicy:
        if op in _ATTENTIONS:
            # One that drops draws random numbers: left out of the second run, it would shift
            # those of every dropout after it.
            keep = not _drops(op, args, kwargs)
        elif op in _PRODUCTS:
            self._seen[context.is_recompute] += 1
            keep = self._seen[context.is_recompute] % 2 == 1
        else:
            keep = False
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE


def _drops(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    place = _dropout_place(op)
    given = kwargs.get("dropout_p", args[place] if place < len(args) else 0.0)
    return bool(given > 0)


@cache
def _dropout_place(op: Any) -> int:
    return [argument.name for argument in op._schema.arguments].index("dropout_p")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "full": partial(checkpoint, use_reentrant=False, preserve_rng_state=True),
    "selective": partial(
        checkpoint,
        use_reentrant=False,
        preserve_rng_state=True,
        context_fn=_selective_contexts,
    ),
}
