"""What may differ from the start of a run when it is continued, and what may not.

What decides which numbers come out (model, data, template, optimizer, seed, size of a step) stays
as it was, or the run would be two half runs under one name. How often things happen, how much is
kept, and on how many processes it runs may change. `config.yaml` stays that of the first start;
`config.history.yaml` lists what later starts changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tooltune.config.dump import Change, config_changes
from tooltune.config.schema import Config
from tooltune.config.yamlfile import dump_yaml
from tooltune.errors import UserError
from tooltune.train.durable import flush

CONFIG = "config.yaml"
HISTORY = "config.history.yaml"

# Sections and keys; a section stands for all of its keys.
_FREE = (
    *("log", "distributed", "early_stopping", "output_dir", "dataset.num_workers"),
    *("checkpoint.keep_last", "checkpoint.async_save", "checkpoint.save_consolidated"),
    *("step_scheduler.ckpt_every_steps", "step_scheduler.val_every_steps"),
    *("tool_call_eval.every_steps", "tool_call_eval.run_on_fsdp2"),
)
LENGTH = ("step_scheduler.num_epochs", "step_scheduler.max_steps")
_LENGTH_REMARK = "the learning rate follows the new number of steps from here on"
ROUNDING_REMARK = "results stay the same within rounding, but no longer bit for bit"
_REMARKED = dict.fromkeys(LENGTH, _LENGTH_REMARK) | dict.fromkeys(
    (
        *("step_scheduler.local_batch_size", "deterministic"),
        *("model.activation_checkpointing", "model.compile"),
        *("distributed.strategy", "distributed.dp_replicate_size"),
    ),
    ROUNDING_REMARK,
)
_SHOWN = 6  # overrides that an error suggests at most


def forbidden(changes: Iterable[Change]) -> list[Change]:
    """The changes under which a run must not be continued."""
    return [c for c in changes if c.key not in _REMARKED and not _is_free(c.key)]


def remarks(changes: Iterable[Change]) -> list[str]:
    """What a person should know of each change that is allowed."""
    said = []
    for change in changes:
        remark = _REMARKED.get(change.key)
        said.append(f"{change} since the last start" + (f": {remark}" if remark else ""))
    return said


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)


def require_same(first: Mapping[str, Any], here: Mapping[str, Any], directory: Path) -> None:
    """Raise UserError, with the difference, where a config must not continue that of `directory`.

    Both are resolved configs; `first` is that of the run's first start.
    """
    refused = forbidden(config_changes(first, here))
    if not refused:
        return
    lines = "\n".join(f"  {change}" for change in refused)
    back = [f"--{c.key}={c.there}" for c in refused if isinstance(c.there, int | float | str)]
    same = " ".join(back) if len(back) == len(refused) <= _SHOWN else "its configuration"
    raise UserError(
        f"{directory} holds a run of another configuration (there -> here):\n{lines}",
        fix=f"run with {same} to resume it; or choose another output_dir, or delete that folder",
    )


def read_first_config(directory: Path) -> dict[str, Any]:
    """The resolved config of a run's first start; keys that it lacks have their default.

    Raises: UserError where config.yaml cannot be read.
    """
    there = _read_yaml(directory / CONFIG)
    if not isinstance(there, dict):
        return {}
    try:  # a key that is younger than the run has its default, which is what the run did
        return Config.model_validate(there).resolved()
    except ValidationError:
        return there


def read_last_config(directory: Path) -> dict[str, Any]:
    """The resolved config of a run's last start: the first, with all later changes."""
    config = read_first_config(directory)
    for entry in read_history(directory):
        for key, change in entry["changed"].items():
            _set(config, key.split("."), change["to"])
    return config


def read_history(directory: Path) -> list[dict[str, Any]]:
    """The entries of config.history.yaml: `date`, `after_step`, and `changed` by key."""
    path = directory / HISTORY
    if not path.exists():
        return []
    entries = _read_yaml(path)
    if not isinstance(entries, list):
        raise UserError(f"{path} holds no list", fix="delete it: changes are then noted anew")
    return entries


def append_history(directory: Path, changes: Iterable[Change], after_step: int) -> None:
    """Note changes that a start makes. The file is replaced as a whole."""
    entry = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "after_step": after_step,
        "changed": {change.key: {"from": change.there, "to": change.here} for change in changes},
    }
    write_text(directory / HISTORY, dump_yaml([*read_history(directory), entry]))


def staged(path: Path) -> Path:
    """Where `write_text` writes first: what a crash may leave."""
    return path.with_name(f".{path.name}.part")


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or leave the one that was there."""
    staged(path).write_text(text, encoding="utf-8")
    flush(staged(path))
    os.replace(staged(path), path)
    flush(path.parent)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} cannot be read: {error}", fix="choose another output_dir"
        ) from None


def _set(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        below = values.get(part)
        if not isinstance(below, dict):
            below = values[part] = {}
        values = below
    values[path[-1]] = value
