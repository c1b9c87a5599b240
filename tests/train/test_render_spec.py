"""The keys of the YAML that decide a render reach the one specification of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tooltune.config.load import load_config
from tooltune.errors import UserError
from tooltune.render.spec import LossWeights, RenderSpec
from tooltune.train.data import render_spec

FLAGS: dict[str, Any] = {
    "train_on_last_turn_only": True,
    "mask_reasoning_content": True,
    "drop_history_reasoning_content": True,
    "seq_length": 512,
    "truncate_history": True,
    "filter_overlong": True,
    "truncation": True,
    "filter_no_assistant": True,
    "trim_incomplete_last_turn": True,
    "skip_failed_calls": True,
    "control_tokens": "escape",
}


def spec_of(tmp_path: Path, *overrides: str) -> RenderSpec:
    path = tmp_path / "run.yaml"
    path.write_text("model: some/model\ndataset: {path: traces.jsonl}\noutput_dir: runs/x\n")
    return render_spec(load_config(path, overrides), tokenizer=None)


def test_defaults_are_those_of_the_specification(tmp_path: Path) -> None:
    assert spec_of(tmp_path) == RenderSpec()


@pytest.mark.parametrize("flag", FLAGS)
def test_each_key_arrives(tmp_path: Path, flag: str) -> None:
    needed = ["--dataset.seq_length=512"]
    spec = spec_of(tmp_path, *needed, f"--dataset.{flag}={str(FLAGS[flag]).lower()}")
    assert getattr(spec, flag) == FLAGS[flag] != getattr(RenderSpec(), flag)


def test_loss_weights_arrive(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "--dataset.loss_weights.reasoning=0.25")
    assert spec.loss_weights == LossWeights(reasoning=0.25)


@pytest.mark.parametrize(
    "override",
    [
        "--dataset.loss_weights.reasoning=-1",
        "--dataset.loss_weights.calls=1",
        "--dataset.control_tokens=keep",
        "--dataset.seq_length=0",
    ],
)
def test_values_that_mean_nothing_are_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError):
        spec_of(tmp_path, override)
