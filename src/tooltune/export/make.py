"""The files of an export: a whole model, copied or merged on demand, or an adapter by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tooltune.errors import UserError
from tooltune.export.folder import check_room, copy_files, plain_files, size_of
from tooltune.export.source import Source, base_directory
from tooltune.models.card import FILE as CARD
from tooltune.models.load import load_model, load_tokenizer
from tooltune.models.quiet import quiet_transformers
from tooltune.models.render_record import read_render_record, write_render_record
from tooltune.models.save import save_consolidated, save_tokenizer
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}
_WEIGHTS = (".safetensors", ".safetensors.index.json")
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def write_merged(source: Source, folder: Path, out: Path) -> str:
    """Write the whole model into the empty `folder`; return how it was made.

    Copied where the checkpoint holds it, else merged from adapter and base as training does it:
    in fp32, rounded once to the type that the model was trained in. `out` is where the folder
    goes in the end. Raises: UserError where the disk has no room, or the base is not at hand.
    """
    if source.consolidated is not None:
        files = [file for file in plain_files(source.consolidated) if file.name != CARD]
        check_room(out, size_of(files))
        copy_files(files, folder)
        return "copied"
    model, tokenizer, render = load_adapted(source)
    check_room(out, sum(p.numel() * p.element_size() for p in model.parameters()))
    with quiet_transformers():
        save_consolidated(
            model,
            tokenizer,
            folder,
            stop_ids=stop_ids(source, tokenizer, render),
            render=render,
            dtype=training_dtype(source),
        )
    return "merged"


def write_adapter(source: Source, folder: Path, out: Path) -> str:
    """Write a PEFT adapter with the tokenizer, template and stop tokens it was trained with.

    Raises: UserError for a source without an adapter, and as `write_merged`.
    """
    if source.adapter is None:
        raise UserError(
            f"{source.given} holds no adapter: all weights were trained"
            if source.checkpoint is not None
            else f"{source.given} is a whole model, not an adapter",
            fix="leave --adapter out, or give the checkpoint of a LoRA run",
        )
    files = [source.adapter / name for name in _ADAPTER_FILES]
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(
            f"{source.adapter} lacks {', '.join(missing)}", fix="give a whole PEFT adapter"
        )
    check_room(out, size_of(files))
    copy_files(files, folder)
    if source.base is not None:
        base = base_directory(source)
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = str(base if isinstance(base, str) else base.resolve())
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    if source.consolidated is not None:
        beside = [
            file
            for file in plain_files(source.consolidated)
            if file.name not in (CARD, "config.json") and not file.name.endswith(_WEIGHTS)
        ]
        copy_files(beside, folder)
    else:
        _write_tokenizer(source, folder)
    return "copied"


def load_adapted(source: Source) -> tuple[PeftModel, PreTrainedTokenizerBase, RenderSpec]:
    """The base model in the type it was trained in, with the adapter on it, and its tokenizer.

    Raises: UserError where the base cannot be had, or the adapter does not fit it.
    """
    base = base_directory(source)
    tokenizer, render = training_tokenizer(source)
    model = load_model(base, dtype=training_dtype(source))
    return put_adapter_on(model, source), tokenizer, render


def put_adapter_on(model: PreTrainedModel, source: Source) -> PeftModel:
    """`model` with the source's adapter, for reading. Raises: UserError where it does not fit."""
    assert source.adapter is not None
    if not (source.adapter / "adapter_model.safetensors").is_file():
        raise UserError(
            f"{source.adapter} has no adapter_model.safetensors (a pickle, adapter_model.bin, is "
            "never read)",
            fix="give an adapter that was saved as safetensors",
        )
    try:
        with quiet_transformers():
            adapted = PeftModel.from_pretrained(model, str(source.adapter))
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the adapter {source.adapter} does not go on the base model {source.base}: {line}",
            fix="name the base model that it was trained on with --base",
        ) from error
    assert isinstance(adapted, PeftModel)
    return adapted.eval()


def training_dtype(source: Source) -> torch.dtype:
    """The type that the run computed in; without a run that of the base's files."""
    model = source.config.get("model")
    named = model.get("dtype", "bfloat16") if isinstance(model, dict) else None
    if named is None:
        config = AutoConfig.from_pretrained(base_directory(source), trust_remote_code=False)
        named = str(getattr(config, "dtype", None) or "bfloat16").removeprefix("torch.")
    return _DTYPES.get(str(named), torch.bfloat16)


def stop_ids(
    source: Source, tokenizer: PreTrainedTokenizerBase, render: RenderSpec
) -> tuple[int, ...]:
    """The ids that end a turn: of the checkpoint's state, else of the template."""
    known = source.state.get("stop_ids")
    return tuple(known) if known else Renderer(tokenizer, render).stop_ids


def training_tokenizer(source: Source) -> tuple[PreTrainedTokenizerBase, RenderSpec]:
    """The tokenizer, template inside, that the model was trained with, and the render record.

    Raises: UserError where neither the checkpoint nor the base model has it.
    """
    beside = source.consolidated or source.adapter
    assert beside is not None
    render = source.render or read_render_record(beside)
    if source.consolidated is not None:
        return load_tokenizer(source.consolidated), render
    return load_tokenizer(base_directory(source), chat_template=render.chat_template), render


def _write_tokenizer(source: Source, folder: Path) -> None:
    """Tokenizer, template, stop tokens and render record, as `save_consolidated` writes them."""
    tokenizer: Any
    tokenizer, render = training_tokenizer(source)
    stops = stop_ids(source, tokenizer, render)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(stops[0])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stops[0]
    save_tokenizer(tokenizer, folder)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(set(stops)),
        pad_token_id=pad,
        do_sample=False,
    ).save_pretrained(folder)
    write_render_record(replace(render, chat_template=None), folder)
