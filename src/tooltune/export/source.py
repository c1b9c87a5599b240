"""What CKPT may name, and what is found there: a run, a checkpoint, a link, or a model in one.

A checkpoint is compared with its manifest before anything of it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.models.load import resolve_model
from tooltune.render.spec import RenderSpec
from tooltune.train.checkpoints.store import (
    BEST_TOOL_CALL,
    LATEST,
    CheckpointStore,
    read_state,
    verify,
)
from tooltune.train.folder.card import read_run_config

_MANIFEST = "manifest.json"
_CONSOLIDATED, _ADAPTER = Path("model/consolidated"), Path("model/adapter")


@dataclass(frozen=True, slots=True)
class Source:
    """Where an export takes its model from. At least one of `consolidated`, `adapter` is there.

    `chosen` says by which link a checkpoint of a run was chosen. `verified`: the checkpoint equals
    its manifest; False where the model lies in no checkpoint. `config` is the run's, as plain
    values, `state` the checkpoint's; both are empty where there is none. `base` is what the
    adapter belongs on, as the user, the run or the adapter itself names it.
    """

    given: Path
    run: Path | None = None
    checkpoint: Path | None = None
    chosen: str | None = None
    consolidated: Path | None = None
    adapter: Path | None = None
    verified: bool = False
    base: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A name for files and servers: of the run, else of the folder that was given."""
        return (self.run or self.given).resolve().name

    @property
    def done(self) -> dict[str, Any]:
        """What the run had done by this checkpoint."""
        done = self.state.get("done", {})
        return done if isinstance(done, dict) else {}

    @property
    def render(self) -> RenderSpec | None:
        """How the model's prompts were rendered, by the checkpoint's state; None without one.

        Raises: UserError for what another version wrote and this one does not know.
        """
        values = self.state.get("render")
        if not isinstance(values, dict):
            return None
        try:
            return RenderSpec.from_dict(values)
        except TypeError as error:
            raise UserError(
                f"{self.checkpoint}/state.json: its `render` is of another version ({error})",
                fix="export with the version of tooltune that trained it",
            ) from error


def require_there(given: Path) -> None:
    """Raise UserError for a path at which there is nothing, which takes no hashing to tell."""
    if not given.exists():
        raise UserError(
            f"{given}: no such folder" if not given.is_symlink() else f"{given} leads nowhere",
            fix="give a run, a checkpoint, or the model/consolidated or model/adapter of one",
        )


def find_source(given: Path, *, base: str | None = None) -> Source:
    """What to export of `given`; `base` overrides what adapter and run say of their base model.

    Of a run `BEST_TOOL_CALL` is taken, else `LATEST`. Raises: UserError for a folder that is none
    of these or holds no model, and for a checkpoint that differs from its manifest, naming files.
    """
    require_there(given)
    path = given.resolve()
    chosen = None
    if path.name == "checkpoints" and not (path / _MANIFEST).exists():
        path = path.parent
    if (path / "checkpoints").is_dir():
        path, chosen = _of_run(path)
    source = _at(given, path)
    if source is None:
        raise UserError(
            f"{given} holds no model: no manifest.json, config.json or adapter_config.json",
            fix="give a run (the folder with config.yaml), a checkpoint of one, or the "
            "model/consolidated or model/adapter of a checkpoint",
        )
    source = replace(source, chosen=chosen)
    if source.checkpoint is not None:
        _verify(source.checkpoint)
        state = read_state(source.checkpoint)
        run = source.checkpoint.parent.parent
        config = read_run_config(run)
        source = replace(
            source, verified=True, state=state, config=config, run=run if config else None
        )
    if source.consolidated is None and source.adapter is None:
        raise UserError(
            f"checkpoint {source.checkpoint} holds no model (no model/consolidated, no "
            "model/adapter)",
            fix="give another checkpoint of this run",
        )
    return replace(source, base=base or _base_of(source))


def base_directory(source: Source) -> Path | str:
    """The base model of the source's adapter: a folder, or a hub id.

    Raises: UserError where nothing names it, or the folder named is not there.
    """
    fix = "name the base model with --base: a folder, a hub id, or builtin:…"
    if source.base is None:
        raise UserError(f"nothing says which base model {source.adapter} belongs on", fix=fix)
    try:
        return resolve_model(source.base)
    except UserError as error:
        raise UserError(
            f"the base model of {source.adapter} is not at hand: {error.message}", fix=fix
        ) from error


def _of_run(run: Path) -> tuple[Path, str]:
    """The checkpoint of a run that is exported, and why this one."""
    store = CheckpointStore(run / "checkpoints")
    for link in (BEST_TOOL_CALL, LATEST):
        if (path := store.resolve(link)) is not None:
            return path, link
    if not (there := store.all()):
        raise UserError(
            f"run {run} has no checkpoint", fix="give a run that saved one (checkpoint.enabled)"
        )
    return there[-1], "the newest, since no link is there"


def _at(given: Path, path: Path) -> Source | None:
    """What the folder `path` is; None for none of what is known."""
    whole, adapter = ((path / name).is_file() for name in ("config.json", "adapter_config.json"))
    if whole or adapter:
        checkpoint = path.parent.parent
        part = _CONSOLIDATED if whole else _ADAPTER
        if path != checkpoint / part or not (checkpoint / _MANIFEST).is_file():
            return Source(
                given, consolidated=path if whole else None, adapter=None if whole else path
            )
        path = checkpoint
    if not (path / _MANIFEST).exists() and not (path / "model").is_dir():
        return None
    parts = {part: path / part for part in (_CONSOLIDATED, _ADAPTER) if (path / part).is_dir()}
    return Source(
        given,
        checkpoint=path,
        consolidated=parts.get(_CONSOLIDATED),
        adapter=parts.get(_ADAPTER),
    )


def _verify(checkpoint: Path) -> None:
    problems = verify(checkpoint)
    if not problems:
        return
    store = CheckpointStore(checkpoint.parent)
    others = [path.name for path in store.all() if path != checkpoint]
    shown = "; ".join(problems[:3]) + (f"; {len(problems) - 3} more" if len(problems) > 3 else "")
    raise UserError(
        f"checkpoint {checkpoint} is damaged and is not exported: {shown}",
        fix=f"give another checkpoint of this run: {', '.join(reversed(others))}"
        if others
        else "restore it from a copy: this run has no other checkpoint",
    )


def _base_of(source: Source) -> str | None:
    model = source.config.get("model")
    if isinstance(model, dict) and (named := model.get("pretrained_model_name_or_path")):
        return _from_run(source, str(named))
    if source.adapter is None:
        return None
    try:
        adapter = json.loads((source.adapter / "adapter_config.json").read_bytes())
        named = adapter.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{source.adapter}/adapter_config.json cannot be read: {error}",
            fix="give a whole adapter, as PEFT or tooltune writes it",
        ) from error
    return named if isinstance(named, str) and named else None


def _from_run(source: Source, named: str) -> str:
    """A base given as a relative path is relative to where the run was started.

    That folder is told by output_dir, where it is relative too: `DIR/runs/my` is `DIR` of
    `runs/my`.
    """
    output = Path(str(source.config.get("output_dir", "")))
    if source.run is None or Path(named).exists() or output.is_absolute() or not output.parts:
        return named
    run = source.run.resolve()
    if run.parts[-len(output.parts) :] != output.parts:
        return named
    there = Path(*run.parts[: -len(output.parts)]) / named
    return str(there) if there.exists() else named
