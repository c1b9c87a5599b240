from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from tests.traces.strategies import traces
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, read_row

USER = {"role": "user", "content": "?"}
ANSWER = {"role": "assistant", "content": "!"}


def read(*messages: dict[str, Any], **row: Any) -> Trace:
    return read_row({"messages": list(messages), **row}, "openai")


def call(name: str, arguments: Any = None, id: str | None = None) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments or {}}}


def calling(*calls: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **rest}


@given(traces())
def test_what_a_trace_writes_is_read_back_as_the_same_trace(trace: Trace) -> None:
    again = read_row(trace.to_openai(), "openai")
    assert again == trace
    assert again.content_id == trace.content_id


def test_arguments_may_be_text_or_object() -> None:
    as_text = read(USER, calling(call("f", '{"b": 1, "a": [true]}', "1")))
    assert as_text == read(USER, calling(call("f", {"b": 1, "a": [True]}, "1")))
    assert list(as_text.messages[1].tool_calls[0].arguments) == ["b", "a"]


@pytest.mark.parametrize("nothing", [None, "", " ", {}, "{}"])
def test_a_call_without_arguments_has_an_empty_object(nothing: Any) -> None:
    trace = read(USER, calling({"function": {"name": "f", "arguments": nothing}}))
    assert trace.messages[1].tool_calls == (ToolCall("f"),)


def test_two_assistant_messages_stay_two() -> None:
    trace = read(USER, ANSWER, calling(call("a", id="1")), calling(call("b", id="2")))
    assert [len(m.tool_calls) for m in trace.messages] == [0, 0, 1, 1]


def test_ids_pair_results_out_of_order_and_the_order_is_kept() -> None:
    trace = read(
        USER,
        calling(call("a", id="1"), call("b", id="2")),
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "tool", "tool_call_id": "1", "content": "one"},
    )
    assert [(m.tool_call_id, m.name, m.content) for m in trace.messages[2:]] == [
        ("2", "b", "two"),
        ("1", "a", "one"),
    ]


def test_a_name_given_with_a_result_is_kept() -> None:
    result = {"role": "tool", "tool_call_id": "1", "name": "other", "content": ""}
    assert read(USER, calling(call("a", id="1")), result).messages[2].name == "other"


def test_results_without_ids_pair_by_name_then_in_order_and_get_the_id() -> None:
    trace = read(
        USER,
        calling(call("a", id="1"), call("b", id="2")),
        {"role": "tool", "name": "b", "content": "two"},
        {"role": "tool", "content": "one"},
    )
    assert [(m.tool_call_id, m.name) for m in trace.messages[2:]] == [("2", "b"), ("1", "a")]


def test_an_id_used_again_in_a_later_round_means_the_later_call() -> None:
    rounds = [calling(call("a", id="1")), {"role": "tool", "tool_call_id": "1", "content": "x"}]
    later = [calling(call("b", id="1")), {"role": "tool", "tool_call_id": "1", "content": "y"}]
    assert [m.name for m in read(USER, *rounds, *later).messages][2::2] == ["a", "b"]


def test_a_late_result_pairs_with_its_call_by_id() -> None:
    late = {"role": "tool", "tool_call_id": "1", "content": "x"}
    trace = read(USER, calling(call("a", id="1")), USER, calling(call("b", id="2")), late)
    assert trace.messages[4].name == "a"


def test_a_call_that_nobody_answers_is_accepted() -> None:
    assert len(read(USER, calling(call("a")), USER, ANSWER).messages) == 4


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_reasoning_is_kept_apart_from_the_text(key: str) -> None:
    assert read(USER, {**ANSWER, key: "hm"}).messages[1] == Message(
        "assistant", "!", reasoning="hm"
    )


def test_think_tags_in_the_text_stay_there() -> None:
    text = "<think>hm</think>!"
    assert read(USER, {**ANSWER, "content": text}).messages[1] == Message("assistant", text)


def test_developer_is_system_and_function_is_a_result() -> None:
    trace = read(
        {"role": "developer", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    )
    assert [m.role for m in trace.messages] == ["system", "user", "assistant", "tool"]
    assert trace.messages[2].tool_calls == (ToolCall("f"),)


def test_text_parts_are_put_together() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read({**USER, "content": parts}, ANSWER).messages[0].content == "ab"


def test_the_weight_of_a_message_is_kept() -> None:
    assert read(USER, {**ANSWER, "weight": 0}, ANSWER).messages[1].weight == 0.0


def test_wrapped_bare_and_text_tools_read_the_same() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    wrapped = {"type": "function", "function": function}
    expected = read(USER, ANSWER, tools=[wrapped]).tools
    assert expected == (Tool(function),)
    stored = {**function, "parameters": json.dumps(function["parameters"])}
    text = json.dumps([{"type": "function", "function": stored}])
    for tools in ([function], [{"type": "function", **function}], text):
        assert read(USER, ANSWER, tools=tools).tools == expected
    assert read(USER, ANSWER, functions=[function]).tools == expected


def test_keys_beside_a_wrapped_function_are_kept() -> None:
    tool = {"type": "function", "function": {"name": "f"}, "strict": True}
    assert read(USER, ANSWER, tools=[tool]).tools == (Tool({"name": "f", "strict": True}),)


def test_a_call_to_a_tool_that_is_not_offered_is_accepted() -> None:
    assert read(USER, calling(call("ghost")), tools=[{"name": "f"}]).messages[1].tool_calls


@pytest.mark.parametrize(
    "given",
    [
        {"thinking": "hm"},
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "h"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": t} for t in "hm"]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "x"}]},
        {"reasoning_content": [{"type": "text", "text": "hm"}], "reasoning": "hm"},
    ],
)
def test_every_name_of_reasoning_means_the_same(given: dict[str, Any]) -> None:
    assert read(USER, {**ANSWER, **given}).messages[1] == Message("assistant", "!", reasoning="hm")


def test_encrypted_reasoning_is_nothing_that_can_be_read() -> None:
    hidden = {
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}],
        "reasoning": None,
    }
    assert read(USER, {**ANSWER, **hidden}).messages[1] == Message("assistant", "!")


def test_a_refusal_is_what_the_assistant_said() -> None:
    expected = Message("assistant", "I will not.")
    by_key = {"role": "assistant", "content": None, "refusal": "I will not."}
    part = {"type": "refusal", "refusal": "I will not."}
    assert read(USER, by_key).messages[1] == expected
    assert read(USER, {"role": "assistant", "content": [part]}).messages[1] == expected
    assert read(USER, {**ANSWER, "refusal": None}).messages[1].content == "!"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ({"name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_older_function_call_of_a_request_is_its_tool_choice(
    choice: Any, expected: Any
) -> None:
    trace = read(USER, ANSWER, functions=[{"name": "f"}], function_call=choice)
    assert trace.settings == {"tool_choice": expected}
    assert read(USER, ANSWER, function_call=choice).settings == {}


def test_settings_of_a_fine_tuning_row_are_kept() -> None:
    trace = read(USER, ANSWER, parallel_tool_calls=False, tool_choice="required", temperature=1)
    assert trace.settings == {"parallel_tool_calls": False, "tool_choice": "required"}


def test_a_result_that_is_an_error_stays_one() -> None:
    result = {"role": "tool", "tool_call_id": "1", "content": "no", "is_error": True}
    trace = read(USER, calling(call("a", id="1")), result)
    assert trace.messages[2].is_error
    assert read_row(trace.to_openai(), "openai") == trace
    other = read(USER, calling(call("a", id="1")), {**result, "is_error": False})
    assert other.content_id != trace.content_id
    assert "is_error" not in other.to_openai()["messages"][2]


CUSTOM = {"id": "1", "type": "custom", "custom": {"name": "shell", "input": "ls"}}


@pytest.mark.parametrize(
    ("messages", "code", "place"),
    [
        ([calling(CUSTOM)], "unsupported_call", "messages[1].tool_calls[0]"),
        ([{**ANSWER, "refusal": "no"}], "conflicting_turns", "messages[1].refusal"),
        ([{**ANSWER, "audio": {"id": "x"}}], "unsupported_part", "messages[1].audio"),
        ([{**ANSWER, "thinking": "a", "reasoning": "b"}], "conflicting_turns", "messages[1]"),
        (
            [{**ANSWER, "reasoning_details": [{"type": "other"}]}],
            "unknown_reasoning",
            "messages[1].reasoning_details[0]",
        ),
        ([{**ANSWER, "thinking_blocks": "x"}], "reasoning_not_a_list", "messages[1]"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}],
            "unsupported_part",
            "messages[1].content[1]",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "content_not_text", "messages[1]"),
        (
            [
                calling(call("a", id="1")),
                {"role": "tool", "tool_call_id": "1", "content": [{"type": "image_url"}]},
            ],
            "unsupported_part",
            "messages[2].content[0]",
        ),
        (
            [calling(call("a")), {"role": "tool", "content": "", "is_error": "yes"}],
            "field_not_true_or_false",
            "messages[2].is_error",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(
    messages: Any, code: str, place: str
) -> None:
    with pytest.raises(RowError) as caught:
        read(USER, *messages)
    assert caught.value.code == code
    assert place in caught.value.reason


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "custom", "custom": {"name": "shell"}},
        {"type": "custom", "name": "x"},
    ],
)
def test_tools_that_are_no_functions_are_refused(tool: Any) -> None:
    with pytest.raises(RowError, match="unsupported_tool"):
        read(USER, ANSWER, tools=[tool])


def test_a_list_of_typed_objects_as_a_result_is_data() -> None:
    files = [{"type": "file", "name": "a"}, {"type": "folder", "name": "b"}]
    result = {"role": "tool", "tool_call_id": "1", "content": files}
    assert json.loads(read(USER, calling(call("a", id="1")), result).messages[2].content) == files
