from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.fabricate import log_rows
from tooltune.report.curves import HEIGHT, WIDTH, charts, nice_ticks

finite = st.floats(-1e6, 1e6)


@given(finite, st.floats(0, 1e6), st.booleans())
def test_ticks_enclose_the_values_in_few_equal_steps(low: float, span: float, whole: bool) -> None:
    ticks = nice_ticks(low, low + span, whole=whole)
    slack = 1e-9 * max(1.0, abs(low) + span)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 7
    if whole:
        assert all(tick == int(tick) for tick in ticks)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=700))
def test_every_point_lies_inside_the_chart_and_long_runs_are_thinned(losses: list[float]) -> None:
    log = [{"step": i, "kind": "train", "loss": loss} for i, loss in enumerate(losses)]
    (chart,) = charts(log)
    points = re.findall(r"([\d.]+) ([\d.]+)", chart.series[0].path)
    assert 1 <= len(points) <= 240
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in points)


def test_a_run_has_a_loss_chart_and_an_accuracy_chart() -> None:
    loss, accuracy = charts(log_rows())
    assert [s.label for s in loss.series] == ["training", "validation"]
    assert [s.label for s in accuracy.series] == [
        "accuracy",
        "abstain accuracy",
        "accuracy, unseen tools",
    ]
    assert len(loss.series[1].dots) == 4
    assert accuracy.y_ticks[0][1] == "0%"
    assert "accuracy from 10.0% to 80.0%" in accuracy.summary


def test_a_step_written_again_after_a_resume_counts_once_and_its_last_value_stands() -> None:
    log = [{"step": 1, "kind": "val", "loss": 9.0}, {"step": 1, "kind": "val", "loss": 2.0}]
    (chart,) = charts(log)
    assert chart.series[0].last == "2.000"
    assert len(chart.series[0].dots) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"step": 1, "kind": "train", "loss": float("nan")},
        {"step": None, "kind": "train", "loss": 1.0},
        {"step": 1, "kind": "train", "loss": "high"},
        {"step": 1, "kind": ["train"], "loss": 1.0},
    ],
)
def test_lines_without_a_usable_value_draw_nothing(row: dict[str, object]) -> None:
    assert charts([row]) == ()
