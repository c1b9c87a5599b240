"""`tooltune train`: what it prints, what it leaves, and how it ends when a loss is no number."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.command import next_commands, refused, succeeds, tooltune
from tests.cli.conftest import TinyRun
from tooltune.exits import EXIT_PREEMPTED


def test_a_run_ends_with_its_comparison_the_report_and_what_to_do_next(run: TinyRun) -> None:
    out = run.printed.out
    assert "held-out samples: 2 call turns" in out
    assert "balanced_accuracy" in out
    assert f"report: {run.folder / 'report.html'}" in out
    assert (run.folder / "report.html").is_file()
    assert f"model:  {run.model}" in out
    assert (run.model / "model.safetensors").is_file()


def test_the_progress_of_a_run_is_plain_lines_without_a_terminal(run: TinyRun) -> None:
    steps = [line for line in run.printed.out.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in steps if "tok/s" in line] == ["1/3", "2/3", "3/3"]
    assert "\x1b" not in run.printed.out
    assert "\r" not in run.printed.out


def test_the_command_that_a_run_proposes_works_as_it_stands(run: TinyRun) -> None:
    (command,) = next_commands(run.printed)
    words = command.split()
    assert words[:3] == ["tooltune", "eval", "--model"]
    shown = succeeds(*words[1:], "--max-new-tokens", "2")
    assert "parsed calls" in shown.out


def test_the_row_that_is_proposed_is_one_that_was_accepted(
    run: TinyRun, model: Path, data: Path, tmp_path: Path
) -> None:
    from tooltune.cli.train import _look_at_one_row
    from tooltune.config.load import load_config

    rejected = {"file": str(data), "row": 0, "code": "unknown_role", "reason": "…"}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(rejected) + "\n")
    command = _look_at_one_row(load_config(run.config), tmp_path, model)
    assert command.endswith("--row 1 --print")


def test_a_finished_run_started_again_says_so_and_changes_nothing(run: TinyRun) -> None:
    before = (run.folder / "metrics.jsonl").read_bytes()
    printed = succeeds("train", run.config)
    assert "finished already" in printed.out
    assert "held-out samples: 2 call turns" in printed.out
    assert (run.folder / "metrics.jsonl").read_bytes() == before


def test_a_run_without_checkpoints_proposes_no_model(config: Path, tmp_path: Path) -> None:
    words = ["--checkpoint.enabled=false", "--tool_call_eval.enabled=false"]
    printed = succeeds("train", config, *words, "--step_scheduler.max_steps=1")
    assert "model:" not in printed.out
    assert next_commands(printed) == []


def test_a_loss_that_is_no_number_ends_with_code_1_and_keeps_the_last_checkpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tooltune.train.trainee import Trainee

    original = Trainee.nll
    steps = {"trained": 0}

    def nll(self: Any, batch: Any) -> torch.Tensor:
        steps["trained"] += torch.is_grad_enabled()
        return original(self, batch) * (float("nan") if steps["trained"] > 4 else 1.0)

    monkeypatch.setattr(Trainee, "nll", nll)
    words = ["--step_scheduler.ckpt_every_steps=1", "--step_scheduler.num_epochs=4"]
    printed = tooltune("train", config, *words, "--tool_call_eval.enabled=false")
    assert printed.code == 1
    assert "not finite" in printed.err
    assert "optimizer.lr" in printed.err
    assert "Traceback" not in printed.err
    assert (tmp_path / "run" / "checkpoints" / "LATEST" / "model" / "consolidated").is_dir()


def test_the_demos_config_is_valid_and_its_hint_points_at_held_out_traces(tmp_path: Path) -> None:
    from tooltune.cli.demo import _SIZES, demo_config
    from tooltune.cli.train import _look_at_one_row
    from tooltune.config.load import load_config

    data = {split: tmp_path / f"{split}.jsonl" for split in _SIZES}
    config = load_config(None, base=demo_config(data, tmp_path / "demo", 0))
    (tmp_path / "ledger.jsonl").write_text("")
    assert f"--data {data['held_out']} " in _look_at_one_row(config, tmp_path, tmp_path)


def test_the_hint_holds_for_mixtures_formats_logs_and_renamed_columns(tmp_path: Path) -> None:
    from tooltune.cli.train import _look_at_one_row
    from tooltune.config.load import load_config

    def hint(**dataset: Any) -> str | None:
        base = {"model": "m", "dataset": dataset, "validation_dataset": {"fraction": 0.5}}
        return _look_at_one_row(load_config(None, base=base), tmp_path, tmp_path)

    (tmp_path / "ledger.jsonl").write_text("")
    mixed = hint(sources=[{"path": "a.jsonl", "format": "openai"}, {"path": "b.jsonl"}])
    assert mixed is not None
    assert "--data a.jsonl --format openai --row 0" in mixed
    assert hint(path="a.jsonl", columns={"messages": "log"}) is None
    (tmp_path / "environment.json").write_text(json.dumps({"rows": {"absorbed": 3}}))
    assert "--max-samples 1 --print" in str(hint(path="log.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_first_seconds_asks_to_be_started_again(
    config: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tooltune", "train", str(config)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("starting")  # imports are still to come
    process.send_signal(number)
    assert process.wait(60) == EXIT_PREEMPTED
    assert f"{number.name}: left; the same command starts it" in process.stderr.read()


def test_one_process_has_no_place_in_a_mesh_of_copies(config: Path, tmp_path: Path) -> None:
    message = refused("train", config, "--distributed.dp_replicate_size=2")
    assert "1 processes do not make 2 copies" in message
    assert "reading" not in message  # before the data are prepared
