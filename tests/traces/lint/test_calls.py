"""Calls against the tools that their row defines, and these definitions; with near misses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.traces.lint.build import TIME, WEATHER, call, calls, codes, result, says, trace, user


def test_a_call_of_a_tool_that_is_not_defined_is_found() -> None:
    made = trace(user(), calls(call("get_wether"), call()))
    assert codes(made) == [("undefined_tool", 1)]
    assert codes(trace(user(), calls(call("Get_Weather")))) == [("undefined_tool", 1)]


def test_calls_of_a_row_without_tools_are_one_finding() -> None:
    made = trace(user(), calls(), result(), calls(), result(), says(), tools=())
    assert codes(made) == [("calls_without_tools", 1)]
    assert codes(trace(user(), says(), tools=())) == []


def test_the_same_call_twice_in_a_turn_is_found() -> None:
    assert codes(trace(user(), calls(call(), call()))) == [("repeated_call", 1)]
    assert codes(trace(user(), calls(call(), call(city="Bern")))) == []
    assert codes(trace(user(), calls(call(city=1), call(city=True)))) == []
    one, other = call(a=1, b=[2]), call(b=[2], a=1)
    assert codes(trace(user(), calls(one, other))) == [("repeated_call", 1)]
    assert codes(trace(user(), calls(), result(), calls(), result(), says())) == []


def test_a_tool_that_is_defined_twice_is_found() -> None:
    other = {**WEATHER, "description": "another"}
    assert codes(trace(user(), says(), tools=[WEATHER, TIME, WEATHER])) == [
        ("duplicate_tool", None)
    ]
    assert codes(trace(user(), says(), tools=[WEATHER, other])) == [("conflicting_tools", None)]


@pytest.mark.parametrize(
    "value",
    [
        *("<city>", "<your city>", "{{city}}", "${CITY}", "YOUR_API_KEY", "your name", "TODO"),
        *("xxxx", "[insert city here]", "...", ["Rome", "<city>"], {"of": "placeholder"}),
    ],
)
def test_placeholders_are_found(value: Any) -> None:
    assert codes(trace(user(), calls(call(city=value)))) == [("placeholder_argument", 1)]


@pytest.mark.parametrize(
    "value", ["Rome", "a < b > c", "", "N/A", "<b>bold</b>", "todo list", "x", "your turn", 7, None]
)
def test_real_values_are_no_placeholders(value: Any) -> None:
    assert codes(trace(user(), calls(call(city=value)))) == []
