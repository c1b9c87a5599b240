from __future__ import annotations

from typing import Any

import pytest

from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, detect, read_row

SDK: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Oslo?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "text": "One call."},
                {"type": "text", "text": "I look."},
                {
                    "type": "tool-call",
                    "toolCallId": "1",
                    "toolName": "weather",
                    "input": {"b": 1, "a": 2},
                },
            ],
        },
        {
            "role": "tool",
            "content": [
                {
                    "type": "tool-result",
                    "toolCallId": "1",
                    "toolName": "weather",
                    "output": {"type": "error-json", "value": {"sky": None}},
                }
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Unknown."}]},
    ],
    "tools": [{"type": "function", "name": "weather", "inputSchema": {"type": "object"}}],
}
LOG: dict[str, Any] = {
    "messages": [
        {"role": "user", "parts": [{"type": "text", "content": "Oslo?"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "One call."},
                {"type": "tool_call", "id": "1", "name": "weather", "arguments": '{"a": 1}'},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": [1]}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "1"}]},
    ]
}
ROWS = [SDK, LOG]

CALL = {"type": "tool_call", "name": "f", "arguments": {}}
TEXT = {"type": "text", "text": "Well."}
RESULT = {"type": "tool_result", "result": "1"}


def said(*parts: Any, **rest: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(parts), **rest}


def read(*messages: Any) -> Trace:
    row = {"messages": [{"role": "user", "content": "?"}, *messages]}
    return read_row(row, "content_parts")


def test_rows_of_an_sdk_are_read_whole() -> None:
    trace = read_row(SDK, "content_parts")
    call = ToolCall("weather", {"b": 1, "a": 2}, "1")
    assert trace.messages == (
        Message("system", "Be brief."),
        Message("user", "Oslo?"),
        Message("assistant", "I look.", (call,), reasoning="One call."),
        Message("tool", '{"sky": null}', tool_call_id="1", name="weather", is_error=True),
        Message("assistant", "Unknown."),
    )
    assert trace.tools == (Tool({"name": "weather", "parameters": {"type": "object"}}),)


def test_rows_of_a_log_are_read_whole() -> None:
    assert read_row(LOG, "content_parts").messages == (
        Message("user", "Oslo?"),
        Message("assistant", None, (ToolCall("weather", {"a": 1}, "1"),), reasoning="One call."),
        Message("tool", "[1]", tool_call_id="1", name="weather"),
        Message("assistant", "1"),
    )


@pytest.mark.parametrize(
    "part",
    [
        {"type": "tool_call", "tool_call": {"name": "f", "arguments": {"x": 1}}, "id": "7"},
        {"type": "tool-call", "toolCallId": "7", "toolName": "f", "args": {"x": 1}},
        {"type": "function_call", "call_id": "7", "name": "f", "arguments": '{"x": 1}'},
        {"type": "tool_use", "id": "7", "name": "f", "input": {"x": 1}},
    ],
)
def test_calls_read_the_same_under_every_name(part: Any) -> None:
    assert read(said(part)).messages[1].tool_calls == (ToolCall("f", {"x": 1}, "7"),)


def test_thinking_may_be_a_list_of_texts() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert read(said(part, TEXT)).messages[1] == Message("assistant", "Well.", reasoning="hm")
    assert detect({"messages": [said(part, TEXT)]}).name == "content_parts"


def test_a_result_inside_an_assistant_message_ends_it() -> None:
    steps = said({"type": "step-start"}, CALL, RESULT, {"type": "step-start"}, TEXT)
    assert read(steps).messages[1:] == (
        Message("assistant", tool_calls=(ToolCall("f"),)),
        Message("tool", "1", name="f"),
        Message("assistant", "Well."),
    )


def test_one_tool_message_may_hold_several_results() -> None:
    results = {"role": "tool", "content": [RESULT, {**RESULT, "result": None, "isError": True}]}
    trace = read(said(CALL, CALL), results)
    assert [(m.content, m.is_error) for m in trace.messages[2:]] == [("1", False), ("null", True)]


def test_messages_without_such_parts_are_read_as_those_of_openai() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    plain = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"role": "tool", "tool_call_id": "1", "content": "x"}
    trace = read(plain, answer, said({"type": "reasoning", "text": "hm"}, TEXT))
    assert [m.role for m in trace.messages] == ["user", "assistant", "tool", "assistant"]
    assert trace.messages[3].reasoning == "hm"


@pytest.mark.parametrize(
    ("messages", "code", "place"),
    [
        ([said(CALL, TEXT)], "order_not_expressible", "messages[1].content[1]"),
        ([said({"type": "file", "data": ""}, CALL)], "unsupported_part", "messages[1].content[0]"),
        ([said({"type": "dynamic-tool"}, CALL)], "unsupported_part", "dynamic-tool"),
        ([said({"type": "tool_call"})], "call_without_name", "messages[1].content[0]"),
        ([said(CALL, "x")], "block_not_an_object", "messages[1].content[1]"),
        ([said(CALL, tool_calls=[CALL])], "conflicting_turns", "messages[1].content"),
        ([{"role": "user", "content": [CALL]}], "calls_outside_assistant", "messages[1]"),
        ([{"role": "alien", "content": [CALL]}], "unknown_role", "messages[1].role"),
        ([{"role": "tool", "content": [RESULT]}], "orphan_tool_result", "messages[1].content[0]"),
        (
            [said(CALL), {"role": "tool", "content": [{"type": "tool-result"}]}],
            "content_not_text",
            "messages[2].content[0].output",
        ),
        (
            [said(CALL, {"type": "tool-result", "output": {"type": "media"}})],
            "unsupported_part",
            "messages[1].content[1].output",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(
    messages: Any, code: str, place: str
) -> None:
    with pytest.raises(RowError) as caught:
        read(*messages)
    assert caught.value.code == code
    assert place in caught.value.reason
