from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.errors import UserError
from tooltune.toolcalls import ParsedToolCall, match_calls
from tooltune.toolcalls.json_text import json_equal


def pred(name: str | None, **arguments: Any) -> ParsedToolCall:
    return ParsedToolCall(name, arguments)


def gt(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


small_calls = st.lists(
    st.tuples(
        st.sampled_from("fg"), st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), max_size=2)
    ),
    max_size=4,
)


def right(pairs: list[tuple[int, int | None]], preds: Any, truth: Any) -> int:
    return sum(j is not None and preds[j] == truth[i] for i, j in pairs)


@given(small_calls, small_calls)
def test_no_other_assignment_gets_more_calls_right(preds, truth):
    pairs = match_calls(
        [ParsedToolCall(n, a) for n, a in preds], [{"name": n, "arguments": a} for n, a in truth]
    )
    taken = [j for _, j in pairs if j is not None]
    assert [i for i, _ in pairs] == list(range(len(truth)))
    assert len(taken) == len(set(taken)) == min(len(preds), len(truth))
    slots = [*range(len(preds)), *[None] * len(truth)]
    best = max(
        right(list(enumerate(chosen)), preds, truth) for chosen in permutations(slots, len(truth))
    )
    assert right(pairs, preds, truth) == best


def test_swapped_calls_are_found_by_optimal_matching_only():
    preds, truth = [pred("g"), pred("f")], [gt("f"), gt("g")]
    assert match_calls(preds, truth) == [(0, 1), (1, 0)]
    assert match_calls(preds, truth, "positional") == [(0, 0), (1, 1)]


def test_an_equal_name_outweighs_equal_arguments():
    assert match_calls([pred("g", x=1), pred("f", y=2)], [gt("f", x=1)]) == [(0, 1)]


def test_among_equal_names_the_closest_arguments_are_taken():
    preds = [pred("f", z=1), pred("f", x=2), pred("f", x=1), pred("f", x=1, z=1)]
    assert match_calls(preds, [gt("f", x=1, y=2)]) == [(0, 2)]
    broken = ParsedToolCall("f", {}, arguments_valid_json=False)
    assert match_calls([broken, pred("f", z=1)], [gt("f", x=1)]) == [(0, 1)]


def test_a_right_call_is_kept_where_two_close_ones_would_add_up_to_as_much():
    truth = [gt("f", x=1, y=1), gt("f", x=1, y=2)]
    preds = [pred("f", x=1, y=1), pred("f", x=2, y=1)]
    assert match_calls(preds, truth) == [(0, 0), (1, 1)]
    assert match_calls(preds[::-1], truth) == [(0, 1), (1, 0)]
    assert match_calls(preds, truth[::-1]) == [(0, 1), (1, 0)]


def test_missing_predictions_are_none():
    assert match_calls([pred("g")], [gt("f"), gt("g")]) == [(0, None), (1, 0)]
    assert match_calls([pred("g")], [gt("f"), gt("g")], "positional") == [(0, 0), (1, None)]
    assert match_calls([], [gt("f")]) == [(0, None)]
    assert match_calls([pred("g")], []) == []


def test_an_unknown_matching_is_an_error():
    with pytest.raises(UserError, match="positional"):
        match_calls([], [], "best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        {"name": "f", "arguments": "{broken"},
        {"name": "f", "arguments": "[1]"},
        {"name": "f", "arguments": None},
        {"name": "", "arguments": {}},
        {"arguments": {}},
    ],
)
@pytest.mark.parametrize("matching", ["optimal", "positional"])
def test_broken_ground_truth_is_a_fault_of_the_data(call, matching):
    with pytest.raises(UserError, match="ground-truth call"):
        match_calls([pred("f")], [call], matching)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (True, True, True),
        (1, "1", False),
        (None, False, False),
        ({"a": [1, {"b": True}]}, {"a": [1.0, {"b": True}]}, True),
        ({"a": [1, {"b": True}]}, {"a": [1, {"b": 1}]}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({}, [], False),
        ("ü", "u\u0308", False),
    ],
)
def test_json_values_are_equal_as_json_not_as_python(left, right, equal):
    assert json_equal(left, right) is equal
    assert json_equal(right, left) is equal
