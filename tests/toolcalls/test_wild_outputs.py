"""Outputs as models write them when they miss the grammar, each of them misread once."""

from __future__ import annotations

from typing import Any

import pytest

from tooltune.toolcalls import parse_turn

Found = list[tuple[str | None, dict[str, Any], str]]


def found(text: str, format: str | None, mode: Any = "strict", tools: Any = None) -> Found:
    turn = parse_turn(text, format, tools, mode)
    return [(call.name, call.arguments, call.status) for call in turn.calls]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"type": "function", "name": "f", "parameters": {"n": 1', "unclosed"),
        ('{"type": "function", "name": "f", "parameters": {"s": \'a\'}}', "invalid_json"),
        ('{"type": "function", "function": {"name": "f", "parameters": {"n": 1', "unclosed"),
    ],
)
def test_a_broken_call_is_an_attempt_though_its_name_comes_second(text: str, status: str) -> None:
    assert [call[2] for call in found(text, "llama3")] == [status]


@pytest.mark.parametrize(
    "body",
    ['{"name": "f", "args": {"n": 5}}', '{"name": "f", "n": 5}', '{"name": "f", "input": 1}'],
)
def test_arguments_in_a_wrong_place_are_not_no_arguments(body: str) -> None:
    text = f"<tool_call>{body}</tool_call>"
    assert found(text, "hermes") == [("f", {}, "malformed")]
    assert found('<tool_call>{"name": "f", "id": "1"}</tool_call>', "hermes") == [("f", {}, "ok")]


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (
            '<tool_call>\n{"name":"f","arguments":{"n":5}}\n{"name":"f","arguments":{"n":6}}\n'
            "</tool_call>",
            "hermes",
        ),
        ("<|channel|>commentary to=functions.f<|message|>{'n':5}{'n':6}<|call|>", "harmony"),
        ('<|python_tag|>d = {"name": "Bob", "age": 3}\nprint(d)', "llama3"),
        ('<tool_call>f(user={"name": "Bob", "parameters": {"a": 1}})</tool_call>', "hermes"),
    ],
)
def test_recover_leaves_alone_what_is_two_calls_or_code(text: str, format: str) -> None:
    assert found(text, format, "recover") == found(text, format)
    assert all(status != "ok" for *_, status in found(text, format, "recover"))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name": "f", "arguments": {"s": "a\nb"}}', {"s": "a\nb"}),
        (
            '{"name": "f", "arguments": {"path": \'a\'\n, "force": true}}',
            {"path": "a", "force": True},
        ),
    ],
)
def test_a_broken_bare_call_does_not_end_with_its_line(text: str, arguments: Any) -> None:
    assert [status for *_, status in found(text, "bare_json")] == ["invalid_json"]
    assert found(text, "bare_json", "recover") == [("f", arguments, "ok")]
    assert parse_turn(text, "bare_json").content == ""


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n</function>\n", "qwen3_xml"),
        ("<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>5</arg_value>\n", "glm"),
    ],
)
def test_a_cut_call_is_detected_as_of_the_family_that_finds_its_name(
    text: str, format: str
) -> None:
    turn = parse_turn(text)
    assert (turn.format, turn.calls[0].name, turn.calls[0].status) == (format, "f", "unclosed")
    assert found(text, None, "recover") == [("f", {"n": 5}, "ok")]
    assert parse_turn('<tool_call>{"name": "f", "argum').format == "hermes"


def test_a_broken_call_in_open_reasoning_does_not_swallow_the_real_one() -> None:
    text = 'plan {"name": "f", "arguments": {"n": 1</think>{"name": "f", "arguments": {"n": 2}}'
    assert found(text, "llama3") == [("f", {"n": 2}, "ok")]


def test_keys_behind_the_calls_of_an_object_belong_to_it() -> None:
    text = '{"tool_calls": [{"name":"f","arguments":{"n":5}}], "thought": "a"}'
    assert found(text, "xlam") == [("f", {"n": 5}, "ok")]
    assert parse_turn(text, "xlam").content == ""


def test_python_lists_and_dictionaries_in_xml_are_read_where_the_schema_wants_them() -> None:
    tool = {
        "name": "f",
        "parameters": {
            "properties": {
                "list": {"type": "array"},
                "map": {"type": "object"},
                "text": {"type": "string"},
            }
        },
    }
    values = {"list": "['a', 'b']", "map": "{'k': True}", "text": "['a']"}
    body = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    text = f"<tool_call>\n<function=f>\n{body}</function>\n</tool_call>"
    assert found(text, "qwen3_xml", tools=[tool]) == [
        ("f", {"list": ["a", "b"], "map": {"k": True}, "text": "['a']"}, "ok")
    ]
