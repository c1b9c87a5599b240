from __future__ import annotations

import math

import pytest

from tests.evaluate.records import GARBAGE, RIGHT, WRONG, record
from tooltune.evaluate.scores import aggregate
from tooltune.toolcalls.score import SAMPLE_METRICS


def test_a_skipped_turn_is_wrong_in_the_headline_and_outside_the_six():
    metrics = aggregate(
        [
            record("a", said=(RIGHT,)),
            record("b", said=(WRONG,)),
            record("c", skip="prompt_too_long"),
            record("d", skip="generate_error"),
            record("e", skip="prompt_too_long"),
        ]
    )
    assert metrics["tool_call/accuracy"] == pytest.approx(1 / 5)
    assert metrics["tool_call/args_exact_match"] == pytest.approx(1 / 2)
    assert metrics["tool_call/has_call"] == 1
    assert metrics["tool_call/_count"] == 2
    assert metrics["tool_call/_skipped"] == 3
    assert metrics["tool_call/_skip_prompt_too_long"] == 2
    assert metrics["tool_call/_skip_generate_error"] == 1


def test_scores_that_a_skipped_turn_may_bear_are_not_read():
    skipped = record("b", skip="out_of_memory")
    skipped["verdict"]["scores"] = {"has_call": 0.0, "malformed": 1.0}
    metrics = aggregate([record("a", said=(RIGHT,)), skipped])
    assert metrics["tool_call/has_call"] == 1
    assert metrics["tool_call/malformed_rate"] == 0


def test_turns_that_should_not_call_are_scored_apart_and_balanced_in():
    metrics = aggregate(
        [
            record("a", 1, (RIGHT,)),
            record("a", 3, kind="abstain"),
            record("b", 1, (GARBAGE,), kind="abstain"),
            record("c", 1, (RIGHT,), kind="abstain"),
            record("d", 1, kind="abstain", skip="prompt_too_long"),
        ]
    )
    assert metrics["tool_call/accuracy"] == 1
    assert metrics["tool_call/abstain_accuracy"] == 0.25
    assert metrics["tool_call/balanced_accuracy"] == 0.625
    assert metrics["tool_call/malformed_rate"] == 0.25
    assert metrics["tool_call/_count"] == 1
    assert metrics["tool_call/_skipped"] == 0
    assert metrics["tool_call/_abstain_count"] == 3
    assert metrics["tool_call/_abstain_skipped"] == 1


def test_without_turns_that_should_not_call_balanced_accuracy_is_accuracy():
    metrics = aggregate([record("a", said=(RIGHT,)), record("b", said=(WRONG,))])
    assert metrics["tool_call/balanced_accuracy"] == metrics["tool_call/accuracy"] == 0.5
    assert "tool_call/abstain_accuracy" not in metrics
    assert "tool_call/_abstain_count" not in metrics


def test_the_keys_are_those_of_the_contract_and_all_values_finite_floats():
    metrics = aggregate([record("a", said=(RIGHT,), exact=True)], prefix="tool_call/unseen_tools")
    expected = {"accuracy", "balanced_accuracy", *SAMPLE_METRICS, "call_precision", "call_recall"}
    expected |= {"call_f1", "malformed_rate", "teacher_forced_exact", "_count", "_skipped"}
    expected |= {"accuracy_normalised", "args_normalised_match"}
    assert set(metrics) == {f"tool_call/unseen_tools/{name}" for name in expected}
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())


def test_what_no_sample_speaks_about_is_absent_and_not_zero():
    metrics = aggregate([record("a", skip="prompt_too_long")])
    assert metrics["tool_call/accuracy"] == 0
    assert "tool_call/has_call" not in metrics
    assert "tool_call/teacher_forced_exact" not in metrics
    assert aggregate([]) == {"tool_call/_count": 0.0, "tool_call/_skipped": 0.0}


def test_teacher_forced_exact_is_the_mean_over_the_call_turns_that_have_it():
    metrics = aggregate(
        [
            record("a", said=(RIGHT,), exact=True),
            record("b", said=(WRONG,), exact=False),
            record("c", said=(WRONG,), exact=None),
            record("d", kind="abstain", exact=True),
        ]
    )
    assert metrics["tool_call/teacher_forced_exact"] == 0.5


def test_schema_valid_is_the_mean_over_the_turns_that_called():
    samples = [record("a", said=(RIGHT,)), record("b", said=(WRONG,)), record("c")]
    samples[0]["verdict"]["scores"]["schema_valid"] = 1.0
    samples[1]["verdict"]["scores"]["schema_valid"] = 0.0
    assert aggregate(samples)["tool_call/schema_valid"] == 0.5


def test_accuracy_by_meaning_counts_skipped_turns_as_wrong_too():
    loose = record("b", said=(WRONG,))
    loose["verdict"]["correct_normalised"] = True
    loose["verdict"]["scores"]["args_normalised_match"] = 1.0
    metrics = aggregate([record("a", said=(RIGHT,)), loose, record("c", skip="out_of_memory")])
    assert metrics["tool_call/accuracy"] == pytest.approx(1 / 3)
    assert metrics["tool_call/accuracy_normalised"] == pytest.approx(2 / 3)
    assert metrics["tool_call/args_exact_match"] == 0.5
    assert metrics["tool_call/args_normalised_match"] == 1


def test_what_a_turn_that_should_not_call_did_is_one_of_three_or_skipped():
    said = {"a": (), "b": (RIGHT,), "c": (GARBAGE,), "d": (GARBAGE, RIGHT), "e": ()}
    samples = [record(key, said=calls, kind="abstain") for key, calls in said.items()]
    samples[-1] = record("e", kind="abstain", skip="prompt_too_long")
    metrics = aggregate([*samples, record("f", said=(RIGHT,))])
    assert metrics["tool_call/abstain_accuracy"] == pytest.approx(1 / 5)
    assert metrics["tool_call/abstain_called_rate"] == pytest.approx(2 / 5)
    assert metrics["tool_call/abstain_malformed_rate"] == pytest.approx(1 / 5)


def test_samples_that_an_earlier_version_wrote_leave_only_the_newer_metrics_out():
    samples = [
        record("a", said=(RIGHT,)),
        record("b", skip="out_of_memory"),
        record("c", said=(GARBAGE,), kind="abstain"),
    ]
    newer = aggregate(samples)
    for sample in samples:
        del sample["verdict"]["correct_normalised"], sample["verdict"]["schema_errors"]
        sample["verdict"]["scores"].pop("args_normalised_match", None)
    older = aggregate(samples)
    gone = {"tool_call/accuracy_normalised", "tool_call/args_normalised_match"}
    assert newer.keys() - older.keys() == gone
    assert all(newer[key] == older[key] for key in older)
