"""Load a model or its tokenizer by name: built-in, local directory or hub id.

Code that travels with a model is never run: `trust_remote_code` stays off, and weights are read
from safetensors alone, since a pickle is a program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tooltune.errors import UserError
from tooltune.models import builtin
from tooltune.models.quantize import (
    check_quantization,
    keep_differentiable,
    quantization_config,
    widening_config,
)
from tooltune.models.quiet import quiet_transformers
from tooltune.render.template import template_text

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# Where a model may lie in a directory that is none: of a run, of a checkpoint, of a download.
_PLACES = ("checkpoints/LATEST/model/consolidated", "model/consolidated", "consolidated", "*")
_PICKLES = ("*.bin", "*.pt", "*.pth")
_UNPICKLE = (
    "take a revision of the model that has safetensors, or convert it once where no harm can be "
    "done: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)"
)
# StrictDataclassError: a value in config.json that is not of the type that its key wants.
_UNLOADABLE = (OSError, ValueError, KeyError, ImportError, SafetensorError, StrictDataclassError)
_T = TypeVar("_T")


def resolve_model(name: str | Path) -> Path | str:
    """The directory that `name` means, or the hub id itself.

    Raises UserError for an unknown built-in name, a directory that is missing or holds no model,
    and a string that is no hub id.
    """
    text = str(name)
    if text.startswith(builtin.PREFIX):
        return builtin.builtin_model(text)
    path = Path(text).expanduser()
    if path.exists():
        return _model_directory(path)
    if isinstance(name, str) and _HUB_ID.fullmatch(name):
        return name
    raise UserError(
        f"model {text!r}: no such directory",
        fix="give a Hugging Face model directory, a hub id such as Qwen/Qwen2.5-0.5B-Instruct, "
        "or builtin:smollm2-135m-instruct",
    )


def _model_directory(path: Path) -> Path:
    if (path / "config.json").is_file():
        return path
    if (path / "adapter_config.json").is_file():
        raise UserError(
            f"model {path} is a LoRA adapter, not a whole model",
            fix="give the merged model beside it (model/consolidated) or merge it first",
        )
    inside = (file.parent for place in _PLACES for file in path.glob(f"{place}/config.json"))
    hint = next(inside, None)
    raise UserError(
        f"model {path} holds no config.json, so it is no Hugging Face model directory",
        fix=f"did you mean {hint}?" if hint else "give the directory that save_pretrained wrote",
    )


def load_tokenizer(
    name: str | Path, *, chat_template: str | Path | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of `name`, chat template inside.

    `chat_template` replaces the tokenizer's own: Jinja text, or a path (a `Path`, or a string
    without a brace). Raises UserError where no template is found, or nothing can be loaded.
    """
    source = resolve_model(name)
    tokenizer = _load(
        name, "tokenizer", lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    )
    if chat_template is not None:
        tokenizer.chat_template = template_text(chat_template)
    if not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer of {name} has no chat template, so nobody can say what its prompts are",
            fix="set chat_template to a Jinja file, or use the instruction-tuned model",
        )
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def load_model(
    name: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    attn_implementation: str = "sdpa",
    quantization: str | None = None,
    for_training: bool = False,
) -> PreTrainedModel:
    """The causal language model of `name` in evaluation mode, every weight of type `dtype`.

    `quantization` ("nf4" or "int8", see `models.quantize`): the linear layers of its blocks are
    stored so, and compute in `dtype`. `for_training`: weights that were saved quantized (gpt-oss)
    are widened to `dtype`.

    Raises UserError where nothing can be loaded, the model needs code of its own, its weights
    are pickles, the files lack weights (transformers would fill them with random numbers), or
    weights cannot be quantized on `device`, or widened again.
    """
    source = resolve_model(name)
    _refuse_pickles(source)
    options: dict[str, Any] = {}
    if for_training and (stored := _stored_quantization(name, source)):
        options["quantization_config"] = widening_config(stored)
    if quantization is not None:
        check_quantization(quantization, device)
        options["quantization_config"] = quantization_config(quantization, dtype)
        options["device_map"] = {"": torch.device(device)}
    # Else transformers asks a service to convert the pickles of a hub model, and takes the result.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    model, info = _load(
        name,
        "model",
        lambda: AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            # None: sdpa where the model has it (gpt-oss has not), else eager.
            attn_implementation=None if attn_implementation == "sdpa" else attn_implementation,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,  # left out, a terminal is asked
            **options,
        ),
    )
    absent = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if absent:
        shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
        raise UserError(
            f"the weight files of {name} lack {shown}",
            fix="use complete weights of a causal language model: missing ones would be random",
        )
    assert isinstance(model, PreTrainedModel)
    if quantization is not None:
        keep_differentiable(model)
    return model.to(device).eval()


def _stored_quantization(name: str | Path, source: Path | str) -> dict[str, Any] | None:
    config = _load(
        name, "configuration", lambda: AutoConfig.from_pretrained(source, trust_remote_code=False)
    )
    stored: dict[str, Any] | None = getattr(config, "quantization_config", None)
    return stored


def _refuse_pickles(source: Path | str) -> None:
    """Raise UserError for a directory whose only weights are pickles."""
    if isinstance(source, str) or any(source.glob("*.safetensors")):
        return
    pickled = sorted(file.name for pattern in _PICKLES for file in source.glob(pattern))
    if pickled:
        raise UserError(
            f"model {source} has its weights as a pickle only ({pickled[0]}), and reading a pickle "
            "can run any code",
            fix=_UNPICKLE,
        )


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise UserError if the tokenizer can produce an id for which the model has no embedding."""
    embedding = model.get_input_embeddings()
    assert embedding is not None
    rows = int(embedding.weight.shape[0])
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= rows:
        raise UserError(
            f"the tokenizer has token {token!r} with id {largest}, but the model has only {rows} "
            "embedding rows",
            fix="use the tokenizer that belongs to this model",
        )


def _load(name: str | Path, what: str, load: Callable[[], _T]) -> _T:
    """Run a transformers loader quietly; what it cannot load becomes a UserError."""
    try:
        with quiet_transformers():
            return load()
    except torch.OutOfMemoryError:
        raise
    except _UNLOADABLE as error:
        raise UserError(
            f"cannot load the {what} of {name}: {reason(error)}", fix=_fix(name, error)
        ) from error


def reason(error: Exception) -> str:
    """Why a loader failed, in one line: the first one that it says, mostly.

    Of a wrong value in config.json the first names the key and the second the value.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, StrictDataclassError):
        return " ".join(lines)
    return lines[0] if lines else type(error).__name__


def _fix(name: str | Path, error: Exception) -> str:
    text = str(error)
    if "trust_remote_code" in text:
        return "this model needs code from its repository, which is never run: use another model"
    if "does not appear to have a file named model.safetensors" in text:
        return _UNPICKLE
    if isinstance(error, SafetensorError):
        return "its files are damaged: download or save them again, or take another checkpoint"
    if isinstance(error, StrictDataclassError):
        return "its config.json is wrong there: save or download it again"
    if isinstance(error, ImportError):
        return "install the package that the message names"
    if isinstance(error, OSError) and not Path(name).expanduser().exists():
        return (
            "check the hub id and the network (a gated model needs HF_TOKEN), or download it and "
            "give its directory, or use builtin:smollm2-135m-instruct"
        )
    return "give a directory or hub id of a causal language model that transformers supports"
