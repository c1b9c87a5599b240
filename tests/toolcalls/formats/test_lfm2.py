from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.formats.python_family import (
    TOOLS,
    assistant,
    calls_with,
    check_any_text,
    check_linear,
    check_round_trip,
    identifiers,
    only,
    python_call,
    statuses,
    stock_completion,
)
from tooltune.toolcalls import parse_turn
from tooltune.toolcalls.json_text import json_equal

MARKERS = ["<|tool_call_start|>", "<|tool_call_end|>", "[f(a='", "f(", ")]", "', b='", "'", "\\'"]
strings = families.strings | st.sampled_from(MARKERS)
calls = calls_with(families.values | strings)
# What LFM2.5's template, which escapes nothing, can say: no backslash, and no quote that looks
# like the end of an argument.
raw_strings = st.lists(
    st.sampled_from(["it's", "rock 'n' roll", "a 'b' c", ")]", "f(x)", '"', "\n", "é", "}{", ", "])
    | st.sampled_from(["<think>", "</think>", "{", "[1]", "="]),
    max_size=4,
).map(" ".join)
raw_calls = calls_with(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | raw_strings
    | st.lists(families.values, max_size=3)
    | st.dictionaries(families.strings, families.values, max_size=3)
)  # fmt: skip
GOOD = "<|tool_call_start|>[f(a='x')]<|tool_call_end|>"


@pytest.mark.parametrize("template", ["lfm2_v2", "lfm2_2_5_vl"])
@settings(max_examples=20, deadline=None)
@given(calls=calls)
def test_what_the_stock_template_writes_parses_back(template, calls):
    text = stock_completion(template, assistant(calls))
    check_round_trip(parse_turn(text, "lfm2"), text, calls)


@pytest.mark.parametrize("template", ["lfm2_2_5", "lfm2_2_5_v2"])
@settings(max_examples=20, deadline=None)
@given(calls=raw_calls)
@example(calls=[("f", {"a": "it's", "b": "I'd, x) say 'so' ."}), ("g", {})])
def test_what_the_template_without_escapes_writes_parses_back(template, calls):
    text = stock_completion(template, assistant(calls))
    check_round_trip(parse_turn(text, "lfm2"), text, calls)


@given(calls=calls, ascii_only=st.booleans())
def test_calls_written_as_json_between_the_markers_parse_back(calls, ascii_only):
    body = families.dump([{"name": n, "arguments": a} for n, a in calls], ascii_only)
    text = f"<|tool_call_start|>{body}<|tool_call_end|><|im_end|>"
    check_round_trip(parse_turn(text, "lfm2"), text, calls)


@given(calls=calls_with(families.values | strings))
def test_python_s_own_way_of_writing_values_parses_back_without_the_list_too(calls):
    body = "\n".join(map(python_call, calls))
    text = f"<|tool_call_start|>{body}<|tool_call_end|>"
    check_round_trip(parse_turn(text, "lfm2"), text, calls)


@pytest.mark.parametrize("template", ["lfm2_2_5_v2", "lfm2_2_5_vl"])
def test_text_and_reasoning_that_the_stock_template_writes_are_kept_apart(template):
    message = assistant([("f", {"a": 1})], "Look:", reasoning=f"Shall I {GOOD}?")
    turn = parse_turn(stock_completion(template, message), "lfm2")
    assert (turn.reasoning, turn.content) == (f"Shall I {GOOD}?", "Look:")
    assert [(c.name, c.arguments, c.status) for c in turn.calls] == [("f", {"a": 1}, "ok")]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*MARKERS, GOOD, "{"]) | families.words, max_size=12).map("".join))
@example("<|tool_call_start|>")
@example("<|tool_call_start|>[")
def test_no_text_makes_it_raise(text):
    check_any_text(text, "lfm2")


def test_every_truncation_of_a_call_is_unclosed():
    text = "<|tool_call_start|>[f.g(a='x, y', b_c=[{'d': -1.5, \"e\": True}, []])]<|tool_call_end|>"
    for cut in range(len("<|tool_call_start|>"), len(text)):
        assert statuses(text[:cut], "lfm2") == ["unclosed"], text[:cut]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[(a=1)]", "missing_name"),
        ("[f(a=nan)]", "invalid_json"),
        ("[f(a=-inf)]", "invalid_json"),
        ("[f(a=1e999)]", "invalid_json"),
        ("[f(a=1, a=2)]", "invalid_json"),
        ("[f(a={'b': 1, 'b': 2})]", "invalid_json"),
        ("[f(a={1: 2})]", "invalid_json"),
        ("[f(a=Paris)]", "invalid_json"),
        ("[f(a=g(b=1))]", "invalid_json"),
        ("[f(a=1 + 1)]", "invalid_json"),
        ("[f(a=" + "[" * 5000 + "]" * 5000 + ")]", "invalid_json"),
        ("[f(a=" + "9" * 5000 + ")]", "invalid_json"),
        ("[f(a='x)]", "invalid_json"),
        ("[f(a=1]", "invalid_json"),
        ("[f(1)]", "malformed"),
        ("[]", "malformed"),
        ("['f']", "malformed"),
        ("[f(a=1)] and so on", "malformed"),
        ("", "malformed"),
        ("I would call f.", "malformed"),
        ('[{"arguments": {}}]', "missing_name"),
        ('{"name": "f", "arguments": {"a": NaN}}', "invalid_json"),
    ],
)
def test_each_broken_call_is_one_attempt_with_its_status(body, status):
    text = f"<|tool_call_start|>{body}<|tool_call_end|>"
    assert (only(text, "lfm2").status, only(text, "lfm2").raw) == (status, text)


def test_positional_arguments_are_named_by_the_schema():
    text = "<|tool_call_start|>[f('x', [1], c=None)]<|tool_call_end|>"
    call = only(text, "lfm2", TOOLS)
    assert (call.status, call.arguments) == ("ok", {"a": "x", "b": [1], "c": None})
    for arguments, status in (
        ("1, 2, 3, 4", "malformed"),
        ("1, a=2", "invalid_json"),
        ("a=1, 2", "invalid_json"),
    ):
        text = f"<|tool_call_start|>[f({arguments})]<|tool_call_end|>"
        assert statuses(text, "lfm2", TOOLS) == [status]


def test_a_list_with_one_bad_call_keeps_those_before_it():
    text = "<|tool_call_start|>[f(a=1), g(b=oops(1))]<|tool_call_end|> then " + GOOD
    turn = parse_turn(text, "lfm2")
    assert [c.status for c in turn.calls] == ["ok", "invalid_json", "ok"]
    assert turn.content == "then"


def test_an_unclosed_call_does_not_swallow_the_one_behind_it():
    assert statuses(f"<|tool_call_start|>[f(a='x{GOOD}", "lfm2") == ["unclosed", "ok"]
    assert statuses(f"{GOOD} and <|tool_call_start|>[g(", "lfm2") == ["ok", "unclosed"]


def test_a_call_inside_a_think_block_is_prose_and_think_tags_in_a_text_are_data():
    turn = parse_turn(f"<think>Shall I {GOOD}?</think>No.<|im_end|>", "lfm2")
    assert (turn.reasoning, turn.content, turn.calls) == (f"Shall I {GOOD}?", "No.", ())
    text = "<|tool_call_start|>[f(a='<think>it is</think>')]<|tool_call_end|>"
    assert only(text, "lfm2").arguments == {"a": "<think>it is</think>"}


def test_unknown_tools_data_and_detection():
    assert statuses(GOOD.replace("[f", "[h"), "lfm2", TOOLS) == ["unknown_tool"]
    assert parse_turn('{"name":"Alice","age":3}', "lfm2").calls == ()
    assert parse_turn(GOOD).format == "lfm2"


@given(st.dictionaries(identifiers, families.strings, max_size=2))
def test_texts_written_as_json_are_read_the_same(arguments):
    body = python_call(("f", arguments), json.dumps)
    assert json_equal(
        only(f"<|tool_call_start|>[{body}]<|tool_call_end|>", "lfm2").arguments, arguments
    )


def test_adversarial_text_takes_linear_time():
    units = [
        "<|tool_call_start|>",
        "<|tool_call_start|>[f(a='",
        "<|tool_call_start|>[f(a='x'y",
        "'",
    ]
    units += ["',aaaa", "', a=", "f(a=1), ", "[", "{", "(", "\\", '"""', " ", "a", "1_", "<", "<|"]
    units += ["<|tool_call_start|>[f(a='\\", '<|tool_call_start|>{"a', "[f(", "<think>", "f(a=x,"]
    openings = ["", "<|tool_call_start|>", "<|tool_call_start|>[f(a='", "<|tool_call_start|>[f(a="]
    check_linear("lfm2", openings, units)
