from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.errors import UserError
from tooltune.toolcalls import GroundTruth, OneOf, ParsedToolCall, TruthCall, match_calls
from tooltune.toolcalls.agree import accepts_argument, accepts_arguments
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.match import best_match


def pred(name: str | None, **arguments: Any) -> ParsedToolCall:
    return ParsedToolCall(name, arguments)


def gt(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


small_arguments = st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), max_size=2)
predictions = st.lists(
    st.builds(
        ParsedToolCall,
        st.sampled_from("fg"),
        small_arguments,
        status=st.sampled_from(["ok", "ok", "unclosed"]),
    ),
    max_size=5,
)


@st.composite
def truth_calls(draw: st.DrawFn) -> TruthCall:
    arguments = draw(small_arguments)
    several = st.lists(st.integers(0, 1), min_size=1, max_size=1).map(tuple)
    alternatives = draw(st.dictionaries(st.sampled_from("xyz"), several, max_size=1))
    optional = draw(st.sets(st.sampled_from(sorted(arguments)))) if arguments else set()
    return TruthCall(draw(st.sampled_from("fg")), arguments, alternatives, frozenset(optional))


def fit(call: ParsedToolCall, truth: TruthCall) -> tuple[int, int, float]:
    """Right, right name, closeness: written from the documentation, not from the code."""
    given = call.arguments
    names = set(given) | truth.required
    shares = [
        len(set(given) & truth.known) / len(names) if names else 1,
        sum(accepts_argument(truth, k, v) for k, v in given.items()) / len(names) if names else 1,
    ]
    right = call.name == truth.name and call.status == "ok" and accepts_arguments(truth, given)
    return int(right), int(call.name == truth.name), (1 + sum(shares)) / 3


@settings(deadline=None)
@given(predictions, st.lists(truth_calls(), max_size=5))
def test_the_assignment_is_the_best_of_all_permutations(preds, truth):
    def worth(pairs: Any) -> tuple[int, int, float]:
        fits = [fit(preds[j], truth[i]) for i, j in pairs if j is not None]
        return (sum(f[0] for f in fits), sum(f[1] for f in fits), round(sum(f[2] for f in fits), 9))

    pairs = best_match(preds, GroundTruth((tuple(truth),))).pairs
    taken = [j for _, j in pairs if j is not None]
    assert [i for i, _ in pairs] == list(range(len(truth)))
    assert len(taken) == len(set(taken)) == min(len(preds), len(truth))
    if len(preds) <= len(truth):
        every = (
            [(i, j) for j, i in enumerate(p)] for p in permutations(range(len(truth)), len(preds))
        )
    else:
        every = (list(enumerate(p)) for p in permutations(range(len(preds)), len(truth)))
    assert worth(pairs) == max(map(worth, every))


@given(predictions, st.lists(truth_calls(), max_size=3), st.randoms(use_true_random=False))
def test_permuted_predictions_are_matched_alike(preds, truth, random):
    shuffled = random.sample(preds, len(preds))

    def said(calls: Any) -> list[Any]:
        pairs = best_match(calls, GroundTruth((tuple(truth),))).pairs
        return [None if j is None else calls[j] for _, j in pairs]

    assert said(shuffled) == said(preds)


def test_swapped_calls_are_found_by_optimal_matching_only():
    preds, truth = [pred("g"), pred("f")], [gt("f"), gt("g")]
    assert match_calls(preds, truth) == [(0, 1), (1, 0)]
    assert match_calls(preds, truth, "positional") == [(0, 0), (1, 1)]


def test_an_equal_name_outweighs_equal_arguments_even_of_two_calls():
    assert match_calls([pred("g", x=1), pred("f", y=2)], [gt("f", x=1)]) == [(0, 1)]
    truth = [gt("f", x=1), gt("h", y=1)]
    assert match_calls([pred("g", x=1), pred("f", y=1)], truth) == [(0, 1), (1, 0)]


def test_of_calls_that_fit_alike_the_same_one_is_taken_in_any_order():
    preds = [pred("f", x=2), pred("f", x=1, z=1)]
    ((_, first),) = match_calls(preds, [gt("f", x=1)])
    ((_, second),) = match_calls(preds[::-1], [gt("f", x=1)])
    assert {first, second} == {0, 1}


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


def test_of_equal_calls_the_well_formed_one_is_taken():
    broken = ParsedToolCall("f", {"x": 1}, status="unclosed")
    for preds, taken in (([broken, pred("f", x=1)], 1), ([pred("f", x=1), broken], 0)):
        assert match_calls(preds, [gt("f", x=1)]) == [(0, taken)]


def test_of_several_call_sets_the_one_answered_best_is_compared_with():
    one, two = TruthCall("f", {"x": 1}), TruthCall("g")
    truth = GroundTruth(((one, two), (one,), (two, two), ()))

    def chosen(*preds: ParsedToolCall) -> int:
        match = best_match(preds, truth)
        assert best_match(preds, truth, "positional").calls == match.calls
        return truth.accepted.index(match.calls)

    assert chosen(pred("f", x=1), pred("g")) == 0
    assert chosen(pred("f", x=1)) == 1
    assert chosen(pred("g"), pred("g")) == 2
    assert chosen() == 3
    assert chosen(pred("f", x=2)) == 1  # no call right anywhere: the most names of all
    assert chosen(pred("h")) == 0  # nothing fits: the canonical one


def test_alternatives_steer_the_assignment():
    truth = GroundTruth(((TruthCall("f", {"x": OneOf((1, 2))}), TruthCall("f", {"x": 1})),))
    assert match_calls([pred("f", x=1), pred("f", x=2)], truth) == [(0, 1), (1, 0)]
    assert match_calls([pred("f", x=1), pred("f", x=2)], truth.to_dict()) == [(0, 1), (1, 0)]


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
