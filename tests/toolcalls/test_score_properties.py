"""What holds of the scores of any turn."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.test_score import CALL_KEYS, TOOLS, gt
from tooltune.toolcalls import GroundTruth, ParsedToolCall, compute_sample_metrics, score_turn
from tooltune.toolcalls.score import SAMPLE_METRICS

small_calls = st.lists(
    st.builds(
        ParsedToolCall,
        st.sampled_from(["f", "g", None]),
        st.dictionaries(st.sampled_from("xy"), st.sampled_from([0, 1, True, "1"]), max_size=2),
        st.booleans(),
        status=st.sampled_from(["ok", "ok", "ok", "invalid_json", "unclosed", "unknown_tool"]),
    ),
    max_size=4,
)
small_truth = st.lists(
    st.builds(
        gt,
        st.sampled_from("fg"),
        x=st.sampled_from([0, 1, True, "1"]),
    )
    | st.builds(gt, st.sampled_from("fg")),
    max_size=4,
)


@given(small_calls, small_truth, st.randoms(use_true_random=False))
def test_the_order_of_predictions_never_changes_optimal_scores(preds, truth, random):
    score = score_turn(preds, truth, TOOLS)
    assert score_turn(random.sample(preds, len(preds)), truth, TOOLS) == score
    again = score_turn(preds, random.sample(truth, len(truth)), TOOLS)
    assert (again.correct, again.correct_normalised) == (score.correct, score.correct_normalised)
    assert again.scores == pytest.approx(score.scores)


def the_reference(preds: list[ParsedToolCall], truth: list[dict[str, Any]]) -> dict[str, float]:
    """Written from the reference's description alone: by position, extras ignored."""
    sums = dict.fromkeys(SAMPLE_METRICS, 0.0)
    for place, true_call in enumerate(truth):
        if place >= len(preds):
            continue
        said, wanted = preds[place], true_call["arguments"]
        fields = set(said.arguments) if said.arguments_valid_json else set()
        sums["has_call"] += 1
        sums["name_correct"] += said.name == true_call["name"]
        sums["args_json_valid"] += said.arguments_valid_json
        if wanted:
            sums["args_field_recall"] += len(fields & set(wanted)) / len(wanted)
        else:
            sums["args_field_recall"] += not fields
        if fields:
            sums["args_field_precision"] += len(fields & set(wanted)) / len(fields)
        else:
            sums["args_field_precision"] += not wanted
        # As JSON: what Python calls equal is not (True == 1).
        sums["args_exact_match"] += said.arguments_valid_json and json.dumps(
            said.arguments, sort_keys=True
        ) == json.dumps(wanted, sort_keys=True)
    return {key: value / len(truth) if truth else 0.0 for key, value in sums.items()}


@given(small_calls, small_truth)
def test_positional_metrics_are_those_of_the_reference_key_for_key(preds, truth):
    assert compute_sample_metrics(preds, truth) == pytest.approx(the_reference(preds, truth))
    plain = compute_sample_metrics(preds, GroundTruth.of(truth))
    assert plain == compute_sample_metrics(preds, truth)
    assert list(plain) == list(SAMPLE_METRICS)


@given(small_calls, small_truth)
def test_what_is_right_is_right_by_its_meaning_and_scores_lie_between_nought_and_one(preds, truth):
    for matching in ("optimal", "positional"):
        score = score_turn(preds, truth, TOOLS, matching)
        assert score.correct <= score.correct_normalised
        assert score.correct is (not score.reasons)
        assert all(0 <= value <= 1 for value in score.scores.values())
        if truth:
            assert score.scores["args_exact_match"] <= score.scores["args_normalised_match"]


def said(truth: list[dict[str, Any]]) -> list[ParsedToolCall]:
    return [ParsedToolCall(call["name"], call["arguments"]) for call in truth]


gold = st.lists(
    st.builds(
        lambda name, arguments: {"name": name, "arguments": arguments},
        st.sampled_from("fgh"),
        st.dictionaries(st.sampled_from("xyz"), families.values, min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda call: call["name"],
)


@settings(deadline=None)
@given(gold)
def test_gold_scores_one_in_everything_and_an_empty_output_nought(truth):
    for matching in ("optimal", "positional"):
        right = score_turn(said(truth), truth, matching=matching)
        assert right.correct
        assert right.correct_normalised
        assert [right.scores[key] for key in CALL_KEYS] == [1] * len(CALL_KEYS)
        assert right.scores["malformed"] == 0
        empty = score_turn([], truth, matching=matching)
        assert not empty.correct
        assert not empty.correct_normalised
        assert [empty.scores[key] for key in CALL_KEYS] == [0] * len(CALL_KEYS)


LOWERED = {
    "extra call": {"call_precision", "call_f1"},
    "wrong name": {"name_correct", "call_precision", "call_recall", "call_f1"},
    "wrong value": {
        *{"args_exact_match", "args_normalised_match"},
        *{"call_precision", "call_recall", "call_f1"},
    },
    "argument left out": {
        *{"args_field_recall", "args_exact_match", "args_normalised_match"},
        *{"call_precision", "call_recall", "call_f1"},
    },
    "argument added": {
        *{"args_field_precision", "args_exact_match", "args_normalised_match"},
        *{"call_precision", "call_recall", "call_f1"},
    },
    "not closed": {"call_precision", "call_recall", "call_f1"},
    "spaces": {"args_exact_match", "call_precision", "call_recall", "call_f1"},
}
"""Which scores of a right turn each single fault lowers."""


def with_fault(fault: str, call: ParsedToolCall) -> list[ParsedToolCall]:
    arguments = call.arguments
    match fault:
        case "extra call":
            return [call, ParsedToolCall("other", {})]
        case "wrong name":
            return [replace(call, name="other")]
        case "wrong value":
            return [replace(call, arguments={**arguments, "v": "b"})]
        case "argument left out":
            return [replace(call, arguments={k: v for k, v in arguments.items() if k != "v"})]
        case "argument added":
            return [replace(call, arguments={**arguments, "w": 1})]
        case "not closed":
            return [replace(call, status="unclosed")]
        case _:
            return [replace(call, arguments={**arguments, "v": " a "})]


@settings(deadline=None)
@given(gold, st.sampled_from(sorted(LOWERED)), st.integers(0, 2))
def test_a_single_fault_lowers_exactly_the_scores_that_it_should(truth, fault, place):
    place %= len(truth)
    truth[place]["arguments"] = {**truth[place]["arguments"], "v": "a"}
    preds = said(truth)
    preds[place : place + 1] = with_fault(fault, preds[place])
    score = score_turn(preds, truth)
    assert {key for key in CALL_KEYS if score.scores[key] < 1} == LOWERED[fault]
    assert not score.correct
    assert score.correct_normalised is (fault == "spaces")
    assert score.scores["malformed"] == (fault == "not closed")
