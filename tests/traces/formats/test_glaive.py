from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.formats.same import assert_same
from tests.traces.strategies import NAMES, TEXT, json_objects
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, read_row
from tooltune.traces.formats.glaive import _MARKER

TOOL = {
    "name": "convert_length",
    "description": "Metres to other units",
    "parameters": {"type": "object", "properties": {"metres": {"type": "number"}}},
}
OTHER = {"name": "get_poem", "parameters": {"type": "object", "properties": {}}}
HEAD = "You help, with access to the following functions. Use them if required"
ROW = {
    "system": f"SYSTEM: {HEAD} -\n{json.dumps(TOOL, indent=4)}\n\n{json.dumps(OTHER, indent=4)}\n",
    "chat": """USER: How many feet are 3 m?


ASSISTANT: <functioncall> {"name": "convert_length", "arguments": '{"metres": 3, "to": "feet"}'} \
<|endoftext|>


FUNCTION RESPONSE: {"feet": 9.84}


ASSISTANT: 3 m are 9.84 feet. <|endoftext|>


""",
}


def chat(*turns: str) -> dict[str, str]:
    return {"system": "SYSTEM: Be brief.", "chat": "\n\n\n".join(("USER: ?", *turns))}


def said(text: str) -> Message:
    return read_row(chat(f"ASSISTANT: {text}"), "glaive").messages[2]


def test_a_row_has_its_tools_call_result_and_answer() -> None:
    call = ToolCall("convert_length", {"metres": 3, "to": "feet"})
    expected = Trace(
        (
            Message("system", HEAD),
            Message("user", "How many feet are 3 m?"),
            Message("assistant", tool_calls=(call,)),
            Message("tool", '{"feet": 9.84}', name="convert_length"),
            Message("assistant", "3 m are 9.84 feet."),
        ),
        (Tool(TOOL), Tool(OTHER)),
    )
    assert_same(read_row(ROW), expected)


def test_a_system_text_without_tools_stays() -> None:
    row = chat("ASSISTANT: !")
    assert read_row(row).messages[0] == Message("system", "Be brief.")
    assert read_row(row).tools == ()
    listed = {**row, "system": f"SYSTEM: {HEAD} -\n{json.dumps([TOOL, OTHER])}\nBe brief."}
    assert read_row(listed).messages[0] == Message("system", f"{HEAD}\nBe brief.")
    assert read_row(listed).tools == (Tool(TOOL), Tool(OTHER))


def plain(text: str) -> bool:
    return _MARKER.search(text) is None and "\r" not in text


@given(
    st.lists(
        st.tuples(
            TEXT.filter(plain), st.builds(ToolCall, NAMES, json_objects()), TEXT.filter(plain)
        ),
        max_size=3,
    ),
    TEXT.filter(plain),
    st.sampled_from(["ascii", "bare apostrophe", "escaped apostrophe", "object"]),
)
def test_what_is_written_as_glaive_is_read_back(
    rounds: list[tuple[str, ToolCall, str]], answer: str, style: str
) -> None:
    turns, messages = ["USER: ?"], [Message("system", "Be brief."), Message("user", "?")]
    for thought, call, result in rounds:
        turns.append(f"ASSISTANT: {thought} <functioncall> {write(call, style)} <|endoftext|>")
        turns.append(f"FUNCTION RESPONSE: {result}")
        messages.append(Message("assistant", thought.strip() or None, tool_calls=(call,)))
        messages.append(Message("tool", result.strip(), name=call.name))
    turns.append(f"ASSISTANT: {answer}")
    messages.append(Message("assistant", answer.strip()))
    row = {"system": "SYSTEM: Be brief.", "chat": "\n\n".join(turns)}
    assert_same(read_row(row, "glaive"), Trace(tuple(messages)))


def write(call: ToolCall, style: str) -> str:
    function: dict[str, Any] = call.to_openai()["function"]
    if style == "object":
        return json.dumps(function)
    inner = json.dumps(function["arguments"], ensure_ascii=style == "ascii")
    if style == "escaped apostrophe":
        inner = inner.replace("'", "\\'")
    return f'{{"name": {json.dumps(function["name"])}, "arguments": \'{inner}\'}}'


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("""{"name": "f", "arguments": '{"x": "it's"}'}""", {"x": "it's"}),
        ("""{"name": "f", "arguments": '{"x": "it\\'s"}'}""", {"x": "it's"}),
        ("""{"name": "f", "arguments": '{"x": "say \\"hi\\""}'}""", {"x": 'say "hi"'}),
        ("""{"name": "f", "arguments": '{"x": "a\\\\\\\\'b"}'}""", {"x": "a\\\\'b"}),
        ("""{"arguments": '{"x": [1, {"y": null}]}', "name": "f"}""", {"x": [1, {"y": None}]}),
        ("""{"name": "f", "arguments": ' {"x": 1} ' }""", {"x": 1}),
        ("""{"name": "f", "arguments": "{\\"x\\": 1}"}""", {"x": 1}),
        ("""{"name": "f", "arguments": {"x": "'"}}""", {"x": "'"}),
        ("""{"name": "f", "arguments": '{}'}""", {}),
        ("""{"name": "f", "arguments": ''}""", {}),
        ("""{"name": "f"}""", {}),
    ],
)
def test_arguments_in_single_quotes_are_read_exactly(text: str, arguments: dict[str, Any]) -> None:
    assert said(f"<functioncall> {text} <|endoftext|>").tool_calls == (ToolCall("f", arguments),)


def test_text_before_a_call_and_several_calls_are_kept() -> None:
    call = """<functioncall> {"name": "f", "arguments": '{"x": 1}'}"""
    other = '<functioncall> {"name": "g"} </functioncall>'
    calls = (ToolCall("f", {"x": 1}), ToolCall("g"))
    assert said(f"I look. {call}\n{other}") == Message("assistant", "I look.", tool_calls=calls)


def test_a_marker_counts_at_the_start_of_a_line_only() -> None:
    assert said("Write USER: before it.").content == "Write USER: before it."


@pytest.mark.parametrize(
    ("turns", "code", "place"),
    [
        (["ASSISTANT: <functioncall> {'name': 'f'}"], "invalid_json", "chat turn 1 (ASSISTANT)"),
        (
            ["""ASSISTANT: <functioncall> {"name": "f", "arguments": '{"x": }'}"""],
            "invalid_json",
            "chat turn 1 (ASSISTANT) call 0.arguments",
        ),
        (
            ["""ASSISTANT: <functioncall> {"name": "f", "arguments": '{"x": 1}"}"""],
            "invalid_call",
            "chat turn 1 (ASSISTANT) call 0.arguments",
        ),
        (
            ["""ASSISTANT: <functioncall> {"name": "f", "arguments": '[1]'}"""],
            "arguments_not_an_object",
            "call 0.arguments",
        ),
        (
            ["""ASSISTANT: <functioncall> {"name": "f", "name": "g", "arguments": ''}"""],
            "duplicate_key",
            "chat turn 1",
        ),
        (["ASSISTANT: <functioncall> {}"], "call_without_name", "chat turn 1"),
        (['ASSISTANT: <functioncall> {"name": "f",}'], "invalid_json", "chat turn 1"),
        (['ASSISTANT: <functioncall> {"name": "f" "x": 1}'], "invalid_call", "expected ,"),
        (["ASSISTANT: <functioncall>"], "invalid_json", "chat turn 1"),
        (['ASSISTANT: <functioncall> {"name": "f"} done'], "invalid_call", "'done'"),
        (["ASSISTANT: a <|endoftext|> b"], "text_behind_stop", "'b' stands behind"),
        (["FUNCTION RESPONSE: 1"], "orphan_tool_result", "chat turn 1 (FUNCTION RESPONSE)"),
        ([], "no_assistant_turn", "chat"),
    ],
)
def test_a_broken_turn_is_refused_with_its_place(turns: list[str], code: str, place: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(chat(*turns), "glaive")
    assert caught.value.code == code
    assert place in caught.value.reason


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"chat": "hello\nUSER: ?"}, "unknown_role"),
        ({"chat": ""}, "no_messages"),
        ({"chat": None}, "field_not_text"),
        ({**ROW, "system": 'SYSTEM: -\n{"name": "f", }'}, "invalid_json"),
        ({**ROW, "system": 'SYSTEM: -\n{"name": "f"}\n{"name": }'}, "invalid_json"),
        ({**ROW, "system": []}, "field_not_text"),
    ],
)
def test_a_broken_row_is_refused(row: dict[str, Any], code: str) -> None:
    with pytest.raises(RowError, match=code):
        read_row(row, "glaive")
