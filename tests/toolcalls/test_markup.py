"""What holds for every family that marks calls up: round trips and traps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.families import tools_for
from tests.toolcalls.markup_families import (
    FAMILIES,
    Family,
    calls_for,
    looks_like_json,
)
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import parse_turn
from tooltune.toolcalls.types import ParsedTurn

TWO = [("f", {"x": "1"}), ("g", {"y": 2, "z": [True]})]
TOOLS = tools_for(TWO)

every_family = pytest.mark.parametrize("way", FAMILIES)


def read(family: Family, text: str, tools: Any = None) -> ParsedTurn:
    return parse_turn(text, family.format, tools)


def seen(turn: ParsedTurn) -> list[tuple[str | None, str]]:
    return [(call.name, call.status) for call in turn.calls]


def one(family: Family, **arguments: Any) -> str:
    """A single call of `f`, without what stands around the calls of a turn."""
    return family.write_call("f", {key: family.show(value) for key, value in arguments.items()})


# ---------------------------------------------------------------- what was written is read back


@every_family
@settings(max_examples=60)
@given(data=st.data(), thought=families.words, tail=st.booleans())
def test_calls_parse_back_whatever_their_strings_hold(way, data, thought, tail):
    family = FAMILIES[way]
    calls = data.draw(calls_for(family))
    thought = "".join(c for c in thought if c not in "<>|")
    text = thought.join(family.reasoning) + family.write(calls) + family.stop * tail
    turn = read(family, text, tools_for(calls))
    assert seen(turn) == [(name, "ok") for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)
        assert call.arguments_valid_json
        assert call.raw == text[slice(*call.span)]
    assert (turn.content, turn.reasoning) == ("", thought.strip() or None)


@every_family
@settings(max_examples=40)
@given(data=st.data())
def test_without_tools_only_strings_that_look_like_json_are_read_otherwise(way, data):
    family = FAMILIES[way]
    (name, arguments), *_ = data.draw(calls_for(family))
    (call,) = read(family, family.write([(name, arguments)])).calls
    assert call.arguments.keys() == arguments.keys()
    for key, value in arguments.items():
        if family.format == "deepseek_v3_2" or not looks_like_json(value):
            assert json_equal(call.arguments[key], value)
        else:
            assert call.arguments[key] in (value, *_values_of(value))


def _values_of(text: str) -> list[Any]:
    import json

    words = {"True": True, "False": False, "None": None}
    return [words[text.strip()]] if text.strip() in words else [json.loads(text)]


@every_family
def test_text_before_calls_is_content(way):
    family = FAMILIES[way]
    said = "Let me look: {a} <b>.".join(family.answer)
    turn = read(family, said + family.write(TWO) + family.stop, TOOLS)
    assert turn.content == "Let me look: {a} <b>."
    assert seen(turn) == [("f", "ok"), ("g", "ok")]


# ------------------------------------------------------------------------------------- traps


@every_family
def test_closers_and_braces_inside_a_string_do_not_end_the_call(way):
    family = FAMILIES[way]
    for mark in (family.value_end, family.call_end, family.opener, "</tool_call>", "}}</", "]}"):
        value = f"a {mark} b"
        text = family.write([("f", {"x": value, "y": 2})])
        (call,) = read(family, text, tools_for([("f", {"x": value, "y": 2})])).calls
        assert (call.status, call.arguments) == ("ok", {"x": value, "y": 2}), mark


@every_family
def test_white_space_at_the_edges_of_a_string_is_kept(way):
    family = FAMILIES[way]
    for value in ("", " ", "\n", "\n\n", " a ", "\na\n", "\ta"):
        (call,) = read(family, family.write([("f", {"x": value})]), TOOLS).calls
        assert call.arguments == {"x": value}


@every_family
def test_a_closed_call_is_kept_beside_an_unclosed_one(way):
    family = FAMILIES[way]
    text = family.write(TWO)
    cut = text[: text.rindex(family.value_end)]
    assert seen(read(family, cut, TOOLS)) == [("f", "ok"), ("g", "unclosed")]


@every_family
def test_an_unclosed_call_does_not_swallow_the_one_behind_it(way):
    family = FAMILIES[way]
    text = family.write(TWO)
    at = text.index(family.value_end)
    ends = ("</invoke>", "</｜DSML｜invoke>", "</tool_call>", "</atem:function_calls>")
    behind = min(text.index(end, at) + len(end) for end in ends if end in text)
    turn = read(family, text[:at] + "\n" + text[behind:], TOOLS)
    assert seen(turn) == [("f", "unclosed"), ("g", "ok")]
    assert turn.calls[0].arguments == {}
    assert turn.calls[1].arguments == {"y": 2, "z": [True]}


@every_family
def test_a_missing_closer_of_a_value_spoils_its_call_alone(way):
    family = FAMILIES[way]
    text = family.write(TWO).replace(family.value_end, "", 1)
    turn = read(family, text, TOOLS)
    assert [call.status for call in turn.calls] == ["malformed", "ok"]


@every_family
def test_every_truncation_of_calls_is_an_attempt_that_is_not_ok(way):
    family = FAMILIES[way]
    text = family.write(TWO)
    whole = [
        index
        for index in range(len(text) + 1)
        if [status for _, status in seen(read(family, text[:index], TOOLS))] == ["ok", "ok"]
    ]
    assert whole == list(range(whole[0], len(text) + 1))  # read whole from the closer on
    first = text.index(family.opener) + len(family.opener)
    for cut in range(first, whole[0]):
        statuses = [status for _, status in seen(read(family, text[:cut], TOOLS))]
        assert statuses in (["unclosed"], ["ok"], ["ok", "unclosed"]), text[:cut]


@every_family
def test_a_call_cut_off_between_parameters_has_the_whole_ones(way):
    family = FAMILIES[way]
    text = family.write(TWO[1:])
    cut = text[: text.index(family.value_end) + len(family.value_end)]
    (call,) = read(family, cut, TOOLS).calls
    assert (call.status, call.arguments, call.arguments_valid_json) == ("unclosed", {"y": 2}, True)
    (call,) = read(family, cut[:-1], TOOLS).calls
    assert (call.status, call.arguments, call.arguments_valid_json) == ("unclosed", {}, False)


@every_family
def test_a_call_inside_reasoning_is_prose(way):
    family = FAMILIES[way]
    inner = family.write(TWO[:1])
    inner = inner[inner.index(family.opener) :]  # a header would be a message of its own
    turn = read(family, f"Shall I {inner}?".join(family.reasoning) + "No.".join(family.answer))
    assert (turn.calls, turn.content) == ((), "No.")
    assert turn.reasoning is not None
    assert family.call_end in turn.reasoning


@every_family
def test_a_call_without_a_name_has_its_own_status(way):
    family = FAMILIES[way]
    (call,) = read(family, family.around([family.write_call("", {"x": family.show("1")})])).calls
    assert (call.name, call.status) == (None, "missing_name")
    assert call.arguments_valid_json


@every_family
def test_a_call_of_no_known_tool_has_its_own_status(way):
    family = FAMILIES[way]
    turn = read(family, family.write([("f", {}), ("h", {"x": [1]})]), TOOLS)
    assert seen(turn) == [("f", "ok"), ("h", "unknown_tool")]
    assert turn.calls[1].arguments == {"x": [1]}


@every_family
def test_a_parameter_given_twice_is_malformed(way):
    family = FAMILIES[way]
    text = family.write([("f", {"x": "1", "y": "1"})]).replace("y", "x")
    text = text.replace("tool_call".replace("y", "x"), "tool_call")
    (call,) = read(family, text).calls
    assert (call.status, call.arguments, call.arguments_valid_json) == ("malformed", {}, False)


@every_family
def test_text_between_the_parameters_is_malformed(way):
    family = FAMILIES[way]
    text = family.write([("f", {"x": "1"})])
    at = text.index(family.call_end)
    (call,) = read(family, f"{text[:at]}oops{text[at:]}").calls
    assert (call.name, call.status) == ("f", "malformed")


@every_family
def test_an_opener_without_a_call_is_an_attempt(way):
    family = FAMILIES[way]
    assert seen(read(family, family.opener)) == [(None, "unclosed")]
    (call,) = read(family, f"{family.opener}{{}} no call").calls
    assert call.status == "malformed"


@every_family
def test_equal_calls_are_not_merged(way):
    family = FAMILIES[way]
    assert len(read(family, family.write([TWO[0], TWO[0]])).calls) == 2


@every_family
@settings(max_examples=100)
@given(data=st.data())
def test_no_text_makes_a_parser_raise_and_every_span_is_the_raw_text(way, data):
    family = FAMILIES[way]
    marks = [*family.marks, family.opener, family.value_end, family.call_end, "\n", " to="]
    pieces = st.sampled_from([*marks, *families.MARKERS, one(family, x="1")]) | families.words
    text = data.draw(st.lists(pieces, max_size=14).map("".join))
    turn = read(family, text, TOOLS)
    spans = [call.span for call in turn.calls]
    assert spans == sorted(spans)
    for (_, end), (start, _) in pairwise(spans):
        assert end <= start
    for call in turn.calls:
        assert call.raw == text[slice(*call.span)]
        assert call.arguments_valid_json or call.arguments == {}
        assert call.status not in ("ok", "unknown_tool") or call.name
