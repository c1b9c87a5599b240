from __future__ import annotations

import json

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

MARKERS = ["<function_calls>", "</function_calls>", "f(a='", ")\n", "g(", "'", '"', "\\"]
calls = calls_with(families.values | st.sampled_from(MARKERS))
GOOD = '<function_calls>\nf(a="x")\n</function_calls>'


@settings(max_examples=50)
@given(calls=calls, write=st.sampled_from([repr, json.dumps]), end=st.sampled_from(["\n", ""]))
def test_calls_one_a_line_parse_back(calls, write, end):
    body = "\n".join(python_call(call, write) for call in calls)
    text = f"<function_calls>{end}{body}{end}</function_calls><|im_end|>"
    check_round_trip(parse_turn(text, "olmo3"), text, calls)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*MARKERS, GOOD]) | families.words, max_size=12).map("".join))
@example("<function_calls>")
def test_no_text_makes_it_raise(text):
    check_any_text(text, "olmo3")


def test_every_truncation_of_a_call_is_unclosed():
    text = '<function_calls>\nf(a="x, y", b=[{"c": -1.5}, []])\n</function_calls>'
    for cut in range(len("<function_calls>"), len(text)):
        assert statuses(text[:cut], "olmo3") == ["unclosed"], text[:cut]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("(a=1)", "missing_name"),
        ("f(a=NaN)", "invalid_json"),
        ("f(a=1, a=2)", "invalid_json"),
        ("f(a=x)", "invalid_json"),
        ("f(a=1", "invalid_json"),
        ("f(1)", "malformed"),
        ("f(a=1) because", "malformed"),
        ("none", "malformed"),
        ("<invoke name='f'></invoke>", "malformed"),
    ],
)
def test_each_broken_call_is_one_attempt_with_its_status(body, status):
    text = f"<function_calls>\n{body}\n</function_calls>"
    assert (only(text, "olmo3").status, only(text, "olmo3").raw) == (status, text)


def test_closed_broken_and_unclosed_calls_stand_side_by_side_and_text_is_kept():
    text = f"So: <function_calls>\nf(a=1)\nh()\ng(b=x(</function_calls> {GOOD}<function_calls>f(a="
    turn = parse_turn(text, "olmo3", TOOLS)
    assert [c.status for c in turn.calls] == [
        "ok",
        "unknown_tool",
        "invalid_json",
        "ok",
        "unclosed",
    ]
    assert turn.content == "So:"


def test_a_call_inside_a_think_block_is_prose():
    turn = parse_turn(f"<think>Shall I {GOOD}?</think>No.", "olmo3")
    assert (turn.reasoning, turn.content, turn.calls) == (f"Shall I {GOOD}?", "No.", ())


def test_data_is_no_call_and_positional_arguments_are_named_by_the_schema():
    assert parse_turn('{"name":"Alice","age":3}', "olmo3").calls == ()
    text = "<function_calls>f(1, true)</function_calls>"
    assert only(text, "olmo3", TOOLS).arguments == {"a": 1, "b": True}


def test_adversarial_text_takes_linear_time():
    units = ["<function_calls>", "<function_calls>f(a='", "f(a='", "f(", "f()\n", "f(a=[", "'", "a"]
    check_linear("olmo3", ["", "<function_calls>"], units)
