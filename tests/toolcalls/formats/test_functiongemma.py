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
    statuses,
    values_of,
)
from tests.toolcalls.python_ways import gemma_value
from tooltune.toolcalls import parse_turn

ESCAPE = "<escape>"
MARKERS = ["<start_function_call>", "<end_function_call>", "<escape>", "call:f{", "}", "{a:", "["]
strings = families.strings | st.sampled_from([m for m in MARKERS if m != "<escape>"])
keys = st.from_regex(r"[A-Za-z_$][A-Za-z0-9_ $.-]{0,8}", fullmatch=True).map(str.strip)
calls = calls_with(values_of(strings, keys))
GOOD = "<start_function_call>call:f{a:<escape>x<escape>}<end_function_call>"


@given(calls=calls)
def test_calls_written_by_the_documented_grammar_parse_back(calls):
    text = "".join(
        f"<start_function_call>call:{name}{gemma_value(arguments, '<escape>')}<end_function_call>"
        for name, arguments in calls
    )
    text += "<start_function_response>"
    check_round_trip(parse_turn(text, "functiongemma"), text, calls)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*MARKERS, GOOD]) | families.words, max_size=12).map("".join))
@example("<start_function_call>call:f{a:<escape>")
def test_no_text_makes_it_raise(text):
    check_any_text(text, "functiongemma")


def test_every_truncation_of_a_call_is_unclosed():
    text = "<start_function_call>call:f{a:<escape>x<escape>,b:[1.5,{c:null}]}<end_function_call>"
    for cut in range(len("<start_function_call>"), len(text)):
        assert statuses(text[:cut], "functiongemma") == ["unclosed"], text[:cut]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("call:{a:1}", "missing_name"),
        ("call:f{a:nan}", "invalid_json"),
        ("call:f{a:1,a:2}", "invalid_json"),
        ('call:f{a:"x"}', "invalid_json"),
        ("call:f{a:<escape>x}", "invalid_json"),
        ("call:f{a:1} and", "malformed"),
        ("f(a=1)", "malformed"),
    ],
)
def test_each_broken_call_is_one_attempt_with_its_status(body, status):
    text = f"<start_function_call>{body}<end_function_call>"
    assert (only(text, "functiongemma").status, only(text, "functiongemma").raw) == (status, text)


def test_several_calls_text_around_and_unknown_tools():
    text = f"Let me see. {GOOD}{GOOD.replace('call:f', 'call:h')}<start_function_call>call:g{{"
    turn = parse_turn(text, "functiongemma", TOOLS)
    assert [c.status for c in turn.calls] == ["ok", "unknown_tool", "unclosed"]
    assert turn.content == "Let me see."


def test_a_call_inside_a_think_block_is_prose():
    turn = parse_turn(f"<think>Shall I {GOOD}?</think>{GOOD}<end_of_turn>", "functiongemma")
    assert (turn.reasoning, turn.content, len(turn.calls)) == (f"Shall I {GOOD}?", "", 1)


def test_data_is_no_call_and_calls_are_detected():
    assert parse_turn('{"name":"Alice","age":3}', "functiongemma").calls == ()
    assert parse_turn(GOOD).format == "functiongemma"


def test_adversarial_text_takes_linear_time():
    units = ["<start_function_call>", "<start_function_call>call:f{a:<escape>", "<escape>", "{a:"]
    units += ["a:1,", "[", "<start_function_call>call:f{a:", "<", "a"]
    check_linear("functiongemma", ["", "<start_function_call>call:f{a:"], units)
