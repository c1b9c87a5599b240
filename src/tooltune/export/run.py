"""An export from beginning to end: folder, card, serve page, record; what it says of itself."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.evaluate.evaluation_file import load_evaluation
from tooltune.export.folder import check_out, copy_files, plain_files, staged
from tooltune.export.make import write_adapter, write_merged
from tooltune.export.serve import ANY_BASE, THIS_FOLDER, Served, serve_commands, serve_page
from tooltune.export.source import Source, base_directory
from tooltune.models.base_card import BaseCard, describe_base
from tooltune.models.card import FILE as CARD
from tooltune.models.card import CardFacts, write_model_card
from tooltune.models.quiet import quiet_transformers
from tooltune.models.render_record import read_render_record
from tooltune.render.profile import TemplateProfile
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.scrub import scrub, scrub_text
from tooltune.toolcalls.parse import FORMATS, parse_turn
from tooltune.train.durable import sha256, write_json
from tooltune.train.folder.card import run_card_facts

RECORD, PAGE = "export.json", "SERVE.md"
_FORMAT = 1
_NO_FAMILY = "none"
_EMPTY_FORM = "[More Information Needed]"  # the card that PEFT writes
_PACKAGES = ("tooltune", "torch", "transformers", "peft", "safetensors", "tokenizers")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: `made` says how (`copied`, `merged`); `served` has the folder's path."""

    folder: Path
    adapter: bool
    made: str
    call_format: str | None
    served: Served
    record: dict[str, Any]


def export_model(
    source: Source, out: Path, *, adapter: bool = False, family: str | None = None
) -> Exported:
    """Write the model of `source` to the folder `out`, with its card, serve page and record.

    `adapter`: the LoRA adapter by itself, not the merged model. `family`: a name in
    `toolcalls.parse.FORMATS` that overrides what the template declares, or `none`.

    Raises: UserError, before anything is written where that can be known; nothing is left then.
    """
    check_out(out, not_inside=source.checkpoint)
    _check_family(family)
    with staged(out) as folder:
        made = (write_adapter if adapter else write_merged)(source, folder, out)
        profile, render = _template_of(folder)
        call_format = _family_of(family, profile, source)
        served = _served(source, folder, profile, render, call_format, adapter=adapter)
        _write_card(source, folder, profile, render, call_format)
        (folder / PAGE).write_text(serve_page(served), encoding="utf-8")
        record = _record(source, folder, served, adapter=adapter, made=made)
        write_json(folder / RECORD, record)
    return Exported(out, adapter, made, call_format, _here(served, source, out), record)


def note_in_record(exported: Exported, **facts: Any) -> None:
    """Add to export.json what was found out, or made, after the folder was written."""
    exported.record.update(scrub(facts))
    write_json(exported.folder / RECORD, exported.record)


def note_gguf(exported: Exported, file: Path) -> Exported:
    """Record a GGUF file that was made in the folder, and name it in the serve page."""
    files = exported.record["files"] | {file.name: _described(file)}
    served = replace(exported.served, gguf=shlex.quote(str(file)))
    page = replace(served, folder=THIS_FOLDER, gguf=shlex.quote(file.name))
    (exported.folder / PAGE).write_text(serve_page(page), encoding="utf-8")
    files[PAGE] = _described(exported.folder / PAGE)
    note_in_record(exported, files=files, servers=_commands(page), gguf=file.name)
    return replace(exported, served=served)


def _check_family(family: str | None) -> None:
    if family not in (None, _NO_FAMILY, *FORMATS):
        raise UserError(
            f"--family {family}: no call syntax of that name",
            fix=f"use one of {', '.join(FORMATS)}, or {_NO_FAMILY}",
        )


def _family_of(family: str | None, profile: TemplateProfile, source: Source) -> str | None:
    if family is not None:
        return None if family == _NO_FAMILY else family
    if profile.call_format is None:
        raise UserError(
            f"the template of {source.given} writes calls in no syntax that is known here, so no "
            "server's parser can be named for it",
            fix=f"name the syntax with --family, or export without parsers: --family {_NO_FAMILY}",
        )
    return profile.call_format


def _template_of(folder: Path) -> tuple[TemplateProfile, RenderSpec]:
    """The profile of the template that was written, and the render record beside it."""
    from transformers import AutoTokenizer

    render = read_render_record(folder)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    return Renderer(tokenizer, render.of_prompts).profile, render


def _served(
    source: Source,
    folder: Path,
    profile: TemplateProfile,
    render: RenderSpec,
    call_format: str | None,
    *,
    adapter: bool,
) -> Served:
    """For the serve page: wherever the folder is taken, its commands are given inside it."""
    lora = _read(folder / "adapter_config.json") if adapter else {}
    ranks = [lora.get("r", 0), *(lora.get("rank_pattern") or {}).values()]
    return Served(
        name=_server_name(source.name),
        folder=THIS_FOLDER,
        call_format=call_format,
        model_type=_model_type(source, folder),
        reasons=profile.reasoning_required or _has_reasoned(source, profile),
        kwargs=dict(render.chat_template_kwargs),
        base=_base_word(source) if adapter else None,
        base_name=scrub_text(describe_base(source.base).name) if adapter and source.base else "",
        rank=max(int(rank) for rank in ranks),
        unusual=_unusual(lora),
        drops_reasoning=render.drop_history_reasoning_content,
    )


def _here(served: Served, source: Source, out: Path) -> Served:
    """For the terminal: with the paths of this machine."""
    base = shlex.quote(str(base_directory(source))) if served.adapter else None
    return replace(served, folder=shlex.quote(str(out)), base=base)


def _base_word(source: Source) -> str:
    """The adapter's base in a command: its hub id, or a variable, never a path of this machine."""
    base = base_directory(source)
    return shlex.quote(base) if isinstance(base, str) else ANY_BASE


def _unusual(lora: dict[str, Any]) -> tuple[str, ...]:
    """What vLLM refuses of an adapter (vllm/lora/peft_helper.py)."""
    found = ["it is a DoRA adapter"] if lora.get("use_dora") else []
    if lora.get("modules_to_save"):
        found.append(f"it holds whole modules ({', '.join(map(str, lora['modules_to_save']))})")
    if lora.get("bias", "none") != "none":
        found.append("it holds biases")
    return tuple(found)


def _model_type(source: Source, folder: Path) -> str:
    if (folder / "config.json").is_file():
        return str(_read(folder / "config.json").get("model_type", ""))
    if source.consolidated is not None:
        return str(_read(source.consolidated / "config.json").get("model_type", ""))
    from transformers import AutoConfig

    try:
        return str(
            AutoConfig.from_pretrained(base_directory(source), trust_remote_code=False).model_type
        )
    except (OSError, ValueError):
        return ""


def _has_reasoned(source: Source, profile: TemplateProfile) -> bool:
    """Whether held-out turns of the run hold reasoning; a parser for it would misread others."""
    if source.run is None or not (profile.reasoning or profile.reasoning_beside_calls):
        return False
    for file in sorted((source.run / "eval").glob("*/samples.jsonl"))[:1]:
        for record in load_evaluation(file):
            right = str(record.get("gt_text") or "")
            if parse_turn(right, format=profile.call_format).reasoning:
                return True
    return False


def _write_card(
    source: Source,
    folder: Path,
    profile: TemplateProfile,
    render: RenderSpec,
    call_format: str | None,
) -> None:
    """The card with the results that the run has by now; without a run, the one that was there."""
    if source.run is not None:
        facts = run_card_facts(source.run, source.done, results=True, ask_hub=True)
    else:
        there = (source.consolidated or source.adapter or folder) / CARD
        if there.is_file() and _EMPTY_FORM not in there.read_text(encoding="utf-8"):
            copy_files([there], folder)
            return
        base = BaseCard("unrecorded base model")
        if source.base is not None:
            base = describe_base(source.base, ask_hub=True)
        facts = CardFacts(title=source.name, base=base, lora=source.adapter is not None)
    known = facts.template or profile.to_dict()
    write_model_card(folder, replace(facts, call_format=call_format, render=render, template=known))


def _record(
    source: Source, folder: Path, served: Served, *, adapter: bool, made: str
) -> dict[str, Any]:
    """The object of export.json; no path of this machine is in it."""
    record = {
        "format": _FORMAT,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "kind": "adapter" if adapter else "merged",
        "made": made,
        "source": {
            "run": source.run.resolve().name if source.run is not None else None,
            "checkpoint": source.checkpoint.name if source.checkpoint is not None else None,
            "chosen_by": source.chosen,
            "step": source.done.get("step"),
            "verified": source.verified,
            "base": describe_base(source.base).name if source.base else None,
        },
        "call_format": served.call_format,
        "servers": _commands(served),
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "files": {file.name: _described(file) for file in plain_files(folder)},
    }
    scrubbed: dict[str, Any] = scrub(record)
    return scrubbed


def _commands(served: Served) -> dict[str, str | None]:
    return {c.server: " ".join(c.lines) or None for c in serve_commands(served)}


def _described(file: Path) -> dict[str, Any]:
    return {"sha256": sha256(file), "size": file.stat().st_size}


def _server_name(name: str) -> str:
    """A name that shells and URLs take as it is."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return kept.strip("-.") or "tuned"


def _read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
