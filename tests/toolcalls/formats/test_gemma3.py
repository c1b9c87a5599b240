from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.formats.python_family import (
    TOOLS,
    calls_with,
    check_any_text,
    check_linear,
    check_round_trip,
    only,
    python_call,
    statuses,
)
from tooltune.toolcalls import parse_turn

MARKERS = ["```", "```tool_code\n", "```python\n", "```json\n", "print(", "f(a='", ")", "'", "\n"]
calls = calls_with(families.values | st.sampled_from(MARKERS))
GOOD = "```tool_code\nf(a='x')\n```"


@settings(max_examples=50)
@given(calls=calls, way=st.sampled_from(["lines", "print", "list"]))
def test_calls_in_a_tool_code_fence_parse_back(calls, way):
    written = [python_call(call) for call in calls]
    lines = [f"print({call})" for call in written] if way == "print" else written
    body = "[" + ", ".join(written) + "]" if way == "list" else "\n".join(lines)
    text = f"```tool_code\n{body}\n```<end_of_turn>\n"
    check_round_trip(parse_turn(text, "gemma3"), text, calls)


@settings(max_examples=50)
@given(calls=calls, fence=st.sampled_from(["```json\n{}\n```", "{}"]))
def test_calls_in_json_parse_back_with_and_without_a_fence(calls, fence):
    body = "\n".join(families.dump({"name": n, "parameters": a}, False) for n, a in calls)
    text = fence.replace("{}", body) + "<end_of_turn>"
    check_round_trip(parse_turn(text, "gemma3"), text, calls)


@given(calls=calls)
def test_a_bare_list_of_calls_parses_back(calls):
    text = "[" + ", ".join(map(python_call, calls)) + "]<end_of_turn>"
    check_round_trip(parse_turn(text, "gemma3"), text, calls)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*MARKERS, GOOD]) | families.words, max_size=12).map("".join))
@example("```tool_code")
@example("```python\nf(a=1)")
def test_no_text_makes_it_raise(text):
    check_any_text(text, "gemma3")


def test_every_truncation_of_a_call_is_unclosed():
    text = "```tool_code\nprint(f(a='x, y', b=[{'c': -1.5}]))\n```"
    for cut in range(len("```tool_code\n"), len(text)):
        assert statuses(text[:cut], "gemma3") == ["unclosed"], text[:cut]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("(a=1)", "missing_name"),
        ("f(a=nan)", "invalid_json"),
        ("f(a=1, a=2)", "invalid_json"),
        ("f(a=x(1))", "invalid_json"),
        ("print(f(a=1)", "invalid_json"),
        ("f(1)", "malformed"),
        ("import os\nos.listdir()", "malformed"),
        ("", "malformed"),
    ],
)
def test_each_broken_call_is_one_attempt_with_its_status(body, status):
    text = f"```tool_code\n{body}\n```"
    assert (only(text, "gemma3").status, only(text, "gemma3").raw) == (status, text)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint('hello')\n```",
        "```python\nx = f(a=1)\n```",
        "```python\nf(a=1)\nfor i in x:\n    g()\n```",
        '```json\n{"name":"Alice","age":3}\n```',
        '{"name":"Alice","age":3}',
        "Use ``` and [f(x)].",
        "```\nls\n```",
    ],
)
def test_code_and_data_that_are_no_calls_are_text(text):
    turn = parse_turn(text, "gemma3")
    assert (turn.calls, turn.content) == ((), text)


def test_a_python_fence_of_nothing_but_calls_is_calls():
    assert statuses("```python\nf(a=1)\ng(b=2)\n```", "gemma3") == ["ok", "ok"]
    assert only("```python\nf('x')\n```", "gemma3", TOOLS).arguments == {"a": "x"}
    assert statuses("```python\nprint(sum(start=1))\n```", "gemma3", TOOLS) == []


def test_several_calls_text_around_unknown_tools_and_an_unclosed_call():
    text = f"Let me see.\n{GOOD}\nAnd:\n```tool_code\nh()\n```\n```tool_code\ng(b="
    turn = parse_turn(text, "gemma3", TOOLS)
    assert [c.status for c in turn.calls] == ["ok", "unknown_tool", "unclosed"]
    assert turn.content.split() == ["Let", "me", "see.", "And:"]


def test_a_call_inside_a_think_block_is_prose_and_fences_are_detected():
    turn = parse_turn(f"<think>Shall I {GOOD}?</think>No.", "gemma3")
    assert (turn.reasoning, turn.content, turn.calls) == (f"Shall I {GOOD}?", "No.", ())
    assert parse_turn(GOOD).format == "gemma3"


def test_adversarial_text_takes_linear_time():
    units = ["```", "```\n", "```tool_code\n", "```tool_code\nf(a='", "```python\n", "```json\n{"]
    units += ["```python\nf(a='", "print(", "print(f(", "[f(", "[f('", "f()\n", "\n", "`", '{"a":']
    check_linear("gemma3", ["", "```tool_code\n", "```python\n", "```json\n"], units)
