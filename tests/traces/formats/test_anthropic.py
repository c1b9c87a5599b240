from __future__ import annotations

import copy
from typing import Any

import pytest

from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, detect, read_row

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
RESULTS = [
    {"type": "tool_result", "tool_use_id": "u2", "is_error": True, "content": "No such city."},
    {
        "type": "tool_result",
        "tool_use_id": "u1",
        "content": [{"type": "text", "text": "Sun"}, {"type": "text", "text": "ny."}],
    },
    {"type": "text", "text": "In one word, please."},
]
ROW: dict[str, Any] = {
    "model": "any",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [
        {
            "name": "weather",
            "input_schema": SCHEMA,
            "description": "Weather of a city.",
            "cache_control": {"type": "ephemeral"},
        }
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": False},
    "messages": [
        {"role": "user", "content": "Weather in Oslo and Olso?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Two calls.", "signature": "c2ln"},
                {"type": "text", "text": "I look.", "citations": None},
                {"type": "tool_use", "id": "u1", "name": "weather", "input": {"b": "x", "a": 1}},
                {"type": "tool_use", "id": "u2", "name": "weather", "input": {}},
            ],
        },
        {"role": "user", "content": RESULTS},
        {"role": "assistant", "content": [{"type": "text", "text": "Sunny."}]},
    ],
}


def read(*messages: Any, **row: Any) -> Trace:
    return read_row({"messages": [{"role": "user", "content": "?"}, *messages], **row}, "anthropic")


def said(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def use(id: str, name: str = "f") -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {}}


def result(id: str, content: Any = "1") -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": id, "content": content}
    return {"role": "user", "content": [block]}


TEXT = {"type": "text", "text": "Well."}
THOUGHT = {"type": "thinking", "thinking": "hm"}


def test_the_golden_row_is_read_whole() -> None:
    trace = read_row(ROW, "anthropic")
    assert trace.messages == (
        Message("system", "Be brief."),
        Message("user", "Weather in Oslo and Olso?"),
        Message(
            "assistant",
            "I look.",
            (ToolCall("weather", {"b": "x", "a": 1}, "u1"), ToolCall("weather", {}, "u2")),
            reasoning="Two calls.",
        ),
        Message("tool", "No such city.", tool_call_id="u2", name="weather", is_error=True),
        Message("tool", "Sunny.", tool_call_id="u1", name="weather"),
        Message("user", "In one word, please."),
        Message("assistant", "Sunny."),
    )
    function = {"name": "weather", "parameters": SCHEMA, "description": "Weather of a city."}
    assert trace.tools == (Tool(function),)
    assert list(trace.tools[0].function) == list(function)
    assert trace.settings == {"tool_choice": "auto", "parallel_tool_calls": True}
    assert list(trace.messages[2].tool_calls[0].arguments) == ["b", "a"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choices_become_those_of_openai(choice: Any, expected: Any) -> None:
    assert read(said(TEXT), tool_choice=choice).settings == {"tool_choice": expected}


def test_a_demand_for_single_calls_is_kept() -> None:
    trace = read(said(TEXT), tool_choice={"type": "any", "disable_parallel_tool_use": True})
    assert trace.settings["parallel_tool_calls"] is False


def test_assistant_messages_that_follow_one_another_are_one_turn() -> None:
    trace = read(said(THOUGHT), said(TEXT), said(use("1")), said(use("2")), result("2"))
    assert trace.messages[1] == Message(
        "assistant", "Well.", (ToolCall("f", id="1"), ToolCall("f", id="2")), reasoning="hm"
    )


def test_two_texts_in_a_row_stay_two_messages() -> None:
    assert [m.content for m in read(said(TEXT), said(TEXT)).messages] == ["?", "Well.", "Well."]


def test_text_before_results_comes_first() -> None:
    trace = read(said(use("1")), {"role": "user", "content": [TEXT, *result("1")["content"]]})
    assert [m.role for m in trace.messages] == ["user", "assistant", "user", "tool"]


def test_a_result_without_content_is_empty() -> None:
    bare = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]}
    assert read(said(use("1")), bare).messages[2].content == ""


def test_thinking_that_the_api_omitted_is_no_reasoning() -> None:
    omitted = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    assert read(said(omitted, TEXT)).messages[1] == Message("assistant", "Well.")


def test_white_space_behind_a_call_says_nothing() -> None:
    trace = read(said(use("1"), {"type": "text", "text": "\n"}))
    assert trace.messages[1] == Message("assistant", tool_calls=(ToolCall("f", id="1"),))


def test_plain_text_rows_are_openai_rows_with_the_same_trace() -> None:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    row = {"system": "Be brief.", "messages": messages}
    assert detect(row).name == "openai"
    assert read_row(row) == read_row(row, "anthropic")


IMAGE = {"type": "image", "source": {"type": "base64", "data": ""}}


@pytest.mark.parametrize(
    ("messages", "code", "place"),
    [
        ([{"role": "user", "content": [IMAGE]}], "unsupported_part", "messages[1].content[0]"),
        ([said(use("1")), result("1", [IMAGE])], "unsupported_part", "content[0].content[0]"),
        ([said({"type": "server_tool_use"})], "unsupported_part", "server_tool_use"),
        ([said({"type": "redacted_thinking", "data": "x"})], "redacted_thinking", "content[0]"),
        ([said(use("1"), TEXT)], "order_not_expressible", "messages[1].content[1]"),
        ([said(TEXT, THOUGHT)], "order_not_expressible", "messages[1].content[1]"),
        ([said()], "content_not_text", "messages[1]"),
        ([said({"type": "tool_use", "input": {}})], "call_without_name", "messages[1].content[0]"),
        ([said("x")], "block_not_an_object", "messages[1].content[0]"),
        ([result("9")], "orphan_tool_result", "messages[1].content[0]"),
        ([said(use("1")), result("9")], "unknown_tool_call_id", "messages[2].content[0]"),
        ([{"role": "tool", "content": "x"}], "unknown_role", "messages[1].role"),
        ([{"role": "assistant", "content": None}], "content_not_text", "messages[1].content"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(
    messages: Any, code: str, place: str
) -> None:
    with pytest.raises(RowError) as caught:
        read(*messages)
    assert caught.value.code == code
    assert place in caught.value.reason


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "unsupported_tool"),
        ({"tool_choice": "auto"}, "invalid_tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "invalid_tool_choice"),
        ({"tool_choice": {"type": []}}, "invalid_tool_choice"),
    ],
)
def test_tools_of_the_server_and_unknown_choices_are_refused(change: Any, code: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row({**copy.deepcopy(ROW), **change}, "anthropic")
    assert caught.value.code == code
