"""The parts of a model: itself without a wrapper, and its decoder blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tooltune.errors import UserError


def base_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The transformers model itself, without PEFT's wrapper around it."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(base, PreTrainedModel)
    return base


def decoder_blocks(model: PreTrainedModel | PeftModel) -> list[nn.Module]:
    """The blocks of the text decoder, first to last: what is sharded, checkpointed and
    compiled one by one. A PEFT wrapper around the model changes nothing.

    They are the members of the outermost `ModuleList`s whose every member transformers itself
    treats as a block (it may not be split over devices, or it can be checkpointed), whatever is
    inside: attention, experts, a state space. A vision tower beside the decoder has blocks too,
    which are not among them. A block is the module itself, so that sharding or compiling it in
    place keeps its parameters' names.

    Raises UserError for a model that is not built of such blocks.
    """
    base = base_model(model)
    names = frozenset(base._no_split_modules or ())
    blocks = list(_outermost(base.get_decoder(), names))
    if not blocks:
        raise UserError(
            f"{type(base).__name__} is not built of a list of decoder blocks, so it can be neither "
            "sharded nor checkpointed block by block",
            fix="set distributed.strategy: ddp, model.activation_checkpointing: none and "
            "model.compile: false",
        )
    return blocks


def _outermost(module: nn.Module, names: frozenset[str]) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child) and _are_blocks(child, names):
            yield from child
        else:
            yield from _outermost(child, names)


def _are_blocks(modules: Any, names: frozenset[str]) -> bool:
    return all(
        isinstance(module, GradientCheckpointingLayer)
        or any(kind.__name__ in names for kind in type(module).__mro__)
        for module in modules
    )
