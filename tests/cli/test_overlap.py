"""Training and evaluation data that overlap, exactly (exit code 2) or nearly (reported)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import refused, succeeds, write_config, write_rows


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize("section", ["validation_dataset", "tool_call_eval"])
def test_overlapping_rows_are_named(
    command: str, section: str, model: Path, data: Path, tmp_path: Path
) -> None:
    some = tmp_path / "held_out.jsonl"
    lines = data.read_text().splitlines(keepends=True)
    some.write_text("".join(lines[5:3:-1]))
    other = "" if section == "validation_dataset" else "validation_dataset: null"
    text = f"""
model: {{pretrained_model_name_or_path: {model}}}
dataset: {{path: {data}}}
{section}: {{path: {some}}}
{other}
output_dir: {tmp_path / "run"}
"""
    message = refused(command, write_config(tmp_path / "my.yaml", text))
    assert f"{some}:0 = {data}:5 (exact)" in message
    assert f"{some}:1 = {data}:4 (exact)" in message
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_near_duplicates_across_the_split_are_reported(model: Path, tmp_path: Path) -> None:
    def row(last: str) -> dict[str, object]:
        words = " ".join(f"word{i}" for i in range(60))
        said = {"role": "user", "content": f"{words} {last}"}
        return {"messages": [said, {"role": "assistant", "content": "Good."}]}

    train = write_rows(tmp_path / "train.jsonl", row("one"), row("two"))
    held_out = write_rows(tmp_path / "held_out.jsonl", row("three"))
    text = f"""
model: {{pretrained_model_name_or_path: {model}}}
dataset: {{path: {train}}}
validation_dataset: {{path: {held_out}}}
"""
    config = write_config(tmp_path / "my.yaml", text)
    printed = succeeds("check", config)
    assert f"1 of 1 held-out traces nearly equal a training trace: {held_out}:0 ~ " in printed.out
    found = json.loads(succeeds("check", config, "--json").out)["near_overlaps"]
    assert (found["count"], found["train_compared"]) == (1, 2)
