"""The run's folder: made once, continued only by the same resolved configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tooltune.config.dump import config_difference, dump_config
from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.scrub import scrub
from tooltune.traces.split import write_split
from tooltune.train.data import RunData
from tooltune.train.durable import write_json
from tooltune.train.environment import describe_environment

CONFIG = "config.yaml"


def open_run_directory(config: Config) -> Path:
    """Make the output folder, or check that the run in it has this very configuration.

    Raises: UserError that shows the difference when it holds a run of another configuration, and
    for a folder that holds something else.
    """
    directory = Path(config.output_dir)
    path = directory / CONFIG
    if directory.exists() and not directory.is_dir():
        raise UserError(f"output_dir {directory} is a file", fix="choose another output_dir")
    if path.is_file():
        _require_same(config, path)
        return directory
    if directory.is_dir() and any(directory.iterdir()):
        raise UserError(
            f"output_dir {directory} is not empty and holds no run ({CONFIG} is missing)",
            fix="choose another output_dir, or empty this one",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staged = directory / f".{CONFIG}.part"
        staged.write_text(dump_config(_scrubbed(config)), encoding="utf-8")
        staged.rename(path)
    except OSError as error:
        raise UserError(
            f"output_dir {directory} cannot be written: {error.strerror}",
            fix="choose another output_dir",
        ) from error
    return directory


def write_run_facts(directory: Path, config: Config, data: RunData, tokenizer: Any) -> None:
    """Write environment.json, ledger.jsonl, split.json and the template's profile."""
    facts = describe_environment(
        data_files=data.files, tokenizer=tokenizer, chat_template=config.model.chat_template
    )
    facts["render"] = data.renderer.spec.to_dict() | {"fingerprint": data.renderer.spec.fingerprint}
    facts["template_profile"] = data.renderer.profile.to_dict()
    facts["rows"] = {
        "read": data.rows_read,
        "accepted": data.rows_accepted,
        "rejected": dict(data.ledger.counts),
        "special_tokens_read_as_text": data.renderer.escaped_strings,
    }
    write_json(directory / "environment.json", facts)
    data.ledger.write(directory / "ledger.jsonl")
    write_split(
        directory / "split.json",
        [row.trace for row in data.train],
        [row.trace for row in data.held_out],
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
