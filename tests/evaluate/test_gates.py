from __future__ import annotations

from typing import Any

import pytest

from tests.evaluate.records import RIGHT, WRONG, record
from tooltune.evaluate.compare import compare_evaluations, compare_several
from tooltune.evaluate.gates import tuned_metrics, worse_gates
from tooltune.evaluate.results import summarise

Records = list[dict[str, Any]]


def evaluation(right: int, n: int = 20, *, abstained: int = 20, per_trace: int = 1) -> Records:
    """`n` call turns of which the first are right, and `n` others of which the first are."""
    calls = [
        record(f"t{i // per_trace}", i % per_trace, (RIGHT if i < right else WRONG,))
        for i in range(n)
    ]
    return calls + [
        record(
            f"t{i // per_trace}", per_trace + i, () if i < abstained else (RIGHT,), kind="abstain"
        )
        for i in range(n)
    ]


def gates(base: Records, tuned: Records) -> dict[str, bool]:
    found = worse_gates(compare_evaluations(base, tuned, "old", "new"))
    return {gate.text.split()[0]: gate.failed for gate in found}


def test_only_a_significant_fall_fails():
    half = evaluation(10)
    assert gates(half, evaluation(4)) == {"accuracy": True, "abstain_accuracy": False}
    assert gates(half, evaluation(5)) == {"accuracy": False, "abstain_accuracy": False}
    assert gates(half, evaluation(20)) == {"accuracy": False, "abstain_accuracy": False}
    assert gates(half, half) == {"accuracy": False, "abstain_accuracy": False}
    assert gates(half, evaluation(10, abstained=5)) == {"accuracy": False, "abstain_accuracy": True}


def test_turns_of_one_conversation_do_not_count_as_many():
    assert gates(evaluation(20), evaluation(0))["accuracy"] is True
    assert gates(evaluation(20, per_trace=5), evaluation(0, per_trace=5))["accuracy"] is False


def test_the_line_says_what_was_compared_and_where_nothing_could_have_failed():
    failed = worse_gates(compare_evaluations(evaluation(20), evaluation(2), "old", "new"))[0]
    assert failed.text == (
        "accuracy of new is significantly worse than that of old: 0.100 against 1.000, "
        "difference -0.900, p < 0.001"
    )
    few = worse_gates(compare_evaluations(evaluation(5, 5), evaluation(0, 5), "old", "new"))[0]
    assert not few.failed
    assert "p = 0.062 (5 conversations are too few to show any difference)" in few.text
    enough = worse_gates(compare_evaluations(evaluation(6, 6), evaluation(0, 6), "old", "new"))[0]
    assert enough.failed
    assert "too few" not in enough.text


def test_each_of_several_is_held_to_the_adjusted_p_value():
    base, six_worse = evaluation(20), evaluation(14)
    assert gates(base, six_worse)["accuracy"] is True
    found = worse_gates(
        compare_several([("old", base), ("a", six_worse), ("b", six_worse), ("c", base)])
    )
    assert [gate.failed for gate in found if gate.text.startswith("accuracy of")] == [False] * 3
    assert len(found) == 6


def test_nothing_measured_is_a_failure_and_no_pass():
    samples = [{**record("a", said=(RIGHT,)), "kind": "other"}]
    (gate,) = worse_gates(compare_evaluations(samples, samples, "old", "new"))
    assert gate.failed
    assert "was measured" in gate.text


@pytest.mark.parametrize("sets", [("held_out", "unseen"), ("suite_a", "suite_b"), ("suite_a",)])
def test_the_tuned_sides_metrics_are_those_of_its_own_evaluation(sets):
    tuned = [{**r, "dataset": name} for name in sets for r in evaluation(7)]
    base = [{**r, "dataset": name} for name in sets for r in evaluation(3)]
    found, own = tuned_metrics(compare_evaluations(base, tuned, "old", "new")), summarise(tuned)
    assert found == pytest.approx({key: value for key, value in own.items() if "/_" not in key})
