from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.fabricate import sample_pair
from tooltune.evaluate.results import evaluation_metrics
from tooltune.report.breakdowns import (
    FAILURES,
    OUTCOMES,
    STATUSES,
    abstain_table,
    failure_table,
    group_tables,
    parser_view,
    tool_table,
)
from tooltune.report.files import Column, Evaluation
from tooltune.toolcalls.failures import FAILURE_CLASSES, failure_class

Row = dict[str, Any]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
TABLES = (failure_table, abstain_table, tool_table)


def columns(n: int, seed: int = 0) -> list[Column]:
    rng = random.Random(seed)
    pairs = [sample_pair(i, rng) for i in range(n)]
    return [
        Column(label, Evaluation(evaluation_metrics(rows, model_name=label), tuple(rows)))
        for label, rows in (("Base", [b for b, _ in pairs]), ("Tuned", [t for _, t in pairs]))
    ]


def main(column: Column, kind: str) -> list[Row]:
    assert column.evaluation
    rows = column.evaluation.samples
    return [row for row in rows if row["dataset"] == "held_out" and row["kind"] == kind]


@given(st.integers(1, 40), st.integers(0, 3))
def test_failures_and_outcomes_count_what_the_verdicts_say(n: int, seed: int) -> None:
    sides = columns(n, seed)
    for place, column in enumerate(sides):
        classes = Counter(
            failure_class(row["verdict"], row["finish_reason"]) for row in main(column, "call")
        )
        del classes[None]
        shown = {row.key: row.cells[place] for row in failure_table(sides).rows}
        assert {k: c.count.split()[0] for k, c in shown.items() if c} == {
            name: str(n) for name, n in classes.items()
        }
        outcomes = Counter(row["verdict"]["outcome"] for row in main(column, "abstain"))
        told = {row.key: row.cells[place] for row in abstain_table(sides).rows}
        assert {k: int(c.count.split()[0]) for k, c in told.items() if c} == outcomes


def test_a_failure_that_one_side_never_shows_is_a_difference_and_a_tool_is_not() -> None:
    rate = {"n": 3, "share": 0.3, "ci95": [0.1, 0.6]}
    tool = {"n": 3, "correct": 1, "accuracy": 0.3, "ci95": [0.1, 0.6]}
    base = {"breakdown": {"failures": {"no_call": rate}, "by_tool": {"f": tool}}}
    tuned = {"breakdown": {"by_tool": {"g": tool}}}
    sides = [Column("Base", Evaluation(base, ())), Column("Tuned", Evaluation(tuned, ()))]
    assert [row.change for row in failure_table(sides).rows] == [-0.3]
    assert [row.change for row in tool_table(sides).rows] == [None, None]
    assert failure_table([sides[0], Column("Tuned", None)]).rows[0].change is None


def test_every_failure_class_and_outcome_has_words() -> None:
    assert tuple(FAILURES) == (*FAILURE_CLASSES, "other")
    assert set(OUTCOMES) == {"abstained", "call", "malformed", "skipped"}


def test_tools_come_with_their_intervals_the_most_frequent_first() -> None:
    metrics = {
        "breakdown": {
            "by_tool": {
                "rare": {"n": 2, "correct": 1, "accuracy": 0.5, "ci95": [0.09, 0.91]},
                "often": {"n": 80, "correct": 72, "accuracy": 0.9, "ci95": [0.815, 0.948]},
            }
        }
    }
    (often, rare) = tool_table([Column("Model", Evaluation(metrics, ()))]).rows
    cell = often.cells[0]
    assert cell
    assert (often.key, cell.text, cell.count, cell.interval) == (
        "often",
        "90.0%",
        "72 of 80",
        "82 to 95%",
    )
    assert (rare.key, rare.n, rare.change) == ("rare", 2, None)


def test_a_group_of_one_row_says_nothing_and_is_left_out() -> None:
    row = {"n": 2, "correct": 1, "accuracy": 0.5, "ci95": [0.09, 0.91]}
    metrics = {"breakdown": {"by_turn": {"1": row, "2": row}, "by_calls": {"1": row}}}
    (table,) = group_tables([Column("Model", Evaluation(metrics, ()))])
    assert (table.name, [row.key for row in table.rows]) == ("by_turn", ["1", "2"])


def test_the_ceiling_is_the_accuracy_with_every_malformed_turn_right() -> None:
    metrics = {
        "tool_call/accuracy": 0.4,
        "tool_call/extra/accuracy": 0.9,
        "breakdown": {
            "attempts": {"ok": 6, "invalid_json": 3, "unclosed": 1},
            "failures": {"malformed": {"n": 4, "share": 0.25, "ci95": [0.1, 0.5]}},
        },
    }
    call = {"status": "ok", "repairs": ["quotes"]}
    sample = {"sample_id": "1", "kind": "abstain", "verdict": {}, "calls": [call]}
    samples = ({**sample, "parsed_as": "hermes"},)
    view = parser_view([Column("Model", Evaluation(metrics, samples))])
    assert view
    assert (view.accuracy, view.ceiling, view.read_by) == (("40.0%",), ("65.0%",), ("hermes 1",))
    assert {row.key: row.cells[0] for row in view.rows} == {
        "ok": ("6", "60.0%"),
        "invalid_json": ("3", "30.0%"),
        "unclosed": ("1", "10.0%"),
        "recovered": ("1", "10.0%"),
    }
    assert [row.key for row in view.rows] == [key for key in STATUSES if key in view_keys(view)]
    assert view.told.startswith("The model: 25.0%")


def test_the_accuracy_beside_the_parser_is_that_of_the_samples() -> None:
    sides = columns(40)
    view = parser_view(sides)
    assert view
    assert view.accuracy == tuple(
        f"{100 * c.evaluation.metrics['tool_call/accuracy']:.1f}%" for c in sides if c.evaluation
    )


def view_keys(view: Any) -> set[str]:
    return {row.key for row in view.rows}


def test_without_a_breakdown_there_are_no_tables() -> None:
    sides = [Column("Base", None), Column("Tuned", Evaluation({"tool_call/accuracy": 0.5}, ()))]
    assert [table(sides).rows for table in TABLES] == [(), (), ()]
    assert parser_view(sides) is None


@pytest.mark.parametrize("name", ["failures", "abstain", "by_tool", "attempts", "by_turn"])
@given(value=json_values)
def test_a_breakdown_that_holds_anything_never_stops_the_page(name: str, value: Any) -> None:
    for inner in (value, {"x": value}, {"x": {"n": value, "accuracy": value, "ci95": value}}):
        side = Column("Model", Evaluation({"breakdown": {name: inner}}, ()))
        for table in (*TABLES, group_tables, parser_view):
            table([side])
