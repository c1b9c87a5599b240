"""Write models that every other tool can read: plain Hugging Face directories and PEFT adapters.

Nothing here changes the model that is being trained. A sharded model holds only a part of each
tensor: it comes with `state`, its whole state dict under the names of `model.state_dict()`,
adapters apart from the base; then the model is asked for its shape alone, never for a tensor.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tooltune.models.blocks import base_model
from tooltune.models.merge import merge_lora, plain_config
from tooltune.models.older_config import add_older_keys
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
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write config, generation config, safetensors and tokenizer; LoRA weights are merged.

    `stop_ids` are the ids that end a turn, the main one first: all of them go to
    `generation_config.json`, the main one becomes the tokenizer's `eos_token`, so that plain
    `generate` and servers stop where the model was taught to. `render` is how its prompts were
    rendered: a template in it replaces the tokenizer's own, the rest is recorded beside the
    model. `dtype` is the type of the saved weights (default: the model's). `state`: see above.

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

    shell = _shell(base, merge_lora(model, dtype=dtype, state=state), dtype)
    stops = sorted(set(stop_ids))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop_ids[0]
    shell.config.eos_token_id = stops if len(stops) > 1 else stops[0]
    # A fresh one: the model's own may sample, penalise repetition or stop elsewhere.
    shell.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=stops, pad_token_id=pad, do_sample=False
    )
    with quiet_transformers():
        shell.save_pretrained(directory)
        add_older_keys(directory)
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
        # Transformers 4 would add token_type_ids, which `generate` refuses.
        config.setdefault("model_input_names", list(tokenizer.model_input_names))
    for key in ("is_local", "local_files_only"):  # how it was loaded here, not what it is
        config.pop(key, None)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")


def save_adapter(
    model: PeftModel,
    directory: str | Path,
    *,
    base: str | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the adapter in PEFT's format: `adapter_config.json`, `adapter_model.safetensors`.

    The files are those of PEFT's own `save_pretrained`, which would besides ask the hub for the
    base model's vocabulary and write a card. `base` is the base model's hub id or directory, as
    the adapter's file shall name it (default: where it was loaded from, a directory by its full
    path). `state`: see above; the adapter's own tensors are enough here.
    """
    directory = Path(directory)
    name = model.active_adapter
    tensors = get_peft_model_state_dict(
        model,
        state_dict=dict(state) if state is not None else None,
        adapter_name=name,
        save_embedding_layers=False,  # no embedding is trained
    )
    config = copy.deepcopy(model.peft_config[name])
    config.inference_mode = True
    config.base_model_name_or_path = base or _base_name(model)
    if not isinstance(config.target_modules, str):  # a set: its order would change from run to run
        config.target_modules = sorted(config.target_modules)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: tensor.detach().contiguous() for key, tensor in tensors.items()},
        directory / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config.save_pretrained(str(directory))


def _base_name(model: PeftModel) -> str | None:
    name: str | None = base_model(model).name_or_path or None
    if name is not None and Path(name).is_dir():
        # The built-in model too: its name means nothing to PEFT, its directory does.
        return str(Path(name).resolve())
    return name


def _shell(base: PreTrainedModel, state: dict[str, Tensor], dtype: torch.dtype) -> PreTrainedModel:
    """A fresh model of `base`'s class around `state`, whatever was patched into `base`.

    It is made on the meta device and takes the tensors as they are: no second copy.
    """
    config = plain_config(base)
    inputs, outputs = base.get_input_embeddings(), base.get_output_embeddings()
    names = {id(module): name for name, module in base.named_modules()}
    if config.tie_word_embeddings and outputs is not None:
        first, last = (state[f"{names[id(m)]}.weight"] for m in (inputs, outputs))
        # An adapter on one of the two tied matrices unties them.
        config.tie_word_embeddings = torch.equal(first, last)
    with torch.device("meta"):
        shell: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    shell.load_state_dict(state, strict=True, assign=True)
    if config.tie_word_embeddings:
        shell.tie_weights()
    assert isinstance(shell, PreTrainedModel)
    return shell
