from __future__ import annotations

from typing import Any

import pytest

from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, read_row

USER = {"role": "user", "content": "?"}
ROW: dict[str, Any] = {
    "model": "any",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "No jokes."},
        {"role": "user", "content": [{"type": "input_text", "text": "Oslo and Bergen?"}]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [
                {"type": "summary_text", "text": "Two cities."},
                {"type": "summary_text", "text": "Two calls."},
            ],
            "encrypted_content": "gAAA",
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "c1",
            "name": "f",
            "arguments": '{"x":1}',
        },
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c2", "output": "wet"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_text", "text": "dry"}],
        },
    ],
    "output": [
        {"type": "reasoning", "id": "rs_2", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Dry, wet.", "annotations": []}],
        },
    ],
    "tools": [{"type": "function", "name": "f", "strict": True, "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": True,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
}


def read(*items: Any, **row: Any) -> Trace:
    return read_row({"input": [USER, *items], **row}, "responses")


def message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "role": "assistant", "content": content}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "content": [{"type": "reasoning_text", "text": text}]}


def call(id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}


def test_the_golden_row_is_read_whole() -> None:
    trace = read_row(ROW, "responses")
    assert trace.messages == (
        Message("system", "Be brief."),
        Message("system", "No jokes."),
        Message("user", "Oslo and Bergen?"),
        Message(
            "assistant",
            None,
            (ToolCall("f", {"x": 1}, "c1"), ToolCall("f", {}, "c2")),
            reasoning="Two cities.\n\nTwo calls.",
        ),
        Message("tool", "wet", tool_call_id="c2", name="f"),
        Message("tool", "dry", tool_call_id="c1", name="f"),
        Message("assistant", "Dry, wet."),
    )
    assert trace.tools == (Tool({"name": "f", "strict": True, "parameters": {"type": "object"}}),)
    assert trace.settings == {
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": True,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}},
        },
    }


def test_the_input_may_be_one_text() -> None:
    row = {"input": '[{"a": 1}] means?', "output": [message("A list.")]}
    assert read_row(row).messages == (
        Message("user", '[{"a": 1}] means?'),
        Message("assistant", "A list."),
    )


def test_reasoning_text_and_calls_in_a_row_are_one_message() -> None:
    trace = read(thought("hm"), message("I look."), call("1"), call("2"))
    assert trace.messages[1:] == (
        Message("assistant", "I look.", (ToolCall("f", id="1"), ToolCall("f", id="2")), "hm"),
    )


def test_items_in_another_order_begin_a_new_message() -> None:
    trace = read(call("1"), message("a"), thought("hm"), call("2"))
    assert [(m.content, m.reasoning, len(m.tool_calls)) for m in trace.messages[1:]] == [
        (None, None, 1),
        ("a", None, 0),
        (None, "hm", 1),
    ]


def test_the_text_of_the_reasoning_comes_before_its_summary() -> None:
    both = {**thought("all"), "summary": [{"type": "summary_text", "text": "short"}]}
    assert read(both, message("a")).messages[1].reasoning == "all"
    both["content"] = [*both["content"], *both["content"]]
    assert read(both, message("a")).messages[1].reasoning == "allall"


def test_an_allowed_list_of_tools_is_kept_in_the_form_of_chat() -> None:
    choice = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "f"}],
    }
    function = {"type": "function", "function": {"name": "f"}}
    assert read(message("a"), tool_choice=choice).settings["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [function]},
    }


def test_a_refusal_is_what_the_assistant_said() -> None:
    refused = {**message(""), "content": [{"type": "refusal", "refusal": "I will not."}]}
    assert read(refused).messages[1].content == "I will not."


@pytest.mark.parametrize(
    ("items", "code", "place"),
    [
        ([{"type": "web_search_call", "status": "completed"}], "unsupported_item", "input[1]"),
        ([{"type": "item_reference", "id": "x"}], "unsupported_item", "item_reference"),
        ([{**message("a"), "status": "incomplete"}], "incomplete_item", "input[1]"),
        (["x"], "block_not_an_object", "input[1]"),
        ([{"role": "tool", "content": "x"}], "unknown_role", "input[1].role"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}],
            "unsupported_part",
            "input[1].content[0]",
        ),
        ([{"type": "reasoning", "summary": [{"type": "x"}]}], "unknown_reasoning", "summary[0]"),
        ([{**call("1"), "name": ""}], "call_without_name", "input[1]"),
        ([{**call("1"), "arguments": "{"}], "invalid_json", "input[1].arguments"),
        ([{"type": "function_call_output", "output": "x"}], "orphan_tool_result", "input[1]"),
        ([], "no_assistant_turn", "input"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(items: Any, code: str, place: str) -> None:
    with pytest.raises(RowError) as caught:
        read(*items)
    assert caught.value.code == code
    assert place in caught.value.reason


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"previous_response_id": "resp_1"}, "history_elsewhere"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_tool"),
        ({"tools": [{"type": "custom", "name": "shell"}]}, "unsupported_tool"),
        ({"tool_choice": {"type": "file_search"}}, "invalid_tool_choice"),
        ({"tool_choice": {"type": "function", "function": 5}}, "invalid_tool_choice"),
        ({"text": {"format": "json"}}, "invalid_response_format"),
    ],
)
def test_settings_that_have_no_form_here_are_refused(row: Any, code: str) -> None:
    with pytest.raises(RowError) as caught:
        read(message("a"), **row)
    assert caught.value.code == code
