from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.records import RIGHT, WRONG, record
from tooltune.evaluate.results import evaluation_metrics
from tooltune.evaluate.sets import split_sets

sets = st.lists(st.sampled_from(["held_out", "a", "b"]))


@given(sets)
def test_every_sample_is_in_the_set_it_names_and_the_main_set_is_held_out_or_all(named):
    found = split_sets(enumerate(named), lambda sample: sample[1])
    held_out = "held_out" in named
    assert found.main_name == ("held_out" if held_out else "all")
    expected = [(i, n) for i, n in enumerate(named) if n == "held_out" or not held_out]
    assert found.main == expected
    assert list(found.others) == sorted(set(named) - {"held_out"})
    for name, members in found.others.items():
        assert members == [(i, n) for i, n in enumerate(named) if n == name]


def test_the_metrics_of_a_suite_are_of_all_its_parts_and_of_each():
    records = [
        record("t", said=(RIGHT,), dataset="bfcl_a"),
        record("t", said=(WRONG,), dataset="bfcl_b"),
    ]
    metrics = evaluation_metrics(records, model_name="m")
    assert metrics["tool_call/accuracy"] == 0.5
    assert metrics["tool_call/bfcl_a/accuracy"] == 1
    assert metrics["tool_call/bfcl_b/accuracy"] == 0
    assert (metrics["n_samples"], metrics["n_traces"]) == (2, 1)


def test_answers_to_equal_ids_of_different_sets_are_different_samples():
    records = [
        {**record("t", said=(said,), dataset=name), "repeat": repeat}
        for name, said in (("bfcl_a", RIGHT), ("bfcl_b", WRONG))
        for repeat in (0, 1)
    ]
    metrics = evaluation_metrics(records, model_name="m")
    assert (metrics["tool_call/pass@2"], metrics["tool_call/pass^2"]) == (0.5, 0.5)
