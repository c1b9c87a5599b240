"""Answers against the request settings of their row; with near misses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.traces.lint.build import call, calls, codes, result, says, trace, user

WEATHER_ONLY = {"type": "function", "function": {"name": "get_weather"}}
ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [WEATHER_ONLY]},
}
TEXT, CALL, OTHER = says(), calls(), calls(call("get_time"))


@pytest.mark.parametrize(
    ("choice", "kept", "broken"),
    [
        ("none", [TEXT], [CALL]),
        ("auto", [TEXT, CALL], []),
        ("required", [CALL, OTHER], [TEXT]),
        (WEATHER_ONLY, [CALL], [TEXT, OTHER, calls(call(), call("get_time"))]),
        ({"type": "function", "name": "get_weather"}, [CALL], [OTHER]),
        (ALLOWED, [CALL], [TEXT, OTHER]),
        ("unheard_of", [TEXT, CALL], []),
        ({"type": "custom"}, [TEXT, CALL], []),
        (7, [TEXT, CALL], []),
    ],
)
def test_tool_choice_binds_the_last_turn(choice: Any, kept: list[Any], broken: list[Any]) -> None:
    for answers, expected in ((kept, []), (broken, [("tool_choice_broken", 1)])):
        for answer in answers:
            assert codes(trace(user(), answer, tool_choice=choice)) == expected


def test_earlier_turns_are_bound_by_other_requests() -> None:
    talk = (user(), calls(), result(), says())
    assert codes(trace(*talk, tool_choice="none")) == []
    assert codes(trace(*talk, tool_choice="required")) == [("tool_choice_broken", 3)]


def test_parallel_calls_are_held_against_every_turn() -> None:
    both = calls(call(), call("get_time"))
    talk = (user(), both, result(), result(name="get_time"), says())
    assert codes(trace(*talk, parallel_tool_calls=False)) == [("parallel_calls_broken", 1)]
    assert codes(trace(*talk, parallel_tool_calls=True)) == []
    assert codes(trace(user(), calls(), parallel_tool_calls=False)) == []


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_an_answer_that_must_be_json_is_read(kind: str) -> None:
    wanted = {"type": kind}
    assert codes(trace(user(), says('{"a": 1}'), response_format=wanted)) == []
    assert codes(trace(user(), calls(), response_format=wanted)) == []
    for text in ("Sunny.", '{"a": 1', '```json\n{"a": 1}\n```', ""):
        found = codes(trace(user(), says(text), response_format=wanted))
        assert ("response_format_broken", 1) in found


def test_a_json_object_is_no_list_and_text_is_free() -> None:
    listed = trace(user(), says("[1]"), response_format={"type": "json_object"})
    assert codes(listed) == [("response_format_broken", 1)]
    assert codes(trace(user(), says(), response_format={"type": "text"})) == []
    assert codes(trace(user(), says(), response_format="json")) == []
