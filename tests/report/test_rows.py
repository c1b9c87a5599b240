from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.evaluate.scoring import ScoringOptions, rescore_records
from tooltune.report.rows import RowWriter, statuses_of

Row = dict[str, Any]

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def record(text: str = "", **changes: Any) -> Row:
    """A record as the evaluator writes it, of a model that said `text` and should call f(a=1)."""
    question = {
        "sample_id": "t/1",
        "example_id": "t",
        "turn_index": 1,
        "group": "t",
        "dataset": "held_out",
        "kind": "call",
        "prompt_messages": [{"role": "user", "content": "do it"}],
        "tools": [TOOL],
        "gt_tool_calls": [{"name": "f", "arguments": {"a": 1}}],
        "gt_text": "",
        "call_format": "hermes",
        "finish_reason": "stop",
        "text": text,
    }
    options = ScoringOptions(mode=changes.pop("mode", "strict"))
    (made,) = rescore_records([{**question, **changes}], options)
    found: Row = json.loads(json.dumps(made))
    return found


def side(made: Row) -> Row:
    found: Row = RowWriter(4_000).row((made,))["sides"][0]
    return found


def called(arguments: str) -> str:
    return f'<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>'


@given(st.text("aé🙂\ud83d\n", max_size=12), st.integers(1, 3))
def test_spans_are_where_javascript_finds_the_attempts(before: str, n: int) -> None:
    made = record(before + called('{"a": "🙂"}') * n)
    shown = side(made)
    units = shown["text"].encode("utf-16-le", "surrogatepass")
    marked = [units[2 * start : 2 * end].decode("utf-16-le") for start, end, _ in shown["spans"]]
    assert marked == [call["raw"] for call in made["calls"]]
    assert len(marked) == n


def test_spans_that_are_not_the_texts_own_are_left_out() -> None:
    made = record(called("{}"))
    for wrong in ({"span": [3, 9]}, {"span": [-5, 4]}, {"span": "no"}, {"raw": None}):
        assert "spans" not in side({**made, "calls": [{**made["calls"][0], **wrong}]})
    assert "spans" not in side({**made, "text": "x" * 5_000 + made["text"]})


@pytest.mark.parametrize(
    ("arguments", "states"),
    [
        ('{"a": 1}', {"a": "same"}),
        ('{"a": 2, "b": "x"}', {"a": "same", "b": "same"}),
        ('{"a": 3}', {"a": "wrong"}),
        ('{"b": "x"}', {"a": "missing", "b": "same"}),
        ('{"a": 1, "c": 0}', {"a": "same", "c": "extra"}),
    ],
)
def test_what_the_page_marks_follows_the_alternatives(
    arguments: str, states: dict[str, str]
) -> None:
    call = {"name": "f", "arguments": {"a": 1}, "alternatives": {"a": [2], "b": ["x"]}}
    made = record(called(arguments), ground_truth={"accepted": [[call]]})
    shown = side(made)
    assert {a["key"]: a["state"] for a in shown["calls"][0]["arguments"]} == states
    assert shown["correct"] == (set(states.values()) == {"same"})


def test_an_answer_is_compared_with_the_call_set_that_it_is_closest_to() -> None:
    sets = [[{"name": "g", "arguments": {}}], [{"name": "f", "arguments": {"a": 5}}]]
    row = RowWriter(4_000).row((record(called('{"a": 5}'), ground_truth={"accepted": sets}),))
    assert [call["state"] for call in row["sides"][0]["calls"]] == ["same"]
    assert row["accepted"] == [["g()"], ["f(a = 5)"]]


def test_plain_ground_truth_is_not_told_twice() -> None:
    assert "accepted" not in RowWriter(4_000).row((record(),))


def test_ground_truth_that_cannot_be_read_is_shown_as_the_plain_calls() -> None:
    made = {**record(called('{"a": 1}')), "ground_truth": {"accepted": "no"}}
    assert side(made)["calls"][0]["state"] == "same"


def test_where_any_call_is_right_the_row_says_so() -> None:
    row = RowWriter(4_000).row((record(ground_truth={"any_call": True}, gt_tool_calls=[]),))
    assert row["any"] is True
    assert row["kind"] == "call"


def test_a_call_that_was_mended_is_marked_recovered() -> None:
    made = record("<tool_call>\n{'name': 'f', 'arguments': {'a': 1}}\n</tool_call>", mode="recover")
    assert side(made)["statuses"] == ["ok", "recovered"]
    assert statuses_of([{"status": "unclosed"}, {"status": "unclosed"}]) == ["unclosed"]


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("hello", "stop", "no_call"),
        (called('{"a": 2}'), "stop", "wrong_value"),
        (called("{"), "stop", "malformed"),
        (called("{"), "length", "truncated"),
        (called('{"a": 1}'), "stop", None),
    ],
)
def test_the_failure_class_is_that_of_the_metrics(
    text: str, finish: str, expected: str | None
) -> None:
    assert side(record(text, finish_reason=finish)).get("class") == expected


def test_right_by_meaning_and_faults_of_the_schema_are_told() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    shown = side(record(called('{"a": "1"}'), tools=[tool]))
    assert shown["schema"]
    assert not shown["correct"]
