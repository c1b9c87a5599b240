"""Trackers and early stopping in whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.train import tiny_run
from tests.train.trackers.test_services import from_tensorboard
from tooltune.train.recipe import train


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("parts")
    model = tiny_run.save_tiny_model(folder / "model", builtin_tokenizer)
    return model, tiny_run.write_traces(folder / "data.jsonl", 8)


def test_a_tracker_shows_the_numbers_of_the_metrics_file(
    parts: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(tiny_run.tiny_config(*parts, run, log={"trackers": ["tensorboard"]}))
    records = tiny_run.metrics(run)
    history = from_tensorboard(run, tmp_path)
    for kind, key, name in (
        ("train", "loss", "train/loss"),
        ("val", "loss", "val/loss"),
        ("tool_call", "tool_call/accuracy", "tool_call/accuracy"),
    ):
        written = [(r["step"], r[key]) for r in records if r["kind"] == kind]
        assert len(written) >= 2
        assert history[name] == [(s, pytest.approx(v, rel=1e-6, abs=1e-9)) for s, v in written]


def test_a_run_that_no_longer_improves_ends_with_its_comparison(
    parts: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = tiny_run.tiny_config(
        *parts,
        run,
        step_scheduler={"num_epochs": 3, "val_every_steps": 1},
        tool_call_eval={"every_steps": 100},
        early_stopping={"metric": "val_loss", "patience": 2, "min_delta": 1000.0},
    )
    result = train(config)
    assert [r["step"] for r in tiny_run.metrics(run) if r["kind"] == "train"] == [1, 2, 3]
    assert (run / "checkpoints" / "LATEST").resolve().name.endswith("_step_3")
    assert result.comparison is not None
    log = (run / "train.log").read_text()
    assert log.count("stopped early: the validation loss was at best") == 1
    (run / "comparison.json").unlink()  # killed before its end, it has stopped all the same
    assert train(config).comparison is not None
    assert [r["step"] for r in tiny_run.metrics(run) if r["kind"] == "train"] == [1, 2, 3]
