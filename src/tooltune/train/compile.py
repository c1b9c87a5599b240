"""torch.compile, one decoder block at a time.

All blocks are alike, so one of them is compiled and the rest reuse its code; shapes are dynamic,
so that batches of other lengths do too. Attention over a forest loops over its segments, of which
every batch has others: it stays an ordinary call between two compiled parts.
https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.compile
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.utils._triton import has_triton
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tooltune.errors import UserError
from tooltune.models import path_attention
from tooltune.models.blocks import decoder_blocks


def compile_blocks(model: PreTrainedModel | PeftModel, *, backend: str = "inductor") -> None:
    """Compile each decoder block in place, at its first call; names of parameters stay.

    In evaluation mode blocks run as they are: a cache that grows by a token a call would have
    them compiled again and again. Call it after adapters and activation checkpointing, before
    sharding.

    Raises UserError where nothing can be compiled: no C++ compiler for a CPU, no Triton for CUDA.
    """
    blocks = decoder_blocks(model)
    _check_compiler(next(blocks[0].parameters()).device)
    # The registry is the process's own; without compilation the mark changes nothing.
    AttentionInterface.register(path_attention.NAME, _outside)
    for block in blocks:
        if isinstance(block, GradientCheckpointingLayer) and block.gradient_checkpointing:
            again = block._gradient_checkpointing_func
            block._gradient_checkpointing_func = _compiled_inside(again, backend)
        else:
            block.compile(dynamic=True, backend=backend)
            block._compiled_call_impl = _in_training(block, block._compiled_call_impl)


def _compiled_inside(checkpointed: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """Compile what is computed twice, not the checkpoint around it.

    The break at attention inside a checkpoint would have the compiler give up on the whole block.
    """
    compiled: dict[Any, Any] = {}

    def call(forward: partial[Any], *args: Any) -> Any:
        if forward.func not in compiled:
            compiled[forward.func] = torch.compile(forward.func, dynamic=True, backend=backend)
        inner = partial(compiled[forward.func], *forward.args, **forward.keywords)
        return checkpointed(inner, *args)

    return call


def _in_training(block: nn.Module, compiled: Any) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return (compiled if block.training else block._call_impl)(*args, **kwargs)

    return call


_outside = torch.compiler.disable(path_attention.path_attention)


def _check_compiler(device: torch.device) -> None:
    fix = "or leave model.compile out"
    if device.type == "cpu":
        wanted = os.environ.get("CXX") or ("cl" if sys.platform == "win32" else "g++")
        if not any(shutil.which(name) for name in (wanted, "g++", "clang++")):
            raise UserError(
                f"model.compile on a CPU needs a C++ compiler, and {wanted} is not on the PATH",
                fix=f"install one (Debian: apt install g++), {fix}",
            )
    if device.type == "cuda" and not has_triton():
        raise UserError(
            "model.compile on CUDA needs Triton and a GPU that it supports",
            fix=f"pip install triton, {fix}",
        )
