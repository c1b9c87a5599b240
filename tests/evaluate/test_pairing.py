from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.records import RIGHT, record
from tooltune.errors import UserError
from tooltune.evaluate.compare import compare_evaluations, compare_several
from tooltune.evaluate.pairing import Side, join, key_text, sample_key

Records = list[dict[str, Any]]


def samples(*names: str, **options: Any) -> Records:
    return [record(name, said=(RIGHT,), **options) for name in names]


def compared(base: Records, tuned: Records, **options: Any) -> dict[str, Any]:
    return compare_evaluations(base, tuned, "base model", "tuned model", **options)


names = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(st.lists(names, min_size=2, max_size=4))
def test_a_join_holds_each_shared_sample_once_and_counts_the_rest(sides):
    evaluations = [Side(f"side {i}", samples(*side)) for i, side in enumerate(sides)]
    shared = [name for name in sides[0] if all(name in side for side in sides)]
    if not shared:
        with pytest.raises(UserError):
            join(evaluations, common=True)
        return
    joined = join(evaluations, common=True)
    for column in joined.columns:
        assert [sample["example_id"] for sample in column] == shared
    assert list(joined.left_out) == [len(side) - len(shared) for side in sides]
    if any(joined.left_out):
        with pytest.raises(UserError):
            join(evaluations)
    else:
        assert join(evaluations) == joined


def test_samples_on_one_side_only_are_an_error_that_counts_and_names_them():
    with pytest.raises(UserError, match=r"1 samples are only in the base evaluation: c/1\n"):
        compared(samples("a", "b", "c"), samples("a", "b"))
    with pytest.raises(UserError, match=r"2 samples are only in the tuned evaluation: b/1, c/1\n"):
        compared(samples("a"), samples("a", "b", "c"))
    both = r"1 samples are only in the base evaluation: a/1; 2 .* tuned evaluation: c/1, d/1\n"
    with pytest.raises(UserError, match=both) as raised:
        compared(samples("a", "b"), samples("b", "c", "d"))
    assert "--common to compare only the 1 samples" in raised.value.fix


def test_nothing_in_common_is_an_error_with_and_without_common():
    moved = samples(*"abcdefg", dataset="unseen_tools")
    for common in (False, True):
        with pytest.raises(UserError, match=r"a/1, b/1, c/1, d/1, e/1, ….*no sample in comm") as e:
            compared(samples(*"abcdefg"), moved, common=common)
        assert "--common" not in e.value.fix


def test_common_compares_what_both_have_and_says_what_it_left_out():
    result = compared(samples("a", "b", "c"), samples("b", "c", "d", "e"), common=True)
    assert (result["n_samples"], result["n_only_base"], result["n_only_tuned"]) == (2, 1, 2)
    same = compared(samples("a"), samples("a"), common=True)
    assert (same["n_only_base"], same["n_only_tuned"]) == (0, 0)


def test_another_ground_truth_is_an_error_that_names_the_samples_even_of_common_ones():
    base, changed = samples("a", "b", "c"), samples("a", "b", "c")
    changed[2] = copy.deepcopy(changed[2])
    changed[2]["gt_tool_calls"][0]["arguments"]["x"] = True
    with pytest.raises(UserError, match=r"another ground truth in the tuned evaluation: c/1"):
        compared(base, changed)
    with pytest.raises(UserError, match=r"another ground truth"):
        compared(base, changed[1:], common=True)
    changed[2]["gt_tool_calls"][0]["arguments"]["x"] = 1.0
    compared(base, changed)


def test_other_alternatives_are_another_ground_truth_where_both_sides_name_them():
    base, tuned = samples("a"), samples("a")
    base[0]["ground_truth"] = {"accepted": [[{"name": "f", "alternatives": {"x": [1, 2]}}]]}
    compared(base, tuned)
    tuned[0]["ground_truth"] = {"accepted": [[{"name": "f", "alternatives": {"x": [1]}}]]}
    with pytest.raises(UserError, match="another ground truth"):
        compared(base, tuned)


def test_a_sample_twice_and_no_samples_are_errors():
    with pytest.raises(UserError, match=r"base evaluation holds sample a/1 twice"):
        compared(samples("a", "a"), samples("a"))
    with pytest.raises(UserError, match="both evaluations are empty"):
        compared([], [])


def test_messages_about_several_evaluations_name_them():
    with pytest.raises(UserError, match=r"1 samples are not in every.*the evaluation two: b/1\n"):
        compare_several(
            [("one", samples("a")), ("two", samples("a", "b")), ("three", samples("a"))]
        )


def test_ids_name_the_set_and_the_answer_where_they_must():
    plain, other = samples("t")[0], samples("t", dataset="suite")[0]
    assert key_text(sample_key(plain)) == "t/1"
    assert key_text(sample_key({**other, "repeat": 2})) == "suite:t/1#2"
    assert sample_key({**plain, "repeat": None}) == sample_key({**plain, "repeat": 0})
