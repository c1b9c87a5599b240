"""Every code with which a row is rejected, and that the reason names the place."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings

from tests.traces.strategies import garbage_rows
from tooltune.traces import FORMATS, RowError, detect, read_row

USER = {"role": "user", "content": "?"}
ANSWER = {"role": "assistant", "content": "!"}
HUMAN = {"from": "human", "value": "?"}
RESULT = {"role": "tool", "content": "1"}


def chat(*messages: Any, **row: Any) -> dict[str, Any]:
    return {"messages": list(messages), **row}


def calling(*calls: Any, **rest: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **rest}


def with_tools(tools: Any) -> dict[str, Any]:
    return chat(USER, ANSWER, tools=tools)


def said(value: Any) -> dict[str, Any]:
    return {"conversations": [HUMAN, {"from": "function_call", "value": value}]}


A = {"id": "1", "function": {"name": "a", "arguments": "{}"}}

CASES: list[tuple[Any, str, str]] = [
    ("hello", "row_not_an_object", "hello"),
    ([USER], "row_not_an_object", "row"),
    ({}, "no_messages", "messages"),
    ({"text": "x"}, "no_messages", "'text'"),
    ({"messages": []}, "no_messages", "messages"),
    ({"messages": "[]"}, "no_messages", "messages is empty"),
    ({"messages": 5}, "messages_not_a_list", "messages is 5"),
    ({"messages": "[1"}, "invalid_json", "messages"),
    (chat(USER, "!"), "turn_not_an_object", "messages[1]"),
    (chat(USER, {"role": "alien", "content": ""}), "unknown_role", "messages[1].role is 'alien'"),
    (chat(USER, {"content": "x"}), "unknown_role", "messages[1].role is None"),
    ({"conversations": [HUMAN, {"from": [], "value": ""}]}, "unknown_role", "conversations[1]"),
    (chat({"role": "user"}, ANSWER), "content_not_text", "messages[0].content is None"),
    (chat(USER, {"role": "assistant", "content": None}), "content_not_text", "messages[1]"),
    (chat({**USER, "content": {"a": 1}}, ANSWER), "content_not_text", "messages[0]"),
    (
        chat({**USER, "content": [{"type": "image_url", "image_url": "x"}]}, ANSWER),
        "unsupported_part",
        "image_url",
    ),
    (chat(USER, calling(A), {"role": "tool"}), "content_not_text", "messages[2].content"),
    (chat(USER), "no_assistant_turn", "messages"),
    (chat(ANSWER, USER), "no_assistant_turn", "before it"),
    (chat(USER, {**USER, "tool_calls": [A]}), "calls_outside_assistant", "messages[1]"),
    (chat(USER, {**ANSWER, "tool_calls": {"name": "a"}}), "tool_calls_not_a_list", "messages[1]"),
    (chat(USER, calling(A, function_call={"name": "a"})), "conflicting_turns", "messages[1]"),
    (chat(USER, calling(5)), "call_not_an_object", "messages[1].tool_calls[0]"),
    (chat(USER, calling({"function": {}})), "call_without_name", "messages[1].tool_calls[0]"),
    (chat(USER, calling({"name": 3})), "call_without_name", "tool_calls[0]: name is 3"),
    (said('{"arguments": {}}'), "call_without_name", "conversations[1].value"),
    (said("[]"), "no_calls", "conversations[1].value"),
    (said(""), "call_not_an_object", "conversations[1].value is empty"),
    (said("let me see"), "invalid_json", "conversations[1].value"),
    (said('{"name": "f", "name": "g"}'), "duplicate_key", "conversations[1].value"),
    (said('{"name": "f", "arguments": {"x": NaN}}'), "non_finite_number", "value"),
    (said('{"name": "f", "arguments": [1]}'), "arguments_not_an_object", ".arguments is a list"),
    (said('{"name": "f", "arguments": 5}'), "arguments_not_an_object", ".arguments is a number"),
    (said('{"name": "f", "arguments": "\\"{}\\""}'), "arguments_not_an_object", "encoded twice"),
    (said('{"name": "f", "arguments": "{x: 1}"}'), "invalid_json", ".arguments"),
    (chat(USER, calling({**A, "id": 7})), "field_not_text", "tool_calls[0].id is a number"),
    (chat({**USER, "name": ["x"]}, ANSWER), "field_not_text", "messages[0].name"),
    (chat(RESULT, USER, ANSWER), "orphan_tool_result", "messages[0]"),
    (chat(USER, calling(A), RESULT, RESULT), "orphan_tool_result", "messages[3]"),
    (
        chat(USER, calling(A), {**RESULT, "tool_call_id": "2"}),
        "unknown_tool_call_id",
        "messages[2]",
    ),
    (chat(USER, calling(A, A)), "repeated_tool_call_id", "messages[1]"),
    (
        chat(USER, calling(A), *[{**RESULT, "tool_call_id": "1"}] * 2),
        "repeated_tool_call_id",
        "messages[3]",
    ),
    (with_tools({"name": "f"}), "tools_not_a_list", "tools is an object"),
    (with_tools("{}"), "tools_not_a_list", "tools is an object"),
    (with_tools(5), "tools_not_a_list", "tools is a number"),
    (with_tools("[{]"), "invalid_json", "tools"),
    (with_tools([5]), "tool_not_an_object", "tools[0]"),
    (with_tools([{"name": "f"}, {"description": "d"}]), "tool_without_name", "tools[1]"),
    (with_tools([{"type": "function", "function": {}}]), "tool_without_name", "tools[0]"),
    (
        with_tools([{"name": "f", "parameters": ["x"]}]),
        "parameters_not_an_object",
        "tools[0].parameters (f)",
    ),
    (chat(USER, {**ANSWER, "weight": -1}), "invalid_weight", "messages[1].weight"),
    (chat(USER, {**ANSWER, "weight": "1"}), "invalid_weight", "messages[1].weight"),
    (chat(USER, {**ANSWER, "weight": 10**400}), "invalid_weight", "messages[1].weight"),
    (
        chat(USER, {**ANSWER, "reasoning": "a", "reasoning_content": "b"}),
        "conflicting_turns",
        "messages[1]",
    ),
    (
        chat({"role": "system", "content": "a"}, USER, ANSWER, system="b"),
        "conflicting_system",
        "messages[0]",
    ),
    (chat({**USER, "content": "\0"}, ANSWER), "nul_character", "NUL"),
]


@pytest.mark.parametrize(
    ("row", "code", "place"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)]
)
def test_a_bad_row_is_rejected_with_its_code_and_place(row: Any, code: str, place: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert caught.value.code == code
    assert place in caught.value.reason


def test_a_call_whose_weight_differs_from_its_text_is_rejected() -> None:
    call = {"from": "function_call", "value": '{"name": "f"}', "weight": 0}
    with pytest.raises(RowError, match="conflicting_turns"):
        read_row({"conversations": [HUMAN, {"from": "gpt", "value": "x"}, call]})


@pytest.mark.parametrize("name", FORMATS)
@given(row=garbage_rows())
@settings(max_examples=150)
def test_garbage_is_read_or_rejected_and_never_crashes(name: str, row: Any) -> None:
    with suppress(RowError):
        trace = read_row(row, name)
        assert trace.turns
        assert read_row(trace.to_openai(), "openai").content_id == trace.content_id


def test_the_format_is_told_by_keys_and_roles_and_says_why() -> None:
    call = {"role": "tool_call", "content": '{"name": "f"}'}
    for row, name, why in [
        ({"conversations": [HUMAN]}, "sharegpt", "'from'"),
        (chat(USER, call), "chatml", "messages[1].role is 'tool_call'"),
        (chat(USER, calling(A)), "openai", "messages"),
        ({"conversations": [USER, ANSWER]}, "openai", "conversations"),
    ]:
        assert detect(row).name == name
        assert why in detect(row).why


def test_a_format_given_by_name_is_used() -> None:
    with pytest.raises(RowError, match="unknown_role"):
        read_row(chat(USER, {"role": "tool_call", "content": "{}"}), "openai")
