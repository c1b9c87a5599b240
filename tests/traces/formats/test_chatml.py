from __future__ import annotations

import json
from typing import Any

from tooltune.traces import Message, ToolCall, Trace, read_row

USER = {"role": "user", "content": "Weather?"}


def read(*messages: dict[str, Any], **row: Any) -> Trace:
    return read_row({"messages": list(messages), **row}, "chatml")


def test_calls_and_results_as_turns_of_their_own_are_merged_and_paired() -> None:
    trace = read(
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "tool_call", "content": '{"name": "a", "arguments": {"x": 1}}'},
        {"role": "tool_call", "content": '{"name": "b", "arguments": {}}'},
        {"role": "tool_response", "content": "one"},
        {"role": "tool_response", "content": "two"},
        {"role": "assistant", "content": "Done."},
    )
    assert trace.messages[2:] == (
        Message("assistant", tool_calls=(ToolCall("a", {"x": 1}), ToolCall("b"))),
        Message("tool", "one", name="a"),
        Message("tool", "two", name="b"),
        Message("assistant", "Done."),
    )


def test_call_text_and_call_object_read_the_same() -> None:
    value = {"name": "a", "arguments": {"x": [1]}}
    as_text = read(USER, {"role": "function_call", "content": json.dumps(value)})
    assert as_text == read(USER, {"role": "tool_call", "content": value})


def test_openai_calls_in_the_same_row_are_not_lost() -> None:
    trace = read(
        USER,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "function": {"name": "a"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "tool_call", "content": '{"name": "b"}'},
        {"role": "observation", "content": "two"},
    )
    assert [m.name for m in trace.messages if m.role == "tool"] == ["a", "b"]


def test_loss_false_makes_a_turn_context_only() -> None:
    assistant = {"role": "assistant", "content": "!"}
    trace = read(USER, {**assistant, "loss": False}, USER, {**assistant, "loss": True})
    assert [m.weight for m in trace.messages] == [1.0, 0.0, 1.0, 1.0]


def test_messages_as_json_text_are_read() -> None:
    messages = [USER, {"role": "assistant", "content": "!"}]
    assert read_row({"messages": json.dumps(messages)}) == read_row({"messages": messages})
