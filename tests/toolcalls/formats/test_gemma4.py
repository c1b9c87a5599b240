from __future__ import annotations

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
    only,
    statuses,
    stock_completion,
    values_of,
)
from tooltune.toolcalls import parse_turn

QUOTE = '<|"|>'
MARKERS = [
    "<|tool_call>",
    "<tool_call|>",
    "<|channel>thought",
    "<channel|>",
    "<|turn>model\n",
    "call:f{",
    QUOTE,
    "{a:",
    "}",
    "[1,",
    "\\",
]
# What the grammar can say: no quote marker in a text, no structure in a bare key.
strings = families.strings.map(lambda text: text.replace("<|", "<"))
strings |= st.sampled_from([m for m in MARKERS if m != QUOTE])
keys = st.from_regex(r"[A-Za-z_$./é-][A-Za-z0-9_ $./é<>\"'()-]{0,8}", fullmatch=True).map(str.strip)
calls = calls_with(values_of(strings, keys))
GOOD = '<|tool_call>call:f{a:<|"|>x<|"|>}<tool_call|>'
TEMPLATES = ["gemma4_v2", "gemma4_v3", "gemma4", "gemma4_v4", "gemma4_v5", "diffusion_gemma"]


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=25, deadline=None)
@given(calls=calls)
def test_what_the_stock_template_writes_parses_back(template, calls):
    text = stock_completion(template, assistant(calls))
    check_round_trip(parse_turn(text, "gemma4"), text, calls)


@pytest.mark.parametrize("template", ["gemma4_v5", "diffusion_gemma"])
def test_reasoning_that_the_stock_template_writes_is_kept_apart(template):
    message = assistant([("f", {"a": 1})], reasoning=f"Shall I {GOOD}?")
    turn = parse_turn(stock_completion(template, message), "gemma4")
    assert (turn.reasoning, turn.content) == (f"Shall I {GOOD}?", "")
    assert [(c.name, c.arguments, c.status) for c in turn.calls] == [("f", {"a": 1}, "ok")]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*MARKERS, GOOD]) | families.words, max_size=12).map("".join))
@example("<|tool_call>call:")
@example("<|tool_call>{")
def test_no_text_makes_it_raise(text):
    check_any_text(text, "gemma4")


def test_every_truncation_of_a_call_is_unclosed():
    text = '<|tool_call>call:f.g-h{a:<|"|>x, y<|"|>,b:[{c d:-1.5,e:true},[]]}<tool_call|>'
    for cut in range(len("<|tool_call>"), len(text)):
        assert statuses(text[:cut], "gemma4") == ["unclosed"], text[:cut]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("call:{a:1}", "missing_name"),
        ("call: {a:1}", "missing_name"),
        ("call:f{a:nan}", "invalid_json"),
        ("call:f{a:-inf}", "invalid_json"),
        ("call:f{a:1e999}", "invalid_json"),
        ("call:f{a:1,a:2}", "invalid_json"),
        ("call:f{a:{b:1,b:2}}", "invalid_json"),
        ("call:f{a:Paris}", "invalid_json"),
        ("call:f{a:Paris, France}", "invalid_json"),
        ("call:f{a Paris}", "invalid_json"),
        ("call:f{a:01}", "invalid_json"),
        ("call:f{a:" + "9" * 5000 + "}", "invalid_json"),
        ("call:f{a:" + "[" * 5000 + "]" * 5000 + "}", "invalid_json"),
        ('call:f{a:<|"|>x}', "invalid_json"),
        ("call:f{a:1", "invalid_json"),
        ("call:f{a:1}}", "malformed"),
        ("call:f", "malformed"),
        ("f(a=1)", "malformed"),
        ('{"name": "f", "arguments": {}}', "malformed"),
        ("", "malformed"),
    ],
)
def test_each_broken_call_is_one_attempt_with_its_status(body, status):
    call = only(f"<|tool_call>{body}<tool_call|>", "gemma4")
    assert call.status == status
    assert call.raw == f"<|tool_call>{body}<tool_call|>"
    assert call.arguments_valid_json is (status == "missing_name")


def test_numbers_words_and_nesting_keep_their_types():
    call = only(
        "<|tool_call>call:f{a:5,b:-1e-07,c:[true,false,null,None,True],d:{},e:[],f:{x:{y:[[1]]}}}"
        "<tool_call|>",
        "gemma4",
    )
    assert call.arguments == {
        "a": 5,
        "b": -1e-07,
        "c": [True, False, None, None, True],
        "d": {},
        "e": [],
        "f": {"x": {"y": [[1]]}},
    }


def test_calls_around_a_broken_one_and_text_around_calls_are_kept():
    text = f"So: {GOOD}<|tool_call>call:g{{b:{GOOD} done<turn|>\n"
    turn = parse_turn(text, "gemma4")
    assert [c.status for c in turn.calls] == ["ok", "unclosed", "ok"]
    assert turn.content == "So:  done"


def test_an_unclosed_text_does_not_swallow_the_next_call():
    assert statuses(f'<|tool_call>call:f{{a:<|"|>x{GOOD}', "gemma4") == ["unclosed", "ok"]


def test_a_whole_call_without_its_closer_is_unclosed_but_readable():
    call = only("<|tool_call>call:f{a:1}<turn|>", "gemma4")
    assert (call.name, call.arguments, call.status) == ("f", {"a": 1}, "unclosed")


def test_a_call_inside_the_thought_channel_is_prose():
    turn = parse_turn(f"<|channel>thought\nShall I {GOOD}?\n<channel|>No.<turn|>", "gemma4")
    assert (turn.reasoning, turn.content, turn.calls) == (f"Shall I {GOOD}?", "No.", ())
    turn = parse_turn(f"Shall I {GOOD}?\n<channel|>{GOOD}<|tool_response>", "gemma4")
    assert (turn.reasoning, turn.content) == (f"Shall I {GOOD}?", "")
    assert [c.status for c in turn.calls] == ["ok"]
    assert parse_turn(f"<|channel>thought\n{GOOD}", "gemma4").calls == ()


def test_an_unknown_tool_has_its_own_status_and_data_is_no_call():
    assert statuses(GOOD.replace("call:f", "call:h") + GOOD, "gemma4", TOOLS) == [
        "unknown_tool",
        "ok",
    ]
    assert parse_turn('{"name":"Alice","age":3}', "gemma4").calls == ()


def test_it_is_detected_by_its_marker():
    assert parse_turn(f"So: {GOOD}").format == "gemma4"


def test_adversarial_text_takes_linear_time():
    units = ["<|tool_call>", "<|tool_call>call:f{", "<|tool_call>call:f{a:" + QUOTE, QUOTE]
    units += ["{a:", "[", "a:1,", "a", " ", "1", "<|channel>thought", "<channel|>", "<", "call:"]
    check_linear("gemma4", ["", "<|tool_call>call:f{a:", "<|tool_call>"], units)
