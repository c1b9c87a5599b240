"""`tooltune eval`: files, numbers for programs, one row for people, and its limits."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.command import (
    files_below,
    next_commands,
    refused,
    succeeds,
    tooltune,
    write_rows,
)
from tests.cli.conftest import TinyRun
from tooltune.evaluate.evaluation_file import load_evaluation
from tooltune.models.render_record import read_render_record, write_render_record
from tooltune.render.spec import RenderSpec


@pytest.fixture
def words(model: Path, data: Path) -> list[str | Path]:
    return ["eval", "--model", model, "--data", data, "--max-new-tokens", "2"]


def test_an_evaluation_is_these_files(evaluations: tuple[Path, Path]) -> None:
    base, _ = evaluations
    assert files_below(base) == [
        "generation.json",
        "ledger.jsonl",
        "metrics.json",
        "outputs.jsonl",
        "report.html",
        "samples.jsonl",
    ]
    metrics = json.loads((base / "metrics.json").read_text())
    assert metrics["n_samples"] == 6
    assert "tool_call/accuracy" in metrics


def test_json_is_the_metrics_file_and_nothing_else(words: list[str], tmp_path: Path) -> None:
    words = [*words, "--max-samples", "3", "--json"]
    alone = succeeds(*words)
    assert "rows read" in alone.err
    with_files = succeeds(*words, "--out", tmp_path / "e")
    assert json.loads(alone.out) == json.loads(with_files.out)
    assert json.loads(alone.out) == json.loads((tmp_path / "e" / "metrics.json").read_text())


def test_progress_is_plain_lines_on_stderr(words: list[str]) -> None:
    printed = succeeds(*words, "--row", "0")
    assert "generated turns" in printed.err
    assert "\x1b" not in printed.err
    assert "\r" not in printed.err


def test_one_row_is_shown_with_prompt_output_calls_and_verdict(words: list[str]) -> None:
    out = succeeds(*words, "--row", "1", "--print").out
    assert "Order A588 was late" in out
    assert "parsed calls\n  none" in out
    assert 'refund_order {"order_id": "A588", "reason": "late", "amount": 98}' in out
    assert "verdict wrong" in out
    assert "(cut at --max-new-tokens)" in out


def test_what_it_proposes_works_as_it_stands(
    words: list[str], run: TinyRun, tmp_path: Path
) -> None:
    words = [*words, "--max-samples", "3"]
    (look,) = next_commands(succeeds(*words, "--out", tmp_path / "base"))
    assert "verdict wrong" in succeeds(*look.split()[1:]).out
    words[2] = str(run.model)
    _, compare = next_commands(succeeds(*words, "--out", tmp_path / "tuned"))
    assert compare == (
        f"tooltune compare {tmp_path / 'base'} {tmp_path / 'tuned'} --out {tmp_path / 'base-tuned'}"
    )
    succeeds(*compare.split()[1:])
    assert (tmp_path / "base-tuned" / "report.html").is_file()


def test_the_evaluation_of_another_model_is_not_overwritten(
    evaluations: tuple[Path, Path], data: Path, run: TinyRun
) -> None:
    base, _ = evaluations
    before = (base / "samples.jsonl").read_bytes()
    said = refused("eval", "--model", run.model, "--data", data, "--out", base)
    assert "holds the evaluation of another model" in said
    assert (base / "samples.jsonl").read_bytes() == before


def test_prompts_that_are_too_long_count_as_wrong_and_are_named(words: list[str]) -> None:
    metrics = json.loads(succeeds(*words, "--max-prompt-tokens", "5", "--json").out)
    assert metrics["tool_call/accuracy"] == 0
    assert metrics["tool_call/_skip_prompt_too_long"] == metrics["tool_call/_skipped"] > 0


def test_turns_that_should_not_call_can_be_left_out(words: list[str]) -> None:
    every = json.loads(succeeds(*words, "--json").out)
    calls = json.loads(succeeds(*words, "--no-abstain", "--json").out)
    assert calls["n_samples"] < every["n_samples"]
    assert "tool_call/abstain_accuracy" not in calls


@pytest.mark.parametrize(
    "limit", [["--max-samples", "0"], ["--max-new-tokens", "0"], ["--row", "-1"]]
)
def test_limits_that_leave_nothing_are_refused(words: list[str], limit: list[str]) -> None:
    printed = tooltune(*words, *limit)
    assert printed.code == 2
    assert limit[0] in printed.err


def test_an_engine_that_is_not_there_is_refused(words: list[str]) -> None:
    assert "--engine vllm: no such engine" in refused(*words, "--engine", "vllm")


def test_a_model_is_asked_as_its_render_record_says(
    model: Path, data: Path, tmp_path: Path
) -> None:
    first = json.loads(data.read_text().splitlines()[0])
    first["messages"][0]["content"] += " <|im_start|>"  # rejected unless control strings may stand
    path = write_rows(tmp_path / "rows.jsonl", first)
    words = ["--data", path, "--max-new-tokens", "2", "--json"]
    assert "control_token_in_text" in refused("eval", "--model", model, *words)
    escaping = tmp_path / "model"
    shutil.copytree(model, escaping)
    write_render_record(RenderSpec(control_tokens="escape"), escaping)
    metrics = json.loads(succeeds("eval", "--model", escaping, *words).out)
    assert metrics["tool_call/_count"] >= 1
    assert metrics["tool_call/_skipped"] == 0


def test_a_render_record_decides_how_prompts_look_and_not_which_turns_are_asked(
    model: Path, data: Path, tmp_path: Path
) -> None:
    words = ["--data", data, "--max-new-tokens", "2", "--out"]
    choosy = tmp_path / "model"
    shutil.copytree(model, choosy)
    record = RenderSpec(seq_length=300, truncation=True, skip_failed_calls=True)
    write_render_record(record, choosy)
    succeeds("eval", "--model", model, *words, tmp_path / "base")
    succeeds("eval", "--model", choosy, *words, tmp_path / "tuned")
    base, tuned = (
        [(r["sample_id"], r["prompt_id"], r["skip_reason"]) for r in load_evaluation(folder)]
        for folder in (tmp_path / "base", tmp_path / "tuned")
    )
    assert base == tuned


def test_a_trained_model_carries_its_render_record(run: TinyRun) -> None:
    assert read_render_record(run.model).date is not None


def test_a_model_damaged_in_its_checkpoint_is_not_scored_and_one_copied_out_is(
    run: TinyRun, data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run", symlinks=True))
    model = folder / "checkpoints" / "LATEST" / "model" / "consolidated"
    with (model / "model.safetensors").open("r+b") as stream:
        stream.seek(-2, os.SEEK_END)
        stream.write(b"\x01")
    words = ("--data", data, "--max-new-tokens", "2", "--max-samples", "1")
    message = refused("eval", "--model", model, *words)
    assert "model/consolidated/model.safetensors was altered" in message
    succeeds("eval", "--model", shutil.copytree(model, tmp_path / "copied"), *words)
