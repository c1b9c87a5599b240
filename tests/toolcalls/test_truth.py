from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls import families
from tooltune.errors import UserError
from tooltune.toolcalls import GroundTruth, OneOf, TruthCall
from tooltune.toolcalls.agree import accepts, accepts_arguments
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.truth import ANY_CALL, NO_CALL

keys = st.sampled_from(["x", "$one_of", "$$one_of", "values", "$ref"])


def choices(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=2)
        | st.dictionaries(keys, inner, max_size=2)
        | st.builds(OneOf, st.lists(inner, min_size=1, max_size=2).map(tuple), st.booleans())
    )


patterns = st.recursive(families.scalars, choices, max_leaves=6)


@st.composite
def truth_calls(draw: st.DrawFn) -> TruthCall:
    arguments = draw(st.dictionaries(keys, patterns, max_size=3))
    several = st.lists(patterns, min_size=1, max_size=2).map(tuple)
    alternatives = draw(st.dictionaries(keys, several, max_size=2))
    optional = draw(st.sets(st.sampled_from(sorted(arguments)))) if arguments else set()
    return TruthCall(draw(families.names), arguments, alternatives, frozenset(optional))


truths = st.builds(
    GroundTruth,
    st.lists(st.lists(truth_calls(), max_size=2).map(tuple), min_size=1, max_size=3).map(tuple),
)


@given(truths)
def test_ground_truth_comes_back_from_its_json_form(truth):
    assert GroundTruth.of(json.loads(json.dumps(truth.to_dict()))) == truth


@given(families.calls)
def test_plain_calls_are_data_and_come_back_as_they_were(calls):
    plain = [{"name": name, "arguments": arguments} for name, arguments in calls]
    plain.append({"name": "f", "arguments": {"x": {"$one_of": {"values": [1]}}, "$one_of": 2}})
    truth = GroundTruth.of(plain)
    assert truth.is_plain
    assert json_equal(truth.to_calls(), plain)
    assert GroundTruth.of(json.loads(json.dumps(truth.to_dict()))) == truth
    assert GroundTruth.of(truth) is truth


@given(truths)
def test_the_canonical_answer_is_one_that_is_accepted(truth):
    for call, plain in zip(truth.calls, truth.to_calls(), strict=True):
        json.dumps(plain)
        assert call.name == plain["name"]
        assert accepts_arguments(call, plain["arguments"])


@given(families.values, families.values)
def test_without_choices_accepting_is_being_equal_as_json(left, right):
    assert accepts(left, right) is json_equal(left, right)
    assert accepts(left, left)
    assert accepts(OneOf((left, right)), right)
    assert accepts([{"a": OneOf((left, right))}], [{"a": right}])


def test_choices_may_lie_at_any_depth_and_fields_may_be_optional():
    expected = {"a": [{"b": OneOf((1, OneOf(("x", {"c": OneOf((True,), optional=True)}))))}]}
    for fits in (1, "x", {"c": True}, {}):
        assert accepts(expected, {"a": [{"b": fits}]})
    for misfit in (True, "y", {"c": 1}, {"d": True}, None, [1]):
        assert not accepts(expected, {"a": [{"b": misfit}]})
    assert not accepts(expected, {"a": [{}]})
    assert not accepts(expected, {"a": [{"b": 1}, {"b": 1}]})


def test_arguments_may_have_alternatives_and_be_optional():
    truth = GroundTruth.of(
        [
            {
                "name": "f",
                "arguments": {"city": "Zürich", "unit": "c"},
                "alternatives": {"city": ["Zurich"], "days": [1, 2]},
                "optional": ["unit"],
            }
        ]
    )
    (call,) = truth.calls
    assert (call.required, call.known) == ({"city"}, {"city", "unit", "days"})
    for fits in ({"city": "Zurich"}, {"city": "Zürich", "unit": "c", "days": 2}):
        assert accepts_arguments(call, fits)
    for misfit in (
        {},
        {"city": "Bern"},
        {"city": "Zurich", "unit": "f"},
        {"city": "Zurich", "z": 1},
    ):
        assert not accepts_arguments(call, misfit)
    assert not truth.is_plain
    assert truth.to_calls() == [{"name": "f", "arguments": {"city": "Zürich", "unit": "c"}}]


def test_a_sample_is_judged_by_its_full_ground_truth_where_it_has_one():
    truth = GroundTruth(((TruthCall("f", {"x": OneOf((1, 2))}),), ()))
    record = {"gt_tool_calls": truth.to_calls(), "ground_truth": truth.to_dict()}
    assert GroundTruth.of_record(json.loads(json.dumps(record))) == truth
    assert GroundTruth.of_record({"gt_tool_calls": []}) == GroundTruth(((),))


DEEP: dict[str, Any] = {}
for _ in range(2000):
    DEEP = {"x": DEEP}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param([{"name": "f", "arguments": {"x": float("nan")}}], id="not a number"),
        pytest.param([{"name": "f", "arguments": {"x": [float("inf")]}}], id="infinite"),
        pytest.param([{"name": "f", "arguments": {"x": {1}}}], id="no JSON"),
        pytest.param([{"name": "f", "arguments": {"x": {1: 2}}}], id="a key that is no text"),
        pytest.param([{"name": "f", "arguments": DEEP}], id="too deep"),
        pytest.param([{"name": "f", "arguments": {"x": OneOf(())}}], id="no choice"),
        pytest.param([{"name": "f", "optional": ["x"]}], id="optional but unknown"),
        pytest.param([{"name": "f", "optional": "x"}], id="optional as text"),
        pytest.param([{"name": "f", "alternatives": {"x": 1}}], id="alternatives, no list"),
        pytest.param([{"name": "f", "alternatives": {"x": []}}], id="no alternative"),
        pytest.param(["f"], id="no object"),
        pytest.param({"accepted": []}, id="nothing accepted"),
        pytest.param({"accepted": [{"name": "f"}]}, id="no list of lists"),
        pytest.param({"calls": []}, id="another object"),
        pytest.param(
            {"accepted": [[{"name": "f", "arguments": {"x": {"$one_of": [1]}}}]]}, id="no node"
        ),
        pytest.param(
            {"accepted": [[{"name": "f", "arguments": {"x": {"$one_of": {"values": []}}}}]]},
            id="an empty node",
        ),
    ],
)
def test_what_no_answer_could_equal_is_a_fault_of_the_data(broken):
    with pytest.raises(UserError, match="ground-truth call"):
        GroundTruth.of(broken)


def test_any_call_is_a_ground_truth_of_its_own():
    assert GroundTruth.of(json.loads(json.dumps(ANY_CALL.to_dict()))) == ANY_CALL
    assert GroundTruth.of([]) == NO_CALL
    assert [truth.should_call for truth in (ANY_CALL, NO_CALL)] == [True, False]
    assert [truth.is_plain for truth in (ANY_CALL, NO_CALL)] == [False, True]
