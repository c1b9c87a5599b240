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

MARKERS = ["<|python_start|>", "<|python_end|>", "[f(a='", "[f(", ")]", "(", "'", '"""', "\\"]
calls = calls_with(families.values | st.sampled_from(MARKERS))
GOOD = "[f(a='x')]"


@settings(max_examples=50)
@given(
    calls=calls,
    write=st.sampled_from([repr, json.dumps]),
    around=st.sampled_from([("", "<|eot_id|>"), ("<|python_start|>", "<|python_end|><|eot|>")]),
)
def test_a_list_of_calls_parses_back(calls, write, around):
    body = ", ".join(python_call(call, write) for call in calls)
    text = f"{around[0]}[{body}]{around[1]}"
    check_round_trip(parse_turn(text, "pythonic"), text, calls)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*MARKERS, GOOD]) | families.words, max_size=12).map("".join))
@example("[f(")
def test_no_text_makes_it_raise(text):
    check_any_text(text, "pythonic")


def test_every_truncation_behind_the_first_argument_s_name_is_unclosed():
    text = "[f.g(a='x, y', b=[{'c': -1.5}, (True, None)])]"
    for cut in range(len("[f.g(a="), len(text)):
        assert statuses(text[:cut], "pythonic") == ["unclosed"], text[:cut]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3]",
        "[x]",
        "[]",
        "[see f(x)]",
        "[see f(x=1)]",
        "[sin(x), cos(x)]",
        "[f(x) for x in y]",
        "[f(a=1)](https://example.org)",
        "[f()](https://example.org)",
        "as in [f()] of the text",
        "[OK(200)]",
        "so [f(",
        "[f(x",
        '[{"name": "f", "arguments": {"a": 1}}]',
        '{"name":"Alice","age":3}',
        "f(a=1)",
    ],
)
def test_brackets_that_only_resemble_calls_are_text(text):
    turn = parse_turn(text, "pythonic")
    assert (turn.calls, turn.content) == ((), text)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("[f(a=nan)]", "invalid_json"),
        ("[f(a=1e999)]", "invalid_json"),
        ("[f(a=1, a=2)]", "invalid_json"),
        ("[f(a='\\ud800')]", "invalid_json"),
        ("[f(a=x + 1)]", "invalid_json"),
        ("[f(a=" + "(" * 5000 + ")" * 5000 + ")]", "invalid_json"),
        ("[f(a='x", "unclosed"),
        ("[f(a=1) for a in b]", "malformed"),
        ("<|python_start|>import os<|python_end|>", "malformed"),
        ("<|python_start|>[(a=1)]<|python_end|>", "missing_name"),
        ("<|python_start|>[f(a=1)]", "unclosed"),
        ("<|python_start|>", "unclosed"),
    ],
)
def test_each_broken_call_is_one_attempt_with_its_status(text, status):
    assert statuses(text, "pythonic") == [status]


def test_calls_are_found_in_text_and_a_broken_one_ends_with_its_line():
    text = f"Sure: {GOOD}\n[f(a=oops(1)), g()] no\n  [g()]  \nDone {GOOD}."
    turn = parse_turn(text, "pythonic")
    assert [(c.name, c.status) for c in turn.calls] == [
        ("f", "ok"),
        ("f", "invalid_json"),
        ("g", "ok"),
        ("f", "ok"),
    ]
    assert turn.content.split() == ["Sure:", "Done", "."]


def test_known_tools_decide_where_the_text_does_not():
    assert statuses("so [f()] it", "pythonic", TOOLS) == ["ok"]
    assert only("[f(1, 'x')]", "pythonic", TOOLS).arguments == {"a": 1, "b": "x"}
    assert statuses("[f(1, 2, 3, 4)]", "pythonic", TOOLS) == ["malformed"]
    assert statuses("[h(a=1)]", "pythonic", TOOLS) == ["unknown_tool"]
    tools = [{"name": "Web Search", "parameters": {}}]
    assert only("[Web Search(q='x')]", "pythonic", tools).name == "Web Search"


def test_one_json_call_may_stand_between_llama_4_s_markers():
    call = only('<|python_start|>{"name": "f", "parameters": {"a": 1}}<|python_end|>', "pythonic")
    assert (call.name, call.arguments, call.status) == ("f", {"a": 1}, "ok")


def test_a_call_inside_a_think_block_is_prose_and_lists_are_detected():
    turn = parse_turn(f"<think>Shall I {GOOD}?</think>No.", "pythonic")
    assert (turn.reasoning, turn.content, turn.calls) == (f"Shall I {GOOD}?", "No.", ())
    assert parse_turn(GOOD).format == "pythonic"


def test_adversarial_text_takes_linear_time():
    units = ["[", "[f(", "[f('", '[f("', "[f('', '", "[f('[f(', '", "[f(a='", "[f(a=[", "[f()]"]
    units += ["[f(a='\\", "<|python_start|>", "<|python_start|>[f(a='", "[a b ", "'", "f(a=1), "]
    units += ["[f(a=", '[f("""', "[f(a=')", "[f(a={'b':", "  ", "[f(a=1\n"]
    check_linear("pythonic", ["", "<|python_start|>", "[f(a='", "[f(", "["], units)
