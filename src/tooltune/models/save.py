"""Write models that every other tool can read: plain Hugging Face directories and PEFT adapters.

Nothing here changes the model that is being trained.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tooltune.models.quiet import quiet_transformers
from tooltune.models.render_record import write_render_record
from tooltune.render.spec import RenderSpec


def save_consolidated(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: str | Path,
    *,
    stop_ids: Sequence[int],
    render: RenderSpec | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write config, generation config, safetensors and tokenizer; LoRA weights are merged.

    `stop_ids` are the ids that end a turn, the main one first: all of them go to
    `generation_config.json`, the main one becomes the tokenizer's `eos_token`, so that plain
    `generate` and servers stop where the model was taught to. `render` is how its prompts were
    rendered: a template in it replaces the tokenizer's own, the rest is recorded beside the
    model. `dtype` is the type of the saved weights (default: the model's).

    Raises FileExistsError if `directory` has anything in it (old metadata beside new data loads
    silently) and ValueError without a stop id.
    """
    directory = Path(directory)
    if directory.is_dir() and any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty")
    if not stop_ids:
        raise ValueError("a model without a stop id never ends its turn")
    base = base_model(model)
    dtype = dtype or base.dtype
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(stop_ids[0])
    if render is not None and render.chat_template is not None:
        tokenizer.chat_template = render.chat_template

    shell = _shell(base, merge_lora(model, dtype=dtype), dtype)
    stops = sorted(set(stop_ids))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop_ids[0]
    shell.config.eos_token_id = stops if len(stops) > 1 else stops[0]
    # A fresh one: the model's own may sample, penalise repetition or stop elsewhere.
    shell.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=stops, pad_token_id=pad, do_sample=False
    )
    with quiet_transformers():
        shell.save_pretrained(directory)
        save_tokenizer(tokenizer, directory)
    if render is not None:
        write_render_record(render, directory)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, directory: str | Path) -> None:
    """Write the tokenizer under the class name that transformers 4 and 5 both know."""
    with quiet_transformers():
        tokenizer.save_pretrained(directory)
    file = Path(directory) / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":  # transformers 5's name for it
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for key in ("is_local", "local_files_only"):  # how it was loaded here, not what it is
        config.pop(key, None)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")


def save_adapter(model: PeftModel, directory: str | Path) -> None:
    """Write the adapter in PEFT's format: `adapter_config.json`, `adapter_model.safetensors`."""
    with quiet_transformers():
        model.save_pretrained(str(directory))


def base_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The transformers model itself, without PEFT's wrapper around it."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(base, PreTrainedModel)
    return base


def merge_lora(
    model: PreTrainedModel | PeftModel, *, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """State dict of the plain model with the adapters merged in, on the model's devices.

    Each adapted layer is copied, merged in fp32 by PEFT itself (so that rsLoRA, DoRA and the like
    are right), cast to `dtype` (default: the layer's own) and dropped: the training weights are
    never written to, and only one layer at a time exists twice. Tensors that nothing adapts are
    the model's own where their type is right, not copies. Raises ValueError for a wrapper that is
    neither LoRA nor a module saved whole.
    """
    base = base_model(model)
    wrappers = {n: m for n, m in base.named_modules() if isinstance(m, _WRAPPERS)}
    state: dict[str, Tensor] = {
        name: _cast(tensor, dtype)
        for name, tensor in base.state_dict().items()
        if not any(name.startswith(f"{path}.") for path in wrappers)
    }
    for path, module in wrappers.items():
        for key, tensor in _merged_state(path, module, dtype).items():
            state[f"{path}.{key}"] = tensor
    return state


_WRAPPERS = (BaseTunerLayer, AuxiliaryTrainingWrapper)


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


def _shell(base: PreTrainedModel, state: dict[str, Tensor], dtype: torch.dtype) -> PreTrainedModel:
    """A fresh model of `base`'s class around `state`, whatever was patched into `base`.

    It is made on the meta device and takes the tensors as they are: no second copy.
    """
    config = copy.deepcopy(base.config)
    inputs, outputs = base.get_input_embeddings(), base.get_output_embeddings()
    names = {id(module): name for name, module in base.named_modules()}
    if config.tie_word_embeddings and outputs is not None:
        first, last = (state[f"{names[id(m)]}.weight"] for m in (inputs, outputs))
        # An adapter on one of the two tied matrices unties them.
        config.tie_word_embeddings = torch.equal(first, last)
    with torch.device("meta"):
        shell: Any = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="sdpa"
        )
    shell.load_state_dict(state, strict=True, assign=True)
    if config.tie_word_embeddings:
        shell.tie_weights()
    assert isinstance(shell, PreTrainedModel)
    return shell
