from __future__ import annotations

import json
from typing import Any

import pytest

from tooltune.errors import UserError
from tooltune.toolcalls import GroundTruth, ParsedToolCall, score_turn
from tooltune.toolcalls.possible_answers import truth_of_possible_answers

TOOLS = [
    {
        "name": "f",
        "parameters": {
            "type": "dict",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "point": {"type": "tuple", "items": {"type": "float"}},
                "where": {"type": "dict", "properties": {}},
                "rows": {"type": "array", "items": {"type": "dict"}},
            },
            "required": ["city"],
        },
    }
]


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        pytest.param(
            {"city": ["Rome", "Roma"]}, [{"city": "Roma"}], [{}, {"city": "Paris"}], id="values"
        ),
        pytest.param(
            {"city": ["Rome"], "days": [1, ""]},
            [{"city": "Rome"}, {"city": "Rome", "days": 1}],
            [{"city": "Rome", "days": 2}, {"city": "Rome", "days": ""}],
            id="may be left out",
        ),
        pytest.param(
            {"city": ["Rome", ""]},
            [{"city": "Rome"}, {"city": ""}],
            [{}],
            id="required all the same",
        ),
        pytest.param(
            {"city": ["Rome"], "days": [""]},
            [{"city": "Rome"}],
            [{"city": "Rome", "days": 0}],
            id="must be left out",
        ),
        pytest.param(
            {"city": ["Rome"], "tags": ["", ["a", "b"]]},
            [{"city": "Rome"}, {"city": "Rome", "tags": []}, {"city": "Rome", "tags": ["a", "b"]}],
            [{"city": "Rome", "tags": ["b", "a"]}, {"city": "Rome", "tags": ""}],
            id="an empty list for a list left out",
        ),
        pytest.param(
            {"city": ["Rome"], "point": [[1.5, 2.0], [1, 2]]},
            [{"city": "Rome", "point": [1.5, 2]}, {"city": "Rome", "point": [1, 2]}],
            [{"city": "Rome", "point": [1.5]}, {"city": "Rome"}],
            id="a list of lists is several lists",
        ),
        pytest.param(
            {"city": ["Rome"], "where": [{"a": [1, 2], "b": ["", "x"]}]},
            [
                {"city": "Rome", "where": {"a": 2}},
                {"city": "Rome", "where": {"a": 1, "b": "x"}},
                {"city": "Rome", "where": {"a": 1, "b": ""}},
            ],
            [
                {"city": "Rome", "where": {"b": "x"}},
                {"city": "Rome", "where": {"a": [1, 2]}},
                {"city": "Rome", "where": {"a": 1, "c": 1}},
            ],
            id="an object holds values for its fields",
        ),
        pytest.param(
            {"city": ["Rome"], "where": [{}, ""]},
            [{"city": "Rome", "where": {}}, {"city": "Rome"}],
            [{"city": "Rome", "where": {"a": 1}}],
            id="an empty object",
        ),
        pytest.param(
            {"city": ["Rome"], "rows": [[{"a": [1]}, {"a": [2, 3]}]]},
            [{"city": "Rome", "rows": [{"a": 1}, {"a": 3}]}],
            [{"city": "Rome", "rows": [{"a": 2}, {"a": 1}]}, {"city": "Rome", "rows": [{"a": 1}]}],
            id="so do the objects of a list",
        ),
        pytest.param(
            {"city": ["Rome"], "days": ["", None]},
            [{"city": "Rome", "days": None}, {"city": "Rome"}],
            [{"city": "Rome", "days": 0}],
            id="null is a value",
        ),
    ],
)
def test_accepted_values_mean_what_the_leaderboards_checker_takes_them_for(answer, right, wrong):
    truth = truth_of_possible_answers([{"f": answer}], TOOLS)
    assert GroundTruth.of(json.loads(json.dumps(truth.to_dict()))) == truth
    (canonical,) = truth.to_calls()
    for arguments in [*right, canonical["arguments"]]:
        assert score_turn([ParsedToolCall("f", arguments)], truth).correct
    for arguments in wrong:
        assert not score_turn([ParsedToolCall("f", arguments)], truth).correct


def test_parallel_answers_and_no_answer_are_call_sets():
    truth = truth_of_possible_answers([{"f": {"city": ["Rome"]}}, {"g": {}}], TOOLS)
    assert [call.name for call in truth.calls] == ["f", "g"]
    assert truth_of_possible_answers([], TOOLS).calls == ()


@pytest.mark.parametrize(
    "answer", [{}, {"f": {}, "g": {}}, {"f": []}, {"f": {"city": "Rome"}}, {"f": {"city": []}}, "f"]
)
def test_answers_that_nothing_could_meet_are_a_fault_of_the_data(answer: Any):
    with pytest.raises(UserError, match="accepted answer"):
        truth_of_possible_answers([answer], TOOLS)
