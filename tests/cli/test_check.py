"""`tooltune check`: findings for people and for programs, and what to do next."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import next_commands, succeeds


def test_the_findings_of_a_config_are_counted(config: Path, tmp_path: Path) -> None:
    printed = succeeds("check", config)
    assert "rows      8 read, 8 accepted, 0 rejected" in printed.out
    assert "split     6 traces to train on, 2 held out, 5 turns to generate" in printed.out
    assert "turns end in <|im_end|>; calls are read as hermes" in printed.out
    assert "steps     3 of 2 traces (3 an epoch)" in printed.out
    assert not (tmp_path / "run").exists()


def test_the_same_findings_are_json_for_programs(config: Path) -> None:
    printed = succeeds("check", config, "--json")
    findings = json.loads(printed.out)
    assert findings["rows"]["accepted"] == 8
    assert findings["tokens"]["targets"] > 0
    assert findings["steps"]["total"] == 3


def test_what_it_proposes_works_as_it_stands(config: Path, model: Path, data: Path) -> None:
    preview, train = next_commands(succeeds("check", config))
    assert train == f"tooltune train {config}"
    assert "trained" in succeeds(*preview.split()[1:]).out
    (of_data,) = next_commands(succeeds("check", data, "--model", model))
    assert of_data == f"tooltune preview {data} --model {model}"
    assert "trained" in succeeds(*of_data.split()[1:]).out


def test_overrides_are_used_and_proposed_again(config: Path) -> None:
    printed = succeeds("check", config, "--step_scheduler.num_epochs=3")
    assert "steps     9 of 2 traces" in printed.out
    assert all(c.endswith("--step_scheduler.num_epochs=3") for c in next_commands(printed))


def test_a_path_with_spaces_is_quoted_in_what_it_proposes(
    model: Path, data: Path, tmp_path: Path
) -> None:
    spaced = tmp_path / "my traces.jsonl"
    spaced.write_bytes(data.read_bytes())
    (command,) = next_commands(succeeds("check", spaced, "--model", model))
    assert command == f"tooltune preview '{spaced}' --model {model}"
