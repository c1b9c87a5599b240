"""Calls against their tools' schemas, answers against response formats; with near misses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.lint.build import calls, codes, says, trace, user
from tests.traces.strategies import json_objects, traces
from tooltune.toolcalls.fix import all_repairs, decode_arguments
from tooltune.toolcalls.lint import CALL_CHECKS
from tooltune.traces import ToolCall, Trace
from tooltune.traces.lint import CHECKS, findings_of, lint

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "maximum": 14},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "stops": {"type": "array", "items": {"type": "object", "required": ["at"]}},
        "filter": {"type": "object"},
        "note": {"type": ["string", "object"]},
    },
    "required": ["city"],
}


def one_call(schema: Any = SCHEMA, /, **arguments: Any) -> Trace:
    return trace(
        user(), calls(ToolCall("f", arguments)), tools=[{"name": "f", "parameters": schema}]
    )


def said(made: Trace) -> list[str]:
    return [finding.message for finding in findings_of(made, CALL_CHECKS)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ({}, "missing_argument", "tool_calls[0].arguments of 'f': lacks 'city'"),
        ({"city": 3}, "wrong_argument_type", "arguments.city of 'f': 3 is no string"),
        ({"city": "Rome", "days": "3"}, "wrong_argument_type", "'3' is no integer"),
        ({"city": "Rome", "days": True}, "wrong_argument_type", "True is no integer"),
        ({"city": "Rome", "unit": "K"}, "argument_not_in_enum", "'K' is none of ['C', 'F']"),
        ({"city": "Rome", "days": 20}, "argument_against_schema", "20 breaks maximum: 14"),
        ({"city": "Rome", "town": "Rome"}, "undeclared_argument", "has 'town'"),
        (
            {"city": "Rome", "stops": [{"at": 1}, {}]},
            "missing_argument",
            "arguments.stops[1] of 'f': lacks 'at'",
        ),
        (
            {"city": "Rome", "stops": '[{"at": 1}]'},
            "arguments_encoded_twice",
            "arguments.stops of 'f'",
        ),
        ({"city": "Rome", "filter": '{"a": 1}'}, "arguments_encoded_twice", "arguments.filter"),
        ({"city": "Rome", "filter": "[1]"}, "wrong_argument_type", "'[1]' is no object"),
        ({"city": "Rome", "filter": "{a: 1}"}, "wrong_argument_type", "is no object"),
    ],
)
def test_what_is_wrong_with_a_call_has_code_and_place(
    arguments: dict[str, Any], code: str, words: str
) -> None:
    made = one_call(**arguments)
    assert codes(made, CALL_CHECKS) == [(code, 1)]
    (message,) = said(made)
    assert words in message


@pytest.mark.parametrize(
    "arguments",
    [
        {"city": "Rome"},
        {"city": "{}", "days": 3, "unit": "C", "stops": [], "filter": {"a": 1}},
        {"city": "Rome", "days": 3.0},
        {"city": "Rome", "note": '{"a": 1}'},
        {"city": '["a"]'},
    ],
)
def test_a_call_that_its_schema_allows_has_no_finding(arguments: dict[str, Any]) -> None:
    assert codes(one_call(**arguments), CALL_CHECKS) == []


def test_several_missing_arguments_are_one_finding() -> None:
    schema = {"type": "object", "required": ["a", "b", "c"]}
    assert said(one_call(schema, b=1)) == ["tool_calls[0].arguments of 'f': lacks 'a', 'c'"]


def test_arguments_that_a_schema_forbids_are_an_error_and_free_ones_none() -> None:
    closed = {"properties": {"a": {}}, "additionalProperties": False}
    assert codes(one_call(closed, a=1, b=2), CALL_CHECKS) == [("forbidden_argument", 1)]
    for free in (
        {"properties": {"a": {}}, "additionalProperties": True},
        {"properties": {"a": {}}, "patternProperties": {"^b$": {}}},
        {"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}]},
        {"type": "object"},
        {},
    ):
        assert codes(one_call(free, a=1, b=2), CALL_CHECKS) == []


def test_a_schema_that_is_none_is_found_and_judges_no_call() -> None:
    for schema in ({"type": "float"}, {"$ref": "#/nowhere"}, {"pattern": "("}):
        assert codes(one_call(schema, a=1), CALL_CHECKS) == [("invalid_schema", None)]


def test_a_tool_that_is_not_defined_has_no_schema_to_break() -> None:
    made = trace(user(), calls(ToolCall("g", {"x": 1})))
    assert codes(made, CALL_CHECKS) == []


def test_a_json_answer_is_held_against_the_schema_that_was_asked_for() -> None:
    schema = {"type": "object", "properties": {"t": {"type": "number"}}, "required": ["t"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": schema}}
    for text, expected in (
        ('{"t": 21}', []),
        ('{"t": "warm"}', [("response_format_broken", 1)]),
        ("{}", [("response_format_broken", 1)]),
        ("warm", []),  # no JSON at all is said by `traces.lint.settings`
    ):
        made = trace(user(), says(text), response_format=wanted)
        assert codes(made, CALL_CHECKS) == expected
    for odd in ({"type": "json_schema"}, {"type": "json_schema", "json_schema": {"schema": 1}}):
        assert codes(trace(user(), says("{}"), response_format=odd), CALL_CHECKS) == []


def test_values_that_were_encoded_twice_are_decoded_even_within_each_other() -> None:
    schema = {"properties": {"a": {"type": "object", "properties": {"b": {"type": "array"}}}}}
    made = one_call(schema, a='{"b": "[1, 2]"}', c="[3]")
    mended, changes = decode_arguments(made)
    assert mended.messages[1].tool_calls[0].arguments == {"a": {"b": [1, 2]}, "c": "[3]"}
    assert [change.what for change in changes] == [
        "messages[1].tool_calls[0].arguments.a decoded",
        "messages[1].tool_calls[0].arguments.a.b decoded",
    ]
    assert decode_arguments(mended) == (mended, [])
    assert all_repairs()[0] is decode_arguments, "before copies are looked for"


@settings(max_examples=40, deadline=None)
@given(json_objects(), st.booleans())
def test_any_object_encoded_twice_comes_back_and_nothing_else_changes(
    value: dict[str, Any], as_list: bool
) -> None:
    inner: Any = [value] if as_list else value
    schema = {"properties": {"x": {"type": "array" if as_list else "object"}}}
    made = one_call(schema, x=json.dumps(inner), y=json.dumps(inner))
    mended, changes = decode_arguments(made)
    arguments = mended.messages[1].tool_calls[0].arguments
    assert (arguments["x"], arguments["y"]) == (inner, json.dumps(inner))
    assert len(changes) == 1
    left = lint([mended], checks={**CHECKS, **CALL_CHECKS}, set_checks={})
    assert "arguments_encoded_twice" not in left.counts


@settings(max_examples=40, deadline=None)
@given(traces())
def test_traces_without_texts_in_the_place_of_objects_stay_as_they_are(made: Trace) -> None:
    mended, changes = decode_arguments(made)
    encoded = "arguments_encoded_twice" in [code for code, _ in codes(made, CALL_CHECKS)]
    assert bool(changes) == encoded
    assert (mended == made) == (not encoded)
