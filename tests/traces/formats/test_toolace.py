from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.formats.same import assert_same
from tests.traces.formats.test_python_calls import call_lists, write
from tests.traces.strategies import TEXT, json_values
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, read_row
from tooltune.traces.formats.shared.python_calls import looks_like_calls

TOOLS = [
    {
        "name": "River Level API",
        "description": "Height of a river.",
        "parameters": {
            "type": "dict",
            "properties": {"river": {"type": "string"}, "at": {"type": "float"}},
            "required": ["river"],
        },
        "required": None,
    },
    {"name": "alerts/list", "parameters": {"type": "dict", "properties": {}}, "required": None},
]
NORMAL_SECOND = Tool({"name": "alerts/list", "parameters": {"type": "object", "properties": {}}})
SYSTEM = (
    "You choose among functions.\nHere is a list of functions in JSON format that you can invoke:\n"
    f"{json.dumps(TOOLS)}. \nShould you decide to return the function call(s). \n"
    "Put it in the format of [func1(params_name=params_value, params_name2=params_value2...), "
    "func2(params)]\n\nNO other text MUST be included. \n"
)


def turn(role: str, value: Any) -> dict[str, Any]:
    return {"from": role, "value": value}


ROW = {
    "system": SYSTEM,
    "conversations": [
        turn("user", "How high is the Aare, and are there alerts?"),
        turn("assistant", '[River Level API(river="Aare", at=2), alerts/list()]'),
        turn(
            "tool",
            '[{"name": "alerts/list", "results": []}, '
            '{"name": "River Level API", "results": {"cm": 171}}]',
        ),
        turn("assistant", "171 cm, no alerts."),
    ],
}


def normal_tools() -> tuple[Tool, ...]:
    parameters = {
        "type": "object",
        "properties": {"river": {"type": "string"}, "at": {"type": "number"}},
        "required": ["river"],
    }
    first = {"name": "River Level API", "description": "Height of a river."}
    return (Tool({**first, "parameters": parameters}), NORMAL_SECOND)


def test_a_row_has_its_tools_calls_and_one_message_for_each_result() -> None:
    calls = (ToolCall("River Level API", {"river": "Aare", "at": 2}), ToolCall("alerts/list"))
    expected = Trace(
        (
            Message("system", "You choose among functions."),
            Message("user", "How high is the Aare, and are there alerts?"),
            Message("assistant", tool_calls=calls),
            Message("tool", "[]", name="alerts/list"),
            Message("tool", '{"cm": 171}', name="River Level API"),
            Message("assistant", "171 cm, no alerts."),
        ),
        normal_tools(),
    )
    assert_same(read_row(ROW), expected)


def test_other_text_around_the_tools_stays() -> None:
    system = f"Today is Monday.\n{json.dumps(TOOLS)}\nAnswer in [brackets] only."
    trace = read_row({**ROW, "system": system})
    assert trace.messages[0].content == "Today is Monday.\nAnswer in [brackets] only."
    assert trace.tools == normal_tools()


@given(
    st.lists(
        st.tuples(call_lists(), st.booleans(), json_values()).map(lambda t: (t[0], t[1], t[2])),
        max_size=2,
    ),
    TEXT,
    TEXT.filter(lambda text: not looks_like_calls(text)),
)
def test_what_is_written_as_toolace_is_read_back(
    rounds: list[tuple[list[ToolCall], bool, Any]], question: str, answer: str
) -> None:
    names = sorted({call.name for calls, _, _ in rounds for call in calls})
    tools = [{"name": name, "parameters": {"type": "object"}} for name in names]
    turns = [turn("user", question)]
    messages = [Message("user", question)]
    for calls, named, result in rounds:
        turns.append(turn("assistant", write(calls)))
        messages.append(Message("assistant", tool_calls=tuple(calls)))
        if named and result is not None:
            results = [{"name": call.name, "results": result} for call in calls]
            turns.append(turn("tool", json.dumps(results)))
            text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
            messages += [Message("tool", text, name=call.name) for call in calls]
        else:
            text = f"plain {json.dumps(result)}"
            turns.append(turn("tool", text))
            messages.append(Message("tool", text, name=calls[0].name))
    turns.append(turn("assistant", answer))
    messages.append(Message("assistant", answer))
    system = f"Tools: {json.dumps(tools)}" if tools else "No tools."
    kept = Message("system", "Tools:" if tools else "No tools.")
    trace = read_row({"system": system, "conversations": turns}, "toolace")
    assert_same(trace, Trace((kept, *messages), tuple(map(Tool, tools))))


def test_text_that_is_no_call_stays_text() -> None:
    for text in (
        "[1] is a footnote.",
        "[see](url)",
        "[]",
        "Use [f(x=1)] here.",
        "[f(x=1)], or not",
    ):
        turns = [turn("user", "?"), turn("assistant", text)]
        trace = read_row({"conversations": turns}, "toolace")
        assert trace.messages[-1] == Message("assistant", text)


@pytest.mark.parametrize(
    ("turns", "code", "place"),
    [
        ([turn("assistant", "[f(x=)]")], "invalid_call", "conversations[1].value"),
        ([turn("assistant", "[River Level API(river='Aa")], "invalid_call", "conversations[1]"),
        ([turn("assistant", "[f(a)]")], "invalid_call", "conversations[1].value"),
        ([turn("assistant", "I look."), turn("tool", "1")], "orphan_tool_result", "[2]"),
        (
            [
                turn("assistant", "[f()]"),
                turn("tool", '[{"name":"f","results":1},{"name":"f","results":2}]'),
            ],
            "orphan_tool_result",
            "conversations[2]",
        ),
        ([turn("assistant", None)], "content_not_text", "conversations[1].value"),
        ([turn("alien", "x")], "unknown_role", "conversations[1].from"),
        ([], "no_assistant_turn", "conversations"),
    ],
)
def test_a_broken_turn_is_refused_with_its_place(
    turns: list[dict[str, Any]], code: str, place: str
) -> None:
    row = {"system": SYSTEM, "conversations": [turn("user", "?"), *turns]}
    with pytest.raises(RowError) as caught:
        read_row(row, "toolace")
    assert caught.value.code == code
    assert place in caught.value.reason


def test_tools_that_are_not_json_are_refused() -> None:
    with pytest.raises(RowError, match="invalid_json: system"):
        read_row({**ROW, "system": 'Tools: [{"name": "f", }]'})
    with pytest.raises(RowError, match="field_not_text: system"):
        read_row({**ROW, "system": 5}, "toolace")


@pytest.mark.parametrize(
    "system",
    [
        f"{json.dumps(TOOLS)}{' .' * 100_000}Should you decide to return the function call",
        f"{' .' * 100_000}{json.dumps(TOOLS)}",
        '[{"name"' * 50_000,
        "[ " * 100_000 + "{ " * 100_000,
    ],
)
def test_hostile_system_texts_take_linear_time(system: str) -> None:
    started = time.process_time()
    with suppress(RowError):
        read_row({**ROW, "system": system}, "toolace")
    assert time.process_time() - started < 5


def test_only_the_sentences_that_describe_the_encoding_leave_the_system_text() -> None:
    tools = json.dumps(TOOLS)
    for system, kept in [
        (f"Here is a list of functions: {tools}", "Here is a list of functions:"),
        (
            f"Go. {tools} Should you decide to call, tell me.",
            "Go.\nShould you decide to call, tell me.",
        ),
        ("Put it in the format of [func1(a=b)]", "Put it in the format of [func1(a=b)]"),
    ]:
        assert read_row({**ROW, "system": system}, "toolace").messages[0].content == kept


def test_a_result_turn_of_another_shape_stays_one_message_as_it_is() -> None:
    for value in (
        '[{"name": "f", "results": 1, "cost": 2}, {"name": "f", "results": 2}]',
        '[{"name": "f", "results": null}]',
        '[{"name": "", "results": 1}]',
        "[]",
        '{"name": "f", "results": 1}',
        "[1",
    ):
        turns = [turn("user", "?"), turn("assistant", "[f(), f()]"), turn("tool", value)]
        trace = read_row({"conversations": turns}, "toolace")
        assert trace.messages[2:] == (Message("tool", value, name="f"),)
