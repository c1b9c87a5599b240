"""Low-rank adapters through PEFT, so that every tool that reads PEFT adapters loads ours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tooltune.errors import UserError

ALL_LINEAR = "all-linear"


def add_lora(
    model: PreTrainedModel,
    *,
    dim: int,
    alpha: float,
    dropout: float = 0.0,
    target_modules: str | Sequence[str] = ALL_LINEAR,
    seed: int = 0,
) -> PeftModel:
    """Freeze `model` and put trainable fp32 adapters B·A·alpha/dim on its linear layers.

    LoRA: Hu et al., 2021. `target_modules` is `"all-linear"` (all but the output head) or names:
    a module's own (`q_proj`), its full path, or a pattern with `*` (`*.mlp.*`). B starts at zero,
    so the model's outputs are unchanged; A is drawn from `seed` alone and the global random
    states are left as they were. `model` is changed in place.

    Raises `UserError` for a name that matches no linear layer, and for a layer whose weight is
    shared with another (merging the adapter would change that one too).
    """
    if dim < 1:
        raise UserError(f"peft.dim is {dim}", fix="a rank of 1 or more; 8 to 64 is usual")
    targets = _targets(model, target_modules)
    config = LoraConfig(
        r=dim,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_shortest(model, targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # PEFT asks transformers for a name it deprecated
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(model, config, autocast_adapter_dtype=True)  # fp32 adapters
    assert isinstance(adapted, PeftModel)
    return adapted


def _targets(model: PreTrainedModel, wanted: str | Sequence[str]) -> list[str]:
    """Full names of the linear layers that `wanted` selects, in the model's order."""
    head = model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D))}
    body = [name for name, module in linear.items() if module is not head]
    patterns = [wanted] if isinstance(wanted, str) else list(wanted)
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern == ALL_LINEAR:
            matched = body
        elif "*" in pattern:
            matched = [name for name in body if fnmatchcase(name, pattern)]
        else:
            matched = [name for name in linear if f".{name}".endswith(f".{pattern}")]
        if not matched:
            raise UserError(
                f"peft.target_modules: {pattern!r} matches no linear layer of this model",
                fix=f"use {ALL_LINEAR!r} or some of: {', '.join(_leaves(linear))}",
            )
        chosen.update(matched)
    if not chosen:
        raise UserError("peft.target_modules is empty", fix=f"leave it out: {ALL_LINEAR!r}")
    _refuse_shared(model, {name: linear[name] for name in chosen})
    return [name for name in linear if name in chosen]


def _refuse_shared(model: nn.Module, targets: dict[str, nn.Module]) -> None:
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for name, module in targets.items():
        names = owners.get(id(module.weight), [])
        if len(names) > 1:
            raise UserError(
                f"peft.target_modules: {name} shares its weight with others ({', '.join(names)}), "
                "which a merged adapter would change too",
                fix=f"leave {name} out; {ALL_LINEAR!r} does",
            )


def _shortest(model: nn.Module, targets: Sequence[str]) -> list[str]:
    """Last name parts where they select the same modules: adapters that servers understand."""
    leaves = _leaves(targets)
    same = [name for name, _ in model.named_modules() if name.rpartition(".")[2] in leaves]
    return leaves if sorted(same) == sorted(targets) else list(targets)


def _leaves(names: Sequence[str] | dict[str, nn.Module]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))
