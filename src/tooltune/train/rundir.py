"""The run's folder: made once, continued only by the same resolved configuration."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from tooltune.config.dump import config_difference, dump_config
from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.render.account import RenderCounts
from tooltune.scrub import scrub
from tooltune.traces.split import write_split
from tooltune.train.data import RunData
from tooltune.train.durable import write_json
from tooltune.train.environment import describe_environment
from tooltune.train.log import METRICS, RunLog

CONFIG = "config.yaml"
_ESCAPED = "escaped_strings"
ENVIRONMENT = "environment.json"


def open_run_directory(config: Config) -> Path:
    """Make the output folder, or check that the run in it has this very configuration.

    A run that failed before it measured or saved anything leaves nothing to protect: its
    configuration is replaced, so that a mistake mended is a run started.

    Raises: UserError that shows the difference when it holds a run of another configuration, and
    for a folder that holds something else.
    """
    directory = Path(config.output_dir)
    path = directory / CONFIG
    if directory.exists() and not directory.is_dir():
        raise UserError(f"output_dir {directory} is a file", fix="choose another output_dir")
    if path.is_file():
        if _left_nothing(directory):
            with RunLog(directory):  # raises where another process is just starting here
                _write_config(config, path)
        else:
            _require_same(config, path)
        return directory
    if directory.is_dir() and any(p.name != _staged(path).name for p in directory.iterdir()):
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
        staged = _staged(path)
        staged.write_text(dump_config(_scrubbed(config)), encoding="utf-8")
        staged.rename(path)
    except OSError as error:
        raise UserError(
            f"output_dir {path.parent} cannot be written: {error.strerror}",
            fix="choose another output_dir",
        ) from error


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


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


def write_run_facts(directory: Path, data: RunData, tokenizer: Any) -> None:
    """Write environment.json, ledger.jsonl and split.json.

    Raises: UserError where an unfinished run would be resumed on other data, another tokenizer
    or another template than it was started with.
    """
    facts = describe_environment(data_files=data.files, tokenizer=tokenizer)
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
    _require_same_input(directory, facts)
    write_json(directory / ENVIRONMENT, facts)
    data.ledger.write(directory / "ledger.jsonl")
    write_split(
        directory / "split.json",
        data.train.keys,
        data.held_out.keys,
        allowed=data.overlaps,
    )


def _require_same_input(directory: Path, facts: dict[str, Any]) -> None:
    earlier = read_run_facts(directory)
    inputs = {
        "the data": "data",
        "the tokenizer": "tokenizer_sha256",
        "the chat template": "chat_template_sha256",
    }
    changed = [what for what, key in inputs.items() if earlier.get(key) != facts[key]]
    if earlier and changed and not _left_nothing(directory):
        raise UserError(
            f"{directory} holds a run that was started on something else: "
            f"{' and '.join(changed)} changed since, and a resumed run must not",
            fix="choose another output_dir, or delete that folder",
        )


def _scrubbed(config: Config) -> Config:
    return Config.model_validate(scrub(config.resolved()))


def _require_same(config: Config, path: Path) -> None:
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} cannot be read: {error}", fix="choose another output_dir"
        ) from error
    here = json.loads(json.dumps(_scrubbed(config).resolved()))
    difference = config_difference(there if isinstance(there, dict) else {}, here)
    if difference:
        lines = "\n".join(f"  {line}" for line in difference)
        raise UserError(
            f"{path.parent} holds a run of another configuration (there -> here):\n{lines}",
            fix="choose another output_dir, delete that folder, or run with its configuration to "
            "resume it",
        )
