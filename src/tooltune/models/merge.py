"""Adapters merged into the weights that they adapt, one layer at a time."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from tooltune.models.blocks import base_model
from tooltune.models.load import load_model
from tooltune.models.quantize import is_quantized

_WRAPPERS = (BaseTunerLayer, AuxiliaryTrainingWrapper)


def plain_config(base: PreTrainedModel) -> Any:
    """A copy of the model's configuration that knows of no quantization."""
    config = copy.deepcopy(base.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def merge_lora(
    model: PreTrainedModel | PeftModel,
    *,
    dtype: torch.dtype | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """State dict of the plain model with the adapters merged in, on the tensors' devices.

    `state` is the whole state dict of `model` (default: its own), base and adapters apart. Given,
    no tensor of `model` is read, so that they may be shards. A quantized base is loaded anew as
    it was before, on the CPU: that is what a server puts under the adapter, and the merged model
    is the same.

    Each adapted layer is copied, merged in fp32 by PEFT itself (so that rsLoRA, DoRA and the like
    are right), cast to `dtype` (default: the layer's own) and dropped: the training weights are
    never written to, and only one layer at a time exists twice. Tensors that nothing adapts are
    the model's own where their type is right, not copies. Raises ValueError for a wrapper that is
    neither LoRA nor a module saved whole, and for a `state` that lacks a tensor.
    """
    if state is None and isinstance(model, PeftModel) and is_quantized(base_model(model)):
        state = _over_the_original(model)
    if state is not None:
        model = _rebuilt(model, state)
    base = base_model(model)
    wrappers = {n: m for n, m in base.named_modules() if isinstance(m, _WRAPPERS)}
    merged: dict[str, Tensor] = {
        name: _cast(tensor, dtype)
        for name, tensor in base.state_dict().items()
        if not any(name.startswith(f"{path}.") for path in wrappers)
    }
    for path, module in wrappers.items():
        for key, tensor in _merged_state(path, module, dtype).items():
            merged[f"{path}.{key}"] = tensor
    return merged


def _merged_state(path: str, module: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor]:
    if isinstance(module, ModulesToSaveWrapper):
        whole = module.modules_to_save[module.active_adapters[0]]
        return {key: _cast(tensor, dtype) for key, tensor in whole.state_dict().items()}
    if not isinstance(module, LoraLayer):
        raise ValueError(f"cannot merge {path}: {type(module).__name__} is no LoRA layer")
    own = module.get_base_layer().state_dict()
    layer = copy.deepcopy(module).float()
    with torch.no_grad():
        layer.merge()
    merged = layer.get_base_layer().state_dict()
    return {key: _cast(tensor, dtype or own[key].dtype) for key, tensor in merged.items()}


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _over_the_original(model: PeftModel) -> dict[str, Tensor]:
    """The whole state dict of a QLoRA model as if its base had never been quantized."""
    base = base_model(model)
    adapted = {name for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    state: dict[str, Tensor] = {}
    original = load_model(base.name_or_path, dtype=base.dtype, for_training=True)
    for name, tensor in original.state_dict().items():
        path, _, leaf = name.rpartition(".")
        inside = f"{path}.base_layer.{leaf}" if path in adapted else name
        state[f"base_model.model.{inside}"] = tensor
    trained = {name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}
    return state | trained


def _rebuilt(
    model: PreTrainedModel | PeftModel, state: Mapping[str, Tensor]
) -> PreTrainedModel | PeftModel:
    """The same model and adapters once more, of the very tensors of `state`: nothing is copied."""
    base = base_model(model)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PEFT had to say, it said of the first
        again = AutoModelForCausalLM.from_config(plain_config(base))
        if isinstance(model, PeftModel):
            name = model.active_adapter
            again = get_peft_model(again, copy.deepcopy(model.peft_config[name]), adapter_name=name)
    whole, names = dict(state), again.state_dict().keys()
    for tied, source in _tied_names(model, base).items():
        if tied in names - whole.keys() and source in whole:  # it may hold a shared tensor once
            whole[tied] = whole[source]
    if absent := names - whole.keys():
        raise ValueError(f"the state dict lacks {len(absent)} tensors, {min(absent)} among them")
    again.load_state_dict(whole, strict=True, assign=True)
    return again


def _tied_names(model: PreTrainedModel | PeftModel, base: PreTrainedModel) -> dict[str, str]:
    prefix = "base_model.model." if isinstance(model, PeftModel) else ""
    pairs = {f"{prefix}{k}": f"{prefix}{v}" for k, v in base.all_tied_weights_keys.items()}
    return pairs | {source: tied for tied, source in pairs.items()}
