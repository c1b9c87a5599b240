from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.ways import WAYS
from tooltune.errors import UserError
from tooltune.toolcalls import parse_turn


def pairs(text: str, format: str | None = None, mode: str = "strict", tools=None) -> list:
    turn = parse_turn(text, format, tools, mode)  # type: ignore[arg-type]
    return [(c.name, c.arguments, c.status, c.repairs) for c in turn.calls]


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=15)
@given(data=st.data())
def test_what_strict_reads_recover_reads_alike(way, data):
    calls = data.draw(WAYS[way].calls)
    text = WAYS[way].write(calls)
    assert WAYS[way].read(text, calls, mode="recover") == WAYS[way].read(text, calls)


@pytest.mark.parametrize("way", WAYS)
def test_each_family_has_calls_that_only_miss_their_closer_read(way):
    calls = [("f", {"x": 1, "y": "a b"})]
    text = WAYS[way].write(calls)
    mended = [
        turn.calls[0]
        for cut in range(len(text))
        if WAYS[way].read(text[:cut], calls).calls
        and (turn := WAYS[way].read(text[:cut], calls, mode="recover")).calls[0].repairs
    ]
    closers = ("not_closed", "missing_closer", "other_family", "text_around")
    assert all(call.status == "ok" and set(call.repairs) <= set(closers) for call in mended)
    assert any(call.arguments == {"x": 1, "y": "a b"} for call in mended)


@pytest.mark.parametrize("way", WAYS)
def test_each_family_that_writes_json_has_its_slips_mended(way):
    if WAYS[way].with_text is None:
        return
    for arguments, repair in (('{"x": 1,}', "trailing_comma"), ('{"x": True}', "python_word")):
        text = WAYS[way].with_text(arguments)
        (call,) = WAYS[way].read(text, mode="recover").calls
        assert (call.name, call.status, call.repairs) == ("f", "ok", (repair,)), text
        assert call.arguments == {"x": 1}


@given(text=st.lists(st.sampled_from(families.MARKERS) | families.words, max_size=8).map("".join))
def test_no_text_makes_recover_raise_or_lose_an_attempt(text):
    for format in (None, "hermes", "mistral", "harmony", "llama3", "bare_json"):
        strict = parse_turn(text, format)
        recovered = parse_turn(text, format, mode="recover")
        assert len(recovered.calls) >= len(strict.calls)
        for call in recovered.calls:
            assert call.status == "ok" or not call.repairs


@pytest.mark.parametrize(
    ("text", "format", "repairs"),
    [
        ('<tool_call>\n{"name": "f", "arguments": {"x": 1}}', "hermes", ("not_closed",)),
        (
            '<tool_call>\n{"name": "f", "arguments": {"x": 1}\n</tool_call>',
            "hermes",
            ("missing_closer",),
        ),
        (
            '<tool_call>\n{"name": "f", "arguments": {"x": 1}}}\n</tool_call>',
            "hermes",
            ("text_around",),
        ),
        (
            "<tool_call>\n{'name': 'f', 'arguments': {'x': 1,}}\n</tool_call>",
            "hermes",
            ("trailing_comma", "single_quotes"),
        ),
        ('[TOOL_CALLS]f[ARGS]{"x": 1,}', "mistral", ("trailing_comma",)),
        ('[TOOL_CALLS][{"name": "f", "arguments": {"x": 1,}}]', "mistral", ("trailing_comma",)),
        (
            "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{x: 1}<|call|>",
            "harmony",
            ("unquoted_key",),
        ),
        ('{"name": "f", "arguments": {"x": 1}}', "hermes", ("other_family",)),
        (
            '<tool_call>{"name": "f", "arguments": {"x": 1}}',
            "mistral",
            ("other_family", "not_closed"),
        ),
    ],
)
def test_a_slip_of_syntax_is_mended_only_where_asked(text, format, repairs):
    assert all(status != "ok" for _, _, status, _ in pairs(text, format))
    assert pairs(text, format, "recover") == [("f", {"x": 1}, "ok", repairs)]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"x": "cut in its mid',
        '<tool_call>\n{"arguments": {"x": 1}}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": [1]}\n</tool_call>',
        "<tool_call>\nf with x of 1\n</tool_call>",
    ],
)
def test_what_can_only_be_guessed_stays_as_it_was(text):
    assert parse_turn(text, "hermes", mode="recover") == parse_turn(text, "hermes")


def test_a_mended_call_of_a_tool_that_does_not_exist_is_still_unknown():
    text = '<tool_call>\n{"name": "g", "arguments": {}}'
    tools = [{"name": "f"}]
    assert pairs(text, "hermes", "recover", tools) == [("g", {}, "unknown_tool", ("not_closed",))]


def test_calls_in_reasoning_are_not_dug_out():
    text = '<think>I could say {"name": "f", "arguments": {}}</think>No.'
    assert pairs(text, "hermes", "recover") == []


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="unknown mode 'lenient'"):
        parse_turn("", mode="lenient")  # type: ignore[arg-type]
