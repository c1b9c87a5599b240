"""The run's folder: made once, continued by the same configuration, or one that `resume` allows."""

from __future__ import annotations

import json
import os
import re
from datetime import date
from pathlib import Path
from typing import Any

from tooltune.config.dump import Change, config_changes, dump_config
from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.render.account import RenderCounts
from tooltune.scrub import scrub
from tooltune.traces.split import write_split
from tooltune.train.checkpoints.store import LATEST
from tooltune.train.data import RunData
from tooltune.train.durable import flush, write_json
from tooltune.train.folder.environment import describe_environment, hash_model
from tooltune.train.folder.inputs import hash_traces, input_differences, machine_remarks
from tooltune.train.folder.resume import (
    CONFIG,
    HISTORY,
    LENGTH,
    append_history,
    read_first_config,
    read_last_config,
    remarks,
    require_same,
    staged,
    write_text,
)
from tooltune.train.log import METRICS, RunLog

_COMPARISON = "comparison.json"
_FINAL_EVALUATION = "eval/final"
_STEP = re.compile(r"epoch_\d+_step_(\d+)")
_ESCAPED = "escaped_strings"
ENVIRONMENT = "environment.json"


def open_run_directory(config: Config) -> Path:
    """Make the output folder, or check that the run in it may be continued with this configuration.

    A run that failed before it measured or saved anything leaves nothing to protect: its
    configuration is replaced, so that a mistake mended is a run started.

    Raises: UserError that shows the difference when it holds a run of another configuration, and
    for a folder that holds something else. What may change is noted by `note_changes`.
    """
    directory = Path(config.output_dir)
    path = directory / CONFIG
    if directory.exists() and not directory.is_dir():
        raise UserError(f"output_dir {directory} is a file", fix="choose another output_dir")
    if path.is_file():
        if _left_nothing(directory):
            with RunLog(directory):  # raises where another process is just starting here
                (directory / HISTORY).unlink(missing_ok=True)
                _write_config(config, path)
        else:
            require_same(read_first_config(directory), _resolved(config), directory)
        return directory
    if directory.is_dir() and any(p.name != staged(path).name for p in directory.iterdir()):
        raise UserError(
            f"output_dir {directory} is not empty and holds no run ({CONFIG} is missing)",
            fix="choose another output_dir, or empty this one",
        )
    _write_config(config, path)
    return directory


def _left_nothing(directory: Path) -> bool:
    metrics = directory / METRICS
    measured = metrics.is_file() and metrics.stat().st_size > 0
    folders = ("checkpoints", "eval")
    return not measured and not any((directory / name).exists() for name in folders)


def _write_config(config: Config, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, dump_config(_scrubbed(config)))
    except OSError as error:
        raise UserError(
            f"output_dir {path.parent} cannot be written: {error.strerror}",
            fix="choose another output_dir",
        ) from error


def note_changes(config: Config, total_steps: int) -> list[str]:
    """Note what this start changes (config.history.yaml); return a remark on each change.

    For one process, which holds the run's lock, after `open_run_directory`. A finished run that
    now has more steps to do (`total_steps`) is no longer finished: its comparison becomes
    `comparison.step_S.json` and its last evaluation that of step S.

    Raises: UserError for a finished run that has no checkpoint to go on from.
    """
    directory = Path(config.output_dir)
    changes = config_changes(read_last_config(directory), _resolved(config))
    if not changes:
        return []
    said = remarks(changes)
    done = _last_step(directory)
    if (directory / _COMPARISON).exists() and _goes_on(changes):
        if done is None:
            raise UserError(
                f"the run in {directory} is finished and has no checkpoint to go on from",
                fix="choose another output_dir, with checkpoint.enabled",
            )
        if total_steps > done:
            _reopen(directory, done)
            said.append(f"the finished run goes on from step {done} to step {total_steps}")
    append_history(directory, changes, done or 0)  # last: a kill before it leaves it to be noted
    return said


def _goes_on(changes: list[Change]) -> bool:
    """Whether a finished run may have more to do: more steps, or no longer stopped early."""
    return any(c.key in LENGTH or c.key.split(".")[0] == "early_stopping" for c in changes)


def _last_step(directory: Path) -> int | None:
    link = directory / "checkpoints" / LATEST
    found = _STEP.fullmatch(os.readlink(link)) if link.is_symlink() else None
    return None if found is None else int(found[1])


def _reopen(directory: Path, step: int) -> None:
    final, kept = directory / _FINAL_EVALUATION, directory / "eval" / f"step_{step}"
    if final.is_dir() and not kept.exists():
        final.rename(kept)
        flush(kept.parent)
    os.replace(directory / _COMPARISON, directory / f"comparison.step_{step}.json")
    flush(directory)


def run_date(config: Config) -> str:
    """The day that chat templates are told, as `2026-01-31`: that of the run's first start."""
    render = read_run_facts(Path(config.output_dir)).get("render", {})
    return str(render.get("date") or date.today().isoformat())


def read_run_facts(directory: Path) -> dict[str, Any]:
    """What the last start of a run wrote to environment.json; empty where there was none."""
    try:
        facts = json.loads((directory / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def write_run_facts(
    directory: Path,
    data: RunData,
    tokenizer: Any,
    *,
    model: str | None = None,
    world_size: int = 1,
) -> list[str]:
    """Write environment.json, ledger.jsonl and split.json; return remarks on what changed since.

    `model` is the name of the model that is fine-tuned. Software and hardware may change between
    two starts, which is remarked on.

    Raises: UserError where a run would be resumed on other data, another tokenizer, template or
    model than it was started with.
    """
    facts = describe_environment(data_files=data.files, tokenizer=tokenizer)
    facts["world_size"] = world_size
    if model is not None:
        facts["model_sha256"] = hash_model(model)
    facts["render"] = data.renderer.spec.to_dict() | {"fingerprint": data.renderer.spec.fingerprint}
    facts["template_profile"] = data.renderer.profile.to_dict()
    facts["rows"] = {
        "read": data.rows_read,
        "accepted": data.rows_accepted,
        "rejected": dict(data.ledger.counts),
        "absorbed": data.counts.get("absorbed", 0),
        "not_sampled": data.counts.get("not_sampled", 0),
        "special_tokens_read_as_text": data.counts.get(_ESCAPED, 0),
        **{key: data.counts.get(key, 0) for key in RenderCounts().to_dict() if key != _ESCAPED},
    }
    facts["traces"] = hash_traces(data)
    earlier = {} if _left_nothing(directory) else read_run_facts(directory)
    _require_same_input(directory, earlier, facts)
    write_json(directory / ENVIRONMENT, facts)
    data.ledger.write(directory / "ledger.jsonl")
    write_split(
        directory / "split.json",
        data.train.keys,
        data.held_out.keys,
        allowed=data.overlaps,
    )
    return machine_remarks(earlier, facts) if earlier else []


def _require_same_input(directory: Path, earlier: dict[str, Any], facts: dict[str, Any]) -> None:
    if (found := input_differences(earlier, facts)) is None:
        return
    changed, lines = found
    raise UserError(
        f"{directory} holds a run that was started on something else: {changed} changed since, "
        f"and a resumed run must not (there -> here):\n{lines}",
        fix="bring back what it was started on, choose another output_dir, or delete that folder",
    )


def _scrubbed(config: Config) -> Config:
    return Config.model_validate(scrub(config.resolved()))


def _resolved(config: Config) -> dict[str, Any]:
    values: dict[str, Any] = _scrubbed(config).resolved()
    return values
