from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.config.load import load_config
from tooltune.config.schema import Config
from tooltune.config.schema import EarlyStopping as Settings
from tooltune.errors import UserError
from tooltune.evaluate.samples import EvalSample
from tooltune.traces.types import Trace
from tooltune.train.stopping import EarlyStopping, never_stops, require_measurable

# Few different values, so that equal ones and small gains are common.
VALUES = st.one_of(
    st.none(),
    st.sampled_from([0.0, 0.1, 0.5, 0.55, 0.6, 1.0, math.nan, math.inf, -math.inf]),
    st.floats(-2, 2),
)
SETTINGS = st.builds(
    Settings,
    metric=st.sampled_from(["tool_call", "val_loss"]),
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.05, 0.5]),
)


def stops_at(settings: Settings, values: list[float | None]) -> int | None:
    stopping = EarlyStopping(settings)
    return next((i for i, value in enumerate(values) if stopping.note(value)), None)


def definition(settings: Settings, values: list[float | None]) -> int | None:
    """Written from the end: at which index have the last `patience` values brought nothing new?"""
    sign = -1 if settings.metric == "val_loss" else 1
    measured = [(i, v) for i, v in enumerate(values) if v is not None]
    best, last_best, count = -math.inf, 0, 0
    for count, (i, value) in enumerate(measured, start=1):
        if math.isfinite(value) and sign * value - best > settings.min_delta:
            best, last_best = sign * value, count
        if count - last_best == settings.patience:
            return i
    return None


@given(settings=SETTINGS, values=st.lists(VALUES, max_size=20))
def test_it_stops_at_the_first_run_of_patience_measurements_without_a_new_best(
    settings: Settings, values: list[float | None]
) -> None:
    assert stops_at(settings, values) == definition(settings, values)


@given(settings=SETTINGS, values=st.lists(VALUES, max_size=20), data=st.data())
def test_resumed_at_any_points_it_stops_at_the_same_measurement(
    settings: Settings, values: list[float | None], data: st.DataObject
) -> None:
    stopping, stopped = EarlyStopping(settings), None
    for i, value in enumerate(values):
        if data.draw(st.booleans()):  # a checkpoint, and a process that goes on from it
            text = json.dumps(stopping.to_dict(), allow_nan=False)
            stopping = EarlyStopping.from_dict(settings, json.loads(text))
        if stopping.note(value):
            stopped = i
            break
    assert stopped == stops_at(settings, values)
    resumed = EarlyStopping.from_dict(settings, stopping.to_dict())
    assert resumed == stopping
    assert resumed.stop == (stopped is not None)


def test_a_measurement_without_value_neither_counts_nor_resets() -> None:
    settings = Settings(patience=2)
    assert stops_at(settings, [0.5, 0.5, None, None, 0.5]) == 4
    assert stops_at(settings, [None] * 9) is None


def test_a_value_that_is_not_finite_is_never_a_best() -> None:
    assert stops_at(Settings(metric="val_loss", patience=2), [-math.inf, math.nan]) == 1
    assert stops_at(Settings(patience=2), [math.inf, 0.1, 0.2, 0.3]) is None


def test_a_gain_has_to_be_above_min_delta() -> None:
    settings = Settings(patience=2, min_delta=0.25)
    assert stops_at(settings, [0.5, 0.75, 0.75]) == 2
    assert stops_at(settings, [0.5, 0.625, 0.875]) is None  # measured against the best


def test_a_loss_gets_better_downwards() -> None:
    settings = Settings(metric="val_loss", patience=2)
    assert stops_at(settings, [3.0, 2.0, 1.0, 0.5]) is None
    assert stops_at(settings, [1.0, 2.0, 3.0]) == 2


def test_more_patience_on_resume_goes_on() -> None:
    stopping = EarlyStopping(Settings(patience=1), best=0.5)
    assert stopping.note(0.5)
    assert not EarlyStopping.from_dict(Settings(patience=2), stopping.to_dict()).stop


def test_another_metric_on_resume_starts_anew() -> None:
    kept = EarlyStopping(Settings(metric="tool_call"), best=0.9, without_new_best=2).to_dict()
    resumed = EarlyStopping.from_dict(Settings(metric="val_loss"), kept)
    assert resumed == EarlyStopping(Settings(metric="val_loss"))


def test_the_state_of_a_run_that_kept_none_is_that_of_a_fresh_start() -> None:
    assert EarlyStopping.from_dict(Settings(), {}) == EarlyStopping(Settings())


def test_the_reason_names_the_metric_the_best_and_the_count_in_one_line() -> None:
    stopping = EarlyStopping(Settings(patience=2, min_delta=0.01))
    for value in (0.25, 0.5, 0.5, 0.505):
        stopping.note(value)
    assert stopping.reason == (
        "stopped early: tool_call/balanced_accuracy was at best 0.5000, and the last 2 "
        "measurements did not improve on it by more than 0.01 (early_stopping)"
    )
    assert "never been finite" in EarlyStopping(Settings(metric="val_loss")).reason


# --- what must be there to be measured


def config(tmp_path: Path, **sections: Any) -> Config:
    base = {
        "model": "some/model",
        "dataset": {"path": str(tmp_path / "data.jsonl")},
        "validation_dataset": {"fraction": 0.25},
        "output_dir": str(tmp_path / "run"),
    }
    return load_config(None, base={**base, **sections})


def sample(dataset: str = "held_out") -> EvalSample:
    return EvalSample(Trace(id="t", messages=(), tools=()), 0, None, dataset)


def test_without_early_stopping_nothing_has_to_be_measured(tmp_path: Path) -> None:
    require_measurable(config(tmp_path), held_out=0, samples=(), sharded=True)


def test_a_metric_that_is_measured_is_accepted(tmp_path: Path) -> None:
    loss = config(tmp_path, early_stopping={"metric": "val_loss"})
    require_measurable(loss, held_out=1, samples=(), sharded=True)
    calls = config(tmp_path, early_stopping={"metric": "tool_call"})
    require_measurable(calls, held_out=0, samples=[sample("other"), sample()], sharded=True)


def test_a_loss_without_validation_traces_is_refused(tmp_path: Path) -> None:
    loss = config(tmp_path, early_stopping={"metric": "val_loss"})
    with pytest.raises(UserError, match="validation_dataset"):
        require_measurable(loss, held_out=0, samples=[sample()], sharded=False)


def test_tool_calls_that_nobody_generates_are_refused(tmp_path: Path) -> None:
    off = config(tmp_path, early_stopping={}, tool_call_eval={"enabled": False})
    with pytest.raises(UserError, match="enabled"):
        require_measurable(off, held_out=2, samples=[sample()], sharded=False)
    on = config(tmp_path, early_stopping={})
    with pytest.raises(UserError, match="no held-out turn"):
        require_measurable(on, held_out=2, samples=[sample("other")], sharded=False)


def test_generation_switched_off_under_fsdp2_is_refused_only_where_weights_are_sharded(
    tmp_path: Path,
) -> None:
    off = config(tmp_path, early_stopping={}, tool_call_eval={"run_on_fsdp2": False})
    require_measurable(off, held_out=2, samples=[sample()], sharded=False)
    with pytest.raises(UserError, match="run_on_fsdp2"):
        require_measurable(off, held_out=2, samples=[sample()], sharded=True)


@pytest.mark.parametrize(
    ("every", "patience", "warned"),
    [(3, 2, False), (3, 3, True), (2, 3, False), (None, 1, True)],
)
def test_a_run_too_short_for_its_patience_is_told_so(
    tmp_path: Path, every: int | None, patience: int, warned: bool
) -> None:
    """Before the last of 10 steps, 5 an epoch, come the measurements after 3, 6 and 9 (or 5)."""
    chosen = config(
        tmp_path, early_stopping={"patience": patience}, tool_call_eval={"every_steps": every}
    )
    warning = never_stops(chosen, total_steps=10, steps_per_epoch=5)
    assert (warning is not None) == warned
    assert never_stops(config(tmp_path), total_steps=10, steps_per_epoch=5) is None


def test_a_run_that_measures_once_more_than_its_patience_can_be_stopped() -> None:
    """The first measurement is the first best: `never_stops` relies on it."""
    assert stops_at(Settings(patience=2), [0.5, 0.4]) is None
    assert stops_at(Settings(patience=2), [0.5, 0.4, 0.4]) == 2
