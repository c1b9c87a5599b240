from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

import pytest

from tooltune.toolcalls import FAILURE_CLASSES, ParsedToolCall, failure_class, score_turn
from tooltune.toolcalls.score import REASONS, skipped_turn

BROKEN = ParsedToolCall(None, {}, False, "{", "invalid_json")
TRUTH = [{"name": "f", "arguments": {"x": 1}}]


def pred(name: str | None, **arguments: Any) -> ParsedToolCall:
    return ParsedToolCall(name, arguments)


@pytest.mark.parametrize(
    ("preds", "expected"),
    [
        ([pred("f", x=1)], None),
        ([], "no_call"),
        ([BROKEN], "malformed"),
        ([pred("f", x=1), BROKEN], "malformed"),
        ([pred("g", x=1)], "wrong_tool"),
        ([ParsedToolCall("h", {}, status="unknown_tool")], "unknown_tool"),
        ([pred("f")], "missing_argument"),
        ([pred("f", z=1)], "missing_argument"),
        ([pred("f", x=2, z=1)], "hallucinated_argument"),
        ([pred("f", x=2)], "wrong_value"),
        ([pred("f", x=2), pred("f", x=3)], "wrong_value"),
        ([pred("f", x=1), pred("g")], "extra_call"),
    ],
)
def test_a_wrong_turn_has_one_class_and_a_right_one_none(preds, expected):
    score = score_turn(preds, TRUTH)
    assert failure_class(score, "stop") == failure_class(asdict(score), "stop") == expected
    cut_off = None if expected is None else "truncated"
    assert failure_class(score, "length") == cut_off


def test_a_missing_call_is_the_class_only_where_the_calls_made_are_right():
    truth = [*TRUTH, {"name": "g", "arguments": {}}]
    assert failure_class(score_turn([pred("f", x=1)], truth)) == "missing_call"
    assert failure_class(score_turn([pred("f", x=2)], truth)) == "wrong_value"


def test_turns_that_should_not_call_fail_by_calling_or_by_garbage():
    assert failure_class(score_turn([], [])) is None
    assert failure_class(score_turn([pred("f")], [])) == "extra_call"
    assert failure_class(score_turn([BROKEN], [])) == "malformed"


def test_skipped_turns_and_reasons_of_other_versions_have_a_class():
    assert failure_class(skipped_turn("prompt_too_long")) == "skipped"
    verdict = {"correct": False, "outcome": "call", "reasons": ["bad_luck"], "scores": {}}
    assert failure_class(verdict) == "other"


def test_of_several_reasons_the_first_in_the_documented_order_is_the_class():
    assert set(REASONS) | {"skipped", "truncated"} == set(FAILURE_CLASSES)
    for pair in combinations(FAILURE_CLASSES[2:], 2):
        verdict = {"correct": False, "outcome": "call", "reasons": list(reversed(pair))}
        assert failure_class(verdict) == pair[0]
