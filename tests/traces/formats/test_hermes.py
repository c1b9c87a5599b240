from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import json_values
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, detect, read_row
from tooltune.traces.formats.hermes_system import split_system
from tooltune.traces.formats.hermes_text import read_values

FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
# Our own wording of what such rows say: the tags, the schema of a call and an example.
EXPLAINED = (
    "You call functions for the user. Their signatures stand in <tools></tools> tags. "
    "Do not invent values. Here they are:\n<tools>\n{tools}\n</tools>\n"
    "Use the following json schema for each call: "
    '{{"title": "Call", "properties": {{"name": {{"type": "string"}}}}}}\n'
    "Answer with calls in <tool_call></tool_call> tags as follows:\n"
    '<tool_call>\n{{"arguments": <args>, "name": <name>}}\n</tool_call>\nSpeak French.'
)
KEPT = "You call functions for the user. Do not invent values. Speak French."


def row(*turns: tuple[str, str], **rest: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": what} for who, what in turns], **rest}


ROW = row(
    ("system", EXPLAINED.format(tools=json.dumps(FUNCTION))),
    ("human", "Oslo and Bergen?"),
    (
        "gpt",
        "<think>\nTwo calls.\n</think>\n\nI look.\n"
        '<tool_call>\n{"name": "weather", "arguments": {"b": "</tool_call>", "a": 1}}\n</tool_call>'
        '\n<tool_call>\n{"arguments": {}, "name": "weather"}\n</tool_call>\n',
    ),
    (
        "tool",
        '<tool_response>\n{"name": "weather", "content": {"sky": "grå"}}\n</tool_response>\n'
        "<tool_response>\nno data\n</tool_response>",
    ),
    ("gpt", "Grey; unknown."),
)


def read(*turns: tuple[str, str], **rest: Any) -> Trace:
    return read_row(row(("human", "?"), *turns, **rest), "hermes")


def test_the_golden_row_is_read_whole() -> None:
    trace = read_row(ROW, "hermes")
    calls = (ToolCall("weather", {"b": "</tool_call>", "a": 1}), ToolCall("weather"))
    assert trace.messages == (
        Message("system", KEPT),
        Message("user", "Oslo and Bergen?"),
        Message("assistant", "I look.", calls, reasoning="Two calls."),
        Message("tool", '{"sky": "grå"}', name="weather"),
        Message("tool", "no data", name="weather"),
        Message("assistant", "Grey; unknown."),
    )
    assert trace.tools == (Tool(FUNCTION),)


def test_role_and_content_rows_read_the_same() -> None:
    names = {"human": "user", "gpt": "assistant"}
    turns = [(names.get(t["from"], t["from"]), t["value"]) for t in ROW["conversations"]]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert detect({"messages": messages}).name == "hermes"
    assert read_row({"messages": messages}) == read_row(ROW)


def test_python_notation_is_read_as_json() -> None:
    function = {"name": "f", "description": "it's", "strict": True}
    arguments = {"a": None, "b": 'say "it\'s"', "c": "True"}
    tools = repr([{"type": "function", "function": function}])
    assert "'strict': True" in tools
    trace = read_row(
        row(
            ("system", EXPLAINED.format(tools=tools)),
            ("human", "?"),
            ("gpt", f"<tool_call>\n{ {'arguments': arguments, 'name': 'f'} }\n</tool_call>"),
            ("tool", "<tool_response>\n{'name': 'f', 'content': 'x'}\n</tool_response>"),
        )
    )
    assert trace.tools == (Tool(function),)
    assert trace.messages[2].tool_calls == (ToolCall("f", arguments),)
    assert trace.messages[3].content == "x"


@given(json_values(), st.sampled_from(["", " and more"]))
def test_values_printed_by_json_or_by_python_are_read_alike(value: Any, rest: str) -> None:
    wrapped = {"value": value, "it's": True}
    for printed in (json.dumps(wrapped), repr(wrapped)):
        text = f"<tools>{printed}\n</tools>{rest}"
        if "</tools>" in printed:
            continue
        values, end = read_values(text, len("<tools>"), "tools", "x")
        assert json.dumps(values) == json.dumps([wrapped])
        assert text[end:] == rest


def test_several_objects_or_a_list_of_tools_read_the_same() -> None:
    other = {"name": "g"}
    texts = [f"{json.dumps(FUNCTION)}\n{json.dumps(other)}", json.dumps([FUNCTION, other])]
    for text in texts:
        found = split_system(EXPLAINED.format(tools=text), "x")
        assert found == (KEPT, [FUNCTION, other])


def test_the_tools_column_and_the_system_text_must_agree() -> None:
    system = ("system", EXPLAINED.format(tools=json.dumps(FUNCTION)))
    turns = (system, ("human", "?"), ("gpt", "!"))
    same = [{"type": "function", "function": {**FUNCTION, "description": "d"}}]
    assert read_row(row(*turns, tools=json.dumps(same))).tools[0].function["description"] == "d"
    with pytest.raises(RowError, match="conflicting_tools"):
        read_row(row(*turns, tools=[{"name": "other"}]))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Be brief.", "Be brief."),
        (
            "You are Bob, a helper <tools>[]</tools> who smiles.",
            "You are Bob, a helper who smiles.",
        ),
        (
            "Rules:\n1. Smile.\n\n# Tools\n\nIn <tools></tools>:\n<tools>[]</tools>",
            "Rules:\n1. Smile.",
        ),
        ("Call like <tool_call>. Then stop.", "Then stop."),
        ("<tools>[]</tools>", None),
    ],
)
def test_only_what_explains_the_tags_leaves_the_system_text(text: str, kept: str | None) -> None:
    assert split_system(text, "x")[0] == kept


@given(st.text("<>/ \n.:[]{}\"'\\" + "abc"), st.integers(0, 400))
def test_no_tag_remains_in_any_system_text(noise: str, cut: int) -> None:
    full = EXPLAINED.format(tools=json.dumps(FUNCTION))
    with suppress(RowError):
        kept, _ = split_system(full[:cut] + noise + full[cut:], "x")
        for tag in ("tools", "tool_call", "tool_response"):
            assert f"<{tag}>" not in (kept or "")
            assert f"</{tag}>" not in (kept or "")


def test_no_system_message_remains_where_it_only_explained_the_tags() -> None:
    system = ("system", f"<tools>{json.dumps(FUNCTION)}</tools>")
    trace = read_row(row(system, ("human", "?"), ("gpt", "!")))
    assert [m.role for m in trace.messages] == ["user", "assistant"]


def test_results_in_a_user_turn_are_results_and_the_rest_is_said() -> None:
    trace = read(
        ("gpt", '<tool_call>{"name": "f"}</tool_call>'),
        ("human", "<tool_response>1</tool_response>\nAnd now?"),
        ("gpt", "1."),
    )
    assert [(m.role, m.content) for m in trace.messages[2:]] == [
        ("tool", "1"),
        ("user", "And now?"),
        ("assistant", "1."),
    ]


def test_a_result_that_is_no_wrapped_content_stays_as_it_is_written() -> None:
    for text in ('{"sky":"blue"}', '{"content": 1, "more": 2}', "{not json", '{"a":1,"a":2}'):
        turns = (("gpt", '<tool_call>{"name": "f"}</tool_call>'), ("tool", text))
        tagged = (turns[0], ("tool", f"<tool_response>\n{text}\n</tool_response>"))
        assert read(*tagged).messages == read(*turns).messages
        assert read(*tagged).messages[2].content == text


def test_a_turn_of_calls_may_hold_tagged_text() -> None:
    calls = ("function_call", '<tool_call>{"name": "f"}</tool_call>')
    trace = read(("gpt", "I look."), calls)
    assert trace.messages[1] == Message("assistant", "I look.", (ToolCall("f"),))


def test_several_calls_may_share_one_block() -> None:
    text = '<tool_call>\n{"name": "f"}\n{"name": "g"}\n</tool_call>'
    assert [c.name for c in read(("gpt", text)).messages[1].tool_calls] == ["f", "g"]


def test_thoughts_may_speak_of_calls() -> None:
    text = "<think>A <tool_call> is not needed.</think>No."
    expected = Message("assistant", "No.", reasoning="A <tool_call> is not needed.")
    assert read(("gpt", text)).messages[1] == expected
    assert read(("gpt", text.replace("</think>", "\n</think>\n\n"))).messages[1] == expected


def test_weights_are_kept() -> None:
    turns = row(("human", "?"), ("gpt", '<tool_call>{"name": "f"}</tool_call>'))
    turns["conversations"][1]["weight"] = 0
    assert read_row(turns, "hermes").messages[1].weight == 0.0


CALL = '<tool_call>{"name": "f"}</tool_call>'


@pytest.mark.parametrize(
    ("turns", "code", "place"),
    [
        ([("gpt", '<tool_call>{"name": "f"}')], "unclosed_block", "conversations[1]"),
        ([("gpt", '<tool_call>{"name": "f"')], "unclosed_block", "<tool_call>"),
        ([("gpt", "so </tool_call>")], "unclosed_block", "conversations[1]"),
        ([("gpt", "<think>hm")], "unclosed_block", "<think>"),
        ([("gpt", "<tool_call>f(x)</tool_call>")], "invalid_json", "conversations[1]"),
        ([("gpt", "<tool_call>{'name': f}</tool_call>")], "invalid_json", "conversations[1]"),
        ([("gpt", "<tool_call></tool_call>")], "no_calls", "conversations[1]"),
        ([("gpt", '<tool_call>{"arguments": {}}</tool_call>')], "call_without_name", "[1]"),
        ([("gpt", f"{CALL} Done.")], "order_not_expressible", "conversations[1]"),
        ([("gpt", CALL), ("tool", "<tool_response>1")], "unclosed_block", "conversations[2]"),
        (
            [("gpt", CALL), ("tool", "<tool_response>1</tool_response>x")],
            "text_outside_block",
            "conversations[2]",
        ),
        ([("tool", "<tool_response>1</tool_response>")], "orphan_tool_result", "conversations[1]"),
        ([("system", "<tools>[{</tools>"), ("gpt", "!")], "invalid_json", "conversations[1]"),
        ([("system", "<tools>[{"), ("gpt", "!")], "unclosed_block", "<tools>"),
    ],
)
def test_broken_blocks_are_refused_with_their_place(turns: Any, code: str, place: str) -> None:
    with pytest.raises(RowError) as caught:
        read(*turns)
    assert caught.value.code == code
    assert place in caught.value.reason


@pytest.mark.parametrize(
    "text",
    [
        "<tools>{}</tools>" * 20_000,
        "<tool_call>{" * 20_000,
        "<tool_response>{" * 20_000,
        "<tools>" * 40_000,
        "<tools>{'a': '" * 20_000,
        "x:" * 100_000 + "<tools>{}</tools>",
        "\\'" * 100_000 + "<tools>{'" + "'" * 100_000 + "</tools>",
    ],
    ids=range(7),
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    start = time.process_time()
    for who in ("system", "gpt", "tool"):
        with suppress(RowError):
            read((who, text), ("gpt", "!"))
    assert time.process_time() - start < 2
