"""Low-rank adapters through PEFT, so that every tool that reads PEFT adapters loads ours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tooltune.errors import UserError

ALL_LINEAR = "all-linear"
# PEFT takes these names, in a model whose experts are fused, for parts of the fused tensors (that
# is how older adapters called them), so a layer that has one of them gets no adapter of its own.
_NAMES_OF_EXPERTS = frozenset({"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
# What `--max-lora-rank` of vLLM can be, and is by default. vllm/config/lora.py
_SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_SERVED_BY_DEFAULT = 16


def add_lora(
    model: PreTrainedModel,
    *,
    dim: int,
    alpha: float,
    dropout: float = 0.0,
    target_modules: str | Sequence[str] = ALL_LINEAR,
    use_dora: bool = False,
    seed: int = 0,
) -> PeftModel:
    """Freeze `model` and put trainable fp32 adapters B·A·alpha/dim on its linear layers.

    LoRA: Hu et al., 2021. `target_modules` is `"all-linear"` (all but the output head) or names:
    a module's own (`q_proj`), its full path, or a pattern with `*` (`*.mlp.*`). B starts at zero,
    so the model's outputs are unchanged; A is drawn from `seed` alone and the global random
    states are left as they were. With `use_dora` the length of each weight row is trained apart
    from its direction (DoRA: Liu et al., 2024). `model` is changed in place; it may be quantized,
    or without storage (then the adapters are too).

    Experts that are one fused tensor are no linear layers and stay as they are, see
    `adapter_remarks`.

    Raises `UserError` for a name that matches no linear layer, and for a layer whose weight is
    shared with another (merging the adapter would change that one too).
    """
    if dim < 1:
        raise UserError(f"peft.dim is {dim}", fix="a rank of 1 or more; 8 to 64 is usual")
    if use_dora and getattr(model, "is_loaded_in_8bit", False):
        raise UserError(
            "peft.use_dora needs the length of each weight row, which PEFT cannot take from int8",
            fix="peft.quantization: nf4, or leave use_dora out",
        )
    targets = _targets(model, target_modules)
    config = LoraConfig(
        r=dim,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_shortest(model, targets),
        use_dora=use_dora,
        fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # PEFT asks transformers for a name it deprecated
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(model, config, autocast_adapter_dtype=True)  # fp32 adapters
    assert isinstance(adapted, PeftModel)
    missed = set(targets) ^ {n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    assert not missed, f"PEFT chose other layers than those asked for: {sorted(missed)}"
    return adapted


def adapter_remarks(model: PeftModel) -> list[str]:
    """What a user should know of the adapters of `model`: what has none, and who can serve them."""
    base, config = model.get_base_model(), model.peft_config[model.active_adapter]
    remarks = []
    if experts := _fused_experts(base):
        left_out = sorted(_own_names(base) & _NAMES_OF_EXPERTS)
        others = f", and neither do {', '.join(left_out)}" if left_out else ""
        adapted = [n for n, m in base.named_modules() if isinstance(m, BaseTunerLayer)]
        remarks.append(
            f"the experts ({sum(p.numel() for p in experts.values()):,} parameters in "
            f"{len(experts)} fused tensors) and their routers are no linear layers and get no "
            f"adapter{others}; adapters train {', '.join(_leaves(adapted))}"
        )
    if config.use_dora:
        remarks.append("vLLM loads no DoRA adapter: serve the merged model (model/consolidated)")
    elif config.r > _SERVED_RANKS[-1]:
        remarks.append(
            f"vLLM loads adapters up to rank {_SERVED_RANKS[-1]}, this one has {config.r}: serve "
            "the merged model (model/consolidated)"
        )
    elif config.r > _SERVED_BY_DEFAULT:
        rank = next(rank for rank in _SERVED_RANKS if rank >= config.r)
        remarks.append(f"to serve the adapter, vLLM needs --max-lora-rank {rank}")
    return remarks


def _fused_experts(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that hold a matrix for each expert."""
    return {n: p for n, p in model.named_parameters() if p.dim() == 3 and ".experts." in f".{n}"}


def _own_names(model: nn.Module) -> set[str]:
    linear = (nn.Linear, Conv1D, BaseTunerLayer)
    return {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, linear)}


def _targets(model: PreTrainedModel, wanted: str | Sequence[str]) -> list[str]:
    """Full names of the linear layers that `wanted` selects, in the model's order."""
    head = model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D))}
    taken = _NAMES_OF_EXPERTS if _fused_experts(model) else frozenset()
    linear = {n: m for n, m in linear.items() if n.rpartition(".")[2] not in taken}
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
            tied = _leaves(list(_shared(model, linear)))
            free = [leaf for leaf in _leaves(linear) if leaf not in tied]
            raise UserError(
                f"peft.target_modules: {pattern!r} matches no linear layer of this model"
                + (" (its experts are fused tensors)" if taken else ""),
                fix=f"use {ALL_LINEAR!r} or some of: {', '.join(free)}",
            )
        chosen.update(matched)
    if not chosen:
        raise UserError("peft.target_modules is empty", fix=f"leave it out: {ALL_LINEAR!r}")
    _refuse_shared(model, {name: linear[name] for name in chosen})
    return [name for name in linear if name in chosen]


def _refuse_shared(model: nn.Module, targets: dict[str, nn.Module]) -> None:
    for name, names in _shared(model, targets).items():
        raise UserError(
            f"peft.target_modules: {name} shares its weight with others ({', '.join(names)}), "
            "which a merged adapter would change too",
            fix=f"leave {name} out; {ALL_LINEAR!r} does",
        )


def _shared(model: nn.Module, layers: dict[str, nn.Module]) -> dict[str, list[str]]:
    """Those of `layers` whose weight is also another's, with all the names of that weight."""
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    named = {name: owners.get(id(module.weight), []) for name, module in layers.items()}
    return {name: names for name, names in named.items() if len(names) > 1}


def _shortest(model: nn.Module, targets: Sequence[str]) -> list[str]:
    """Last name parts where they select the same modules: adapters that servers understand."""
    leaves = _leaves(targets)
    same = [name for name, _ in model.named_modules() if name.rpartition(".")[2] in leaves]
    return leaves if sorted(same) == sorted(targets) else list(targets)


def _leaves(names: Sequence[str] | dict[str, nn.Module]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))
