from __future__ import annotations

import json
from typing import Any

from tooltune.traces import Message, ToolCall, Trace, read_row


def call(name: str, **arguments: Any) -> dict[str, str]:
    return {"from": "function_call", "value": json.dumps({"name": name, "arguments": arguments})}


def turn(role: str, value: Any) -> dict[str, Any]:
    return {"from": role, "value": value}


def read(*turns: dict[str, Any], **row: Any) -> Trace:
    return read_row({"conversations": list(turns), **row}, "sharegpt")


def test_a_call_its_result_and_the_answer_are_read() -> None:
    trace = read(
        turn("human", "Weather?"),
        call("weather", city="Zürich", days=2),
        turn("observation", '{"sky": "blue"}'),
        turn("gpt", "Blue."),
        tools='[{"name": "weather", "parameters": {"type": "object"}}]',
    )
    assert trace.messages == (
        Message("user", "Weather?"),
        Message("assistant", tool_calls=(ToolCall("weather", {"city": "Zürich", "days": 2}),)),
        Message("tool", '{"sky": "blue"}', name="weather"),
        Message("assistant", "Blue."),
    )
    assert [tool.name for tool in trace.tools] == ["weather"]
    assert trace.turns == (1, 3)


def test_consecutive_calls_are_one_message_and_results_pair_in_order() -> None:
    trace = read(
        turn("human", "Both?"),
        call("a", x=1),
        call("b", x=2),
        turn("observation", "one"),
        turn("observation", "two"),
        turn("gpt", "Done."),
    )
    assert [m.role for m in trace.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [c.name for c in trace.messages[1].tool_calls] == ["a", "b"]
    assert [(m.content, m.name) for m in trace.messages[2:4]] == [("one", "a"), ("two", "b")]


def test_separate_rounds_stay_separate() -> None:
    trace = read(
        turn("human", "Go."),
        call("a"),
        turn("observation", "one"),
        call("b"),
        turn("observation", "two"),
        turn("gpt", "Done."),
    )
    assert [[c.name for c in m.tool_calls] for m in trace.messages] == [
        [],
        ["a"],
        [],
        ["b"],
        [],
        [],
    ]
    assert trace.messages[4].name == "b"


def test_calls_attach_to_the_assistant_text_directly_before_them() -> None:
    trace = read(turn("human", "Go."), turn("gpt", "I look."), call("a"), call("b"))
    assert len(trace.messages) == 2
    assert trace.messages[1].content == "I look."
    assert [c.name for c in trace.messages[1].tool_calls] == ["a", "b"]


def test_calls_do_not_attach_to_a_text_that_a_user_answered() -> None:
    trace = read(turn("human", "Hi"), turn("gpt", "Yes?"), turn("human", "Go."), call("a"))
    assert trace.messages[1].tool_calls == ()
    assert trace.messages[3] == Message("assistant", tool_calls=(ToolCall("a"),))


def test_one_call_turn_may_hold_a_list_of_calls() -> None:
    calls = [{"name": "a", "arguments": {}}, {"name": "b", "arguments": '{"x": 1}', "id": "7"}]
    trace = read(turn("human", "Go."), turn("function_call", json.dumps(calls)))
    assert trace.messages[1].tool_calls == (ToolCall("a"), ToolCall("b", {"x": 1}, id="7"))


def test_a_list_that_answers_several_calls_stays_one_result() -> None:
    trace = read(turn("human", "Go."), call("a"), call("b"), turn("observation", [1, {"é": 2}]))
    assert trace.messages[2:] == (Message("tool", '[1, {"é": 2}]', name="a"),)


def test_results_that_are_no_text_become_json_text_in_their_own_order() -> None:
    trace = read(turn("human", "Go."), call("a"), turn("tool", {"z": True, "a": None}))
    assert trace.messages[2].content == '{"z": true, "a": null}'


def test_arguments_keep_their_order_and_their_types() -> None:
    value = '{"name": "f", "arguments": {"b": 1.0, "a": 1, "c": true, "d": null}}'
    arguments = read(turn("human", "?"), turn("function_call", value)).messages[1].tool_calls[0]
    assert json.dumps(arguments.arguments) == '{"b": 1.0, "a": 1, "c": true, "d": null}'


def test_every_synonym_of_a_role_means_the_same() -> None:
    expected = read(turn("human", "?"), call("f"), turn("observation", "1"), turn("gpt", "!"))
    for user, calls, result, answer in [
        ("user", "tool_call", "tool", "assistant"),
        ("Human", "function_call", "tool_response", "model"),
        ("user", "tool_call", "function_response", "gpt"),
    ]:
        turns = [turn(user, "?"), {**call("f"), "from": calls}, turn(result, "1")]
        assert read(*turns, turn(answer, "!")) == expected


def test_the_system_text_of_the_row_comes_first() -> None:
    turns = (turn("human", "?"), turn("gpt", "!"))
    assert read(*turns, system="Be brief.").messages[0] == Message("system", "Be brief.")
    assert read(turn("system", "Be brief."), *turns).messages[0].role == "system"
    assert len(read(turn("system", "Be brief."), *turns, system="Be brief.").messages) == 3
    assert len(read(*turns, system="").messages) == 2


def test_empty_tools_mean_none() -> None:
    turns = (turn("human", "?"), turn("gpt", "!"))
    for tools in (None, "", " ", [], "[]", "null"):
        assert read(*turns, tools=tools).tools == ()


def test_a_weight_is_kept() -> None:
    trace = read(turn("human", "?"), {**turn("gpt", "bad"), "weight": 0}, turn("gpt", "good"))
    assert [m.weight for m in trace.messages] == [1.0, 0.0, 1.0]
