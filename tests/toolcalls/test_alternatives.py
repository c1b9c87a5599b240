"""Turns for which several answers are right."""

from __future__ import annotations

import pytest

from tests.toolcalls.test_score import BROKEN, CALL_KEYS, TOOLS, pred
from tooltune.toolcalls import (
    GroundTruth,
    OneOf,
    ParsedToolCall,
    TruthCall,
    compute_sample_metrics,
    score_turn,
)
from tooltune.toolcalls.truth import ANY_CALL


def test_alternatives_and_optional_arguments_are_accepted():
    truth = GroundTruth(
        (
            (TruthCall("f", {"x": 1, "y": "a"}, {"x": (2,)}, frozenset({"y"})),),
            (TruthCall("g", {"o": {"k": OneOf(("a", "b"))}}), TruthCall("g")),
        )
    )
    for right in (
        [pred("f", x=1, y="a")],
        [pred("f", x=2)],
        [pred("g"), pred("g", o={"k": "b"})],
    ):
        for said_as in (truth, truth.to_dict()):
            score = score_turn(right, said_as)
            assert score.correct
            assert {score.scores[key] for key in CALL_KEYS} == {1}
    wrong = score_turn([pred("f", x=3)], truth)
    assert wrong.reasons == ("wrong_value",)
    assert wrong.scores["args_field_recall"] == 1
    half = score_turn([pred("g", o={"k": "b"})], truth)
    assert half.reasons == ("missing_call",)
    assert half.scores["call_recall"] == 0.5


def test_optional_arguments_cost_no_recall_and_unknown_ones_do():
    truth = GroundTruth(((TruthCall("f", {"x": 1}, {"y": (2,)}, frozenset({"x"})),),))
    for arguments, recall, precision in (
        ({}, 1, 1),
        ({"x": 1}, 1, 1),
        ({"y": 2}, 1, 1),
        ({"z": 1}, 0, 0),
        ({"x": 1, "z": 1}, 0, 0.5),
    ):
        metrics = compute_sample_metrics([pred("f", **arguments)], truth)
        assert metrics["args_field_recall"] == recall
        assert metrics["args_field_precision"] == precision


def test_a_turn_may_be_right_with_and_without_calling():
    truth = GroundTruth(((TruthCall("f"),), ()))
    assert score_turn([pred("f")], truth).correct
    silent = score_turn([], truth)
    assert (silent.correct, silent.outcome, silent.scores["call_f1"]) == (True, "abstained", 1)
    assert not score_turn([pred("g")], truth).correct
    assert score_turn([pred("f")], GroundTruth(((), (TruthCall("f"),)))).scores["abstained"] == 0


@pytest.mark.parametrize(
    ("preds", "reasons"),
    [
        ([pred("f", x=1)], ()),
        ([pred("g"), pred("f", x=2)], ()),
        ([], ("no_call",)),
        ([BROKEN], ("malformed",)),
        ([pred("f", x=1), BROKEN], ("malformed",)),
        ([ParsedToolCall("h", {}, status="unknown_tool")], ("unknown_tool",)),
    ],
)
def test_where_any_call_is_right_only_calls_of_known_tools_are(preds, reasons):
    score = score_turn(preds, ANY_CALL, TOOLS)
    assert (score.correct, score.correct_normalised) == (not reasons, not reasons)
    assert score.reasons == reasons
    assert score.scores["has_call"] == bool(preds)
    assert not {*CALL_KEYS[1:], "abstained"} & score.scores.keys()


def test_meaning_is_judged_by_an_assignment_of_its_own():
    truth = GroundTruth(((TruthCall("f", {"x": OneOf((1, 2))}), TruthCall("f", {"x": "1"})),))
    score = score_turn([pred("f", x=1), pred("f", x="2")], truth, TOOLS)
    assert (score.correct, score.correct_normalised) == (False, True)
    assert score.scores["args_exact_match"] == 0.5
    assert score.scores["args_normalised_match"] == 1
