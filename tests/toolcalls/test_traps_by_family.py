"""Each trap of generated text, for each way of writing calls that a family here reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolcalls.families import Call
from tests.toolcalls.way import NUMBER, Way
from tests.toolcalls.ways import WAYS
from tooltune.toolcalls import ParsedTurn
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import FORMATS
from tooltune.toolcalls.scan import CONTROL_TOKENS

TWO: list[Call] = [("first", {"x": "abc", "n": 12}), ("second", {"y": [True, {"z": None}], "w": 3})]
ONE: list[Call] = [("first", {"x": NUMBER})]
NOT_READ = ("invalid_json", "malformed")


def said(turn: ParsedTurn) -> list[tuple[str | None, Any, str]]:
    return [(call.name, call.arguments, call.status) for call in turn.calls]


def check_read_back(way: Way, calls: list[Call]) -> None:
    text = way.write(calls)
    turn = way.read(text, calls)
    assert said(turn) == [(name, arguments, "ok") for name, arguments in calls]
    assert (turn.content, turn.reasoning) == ("", None)
    assert all(call.raw == text[slice(*call.span)] for call in turn.calls)


def trap_closers_inside_a_string(way: Way) -> None:
    for mark in (*way.marks, *way.think, "</tool_call>", "</think>"):
        for value in (f"a {mark.strip()} b", f"{mark.strip()} a", f'"{mark.strip()}", '):
            check_read_back(way, [("first", {"x": value, "n": 1})])


def trap_braces_inside_a_string(way: Way) -> None:
    for value in ("}{", "a {b} [c] (d)", "}]}", ')], "x": 1', "{{", '{"name": "g"}'):
        check_read_back(way, [("first", {"x": value, "n": 1})])


def trap_nested_objects(way: Way) -> None:
    deep: Any = {"a": [{"b": {"c": [1, -2.5, True, None, {}, []]}}], "d": "e, f"}
    check_read_back(way, [("first", {"x": deep, "n": [[[]], {"k": {"l": "m"}}]})])


def trap_no_arguments(way: Way) -> None:
    check_read_back(way, [("first", {})])


def trap_several_and_equal_calls(way: Way) -> None:
    check_read_back(way, TWO)
    check_read_back(way, [TWO[0], TWO[0], TWO[1]])


def trap_text_around(way: Way) -> None:
    turn = way.read(way.before + way.write(TWO), TWO)
    assert turn.content == "Let me look."
    assert [status for *_, status in said(turn)] == ["ok", "ok"]


def trap_one_closed_and_one_unclosed(way: Way) -> None:
    text = way.write([("first", {"x": "abc"}), ("second", {"y": "defg"})])
    turn = way.read(text[: text.index("defg") + 2], TWO)
    assert said(turn)[0] == ("first", {"x": "abc"}, "ok")
    assert [status for *_, status in said(turn)] == ["ok", "unclosed"]


def trap_truncated(way: Way) -> None:
    text = way.write(TWO)
    true = [(name, arguments, "ok") for name, arguments in TWO]
    for cut in range(len(text)):
        strict = way.read(text[:cut], TWO)
        read = [call for call in said(strict) if call[2] == "ok"]
        assert read == true[: len(read)], text[:cut]
        assert len(strict.calls) <= 2
        for call in (*strict.calls, *way.read(text[:cut], TWO, mode="recover").calls):
            assert any(is_part_of(call.arguments, given) for _, given in TWO), text[:cut]


def is_part_of(value: Any, whole: Any) -> bool:
    """Whether a value is another one from which the end is missing: nothing in it is invented."""
    if isinstance(value, dict) and isinstance(whole, dict):
        return all(key in whole and is_part_of(item, whole[key]) for key, item in value.items())
    if isinstance(value, list) and isinstance(whole, list):
        return len(value) <= len(whole) and all(map(is_part_of, value, whole))
    return json_equal(value, whole)


def trap_invalid_payload(way: Way) -> None:
    (call,) = way.read(way.spoil(way.write(ONE)), ONE).calls
    assert call.status in NOT_READ
    assert (call.arguments, call.arguments_valid_json) == ({}, False)


def trap_invalid_payload_beside_a_good_one(way: Way) -> None:
    text = way.spoil(way.write(ONE)) + "\n" + way.write(TWO[1:])
    statuses = [call.status for call in way.read(text, TWO).calls]
    assert statuses[0] in NOT_READ
    assert statuses[1:] in (["ok"], [])


def trap_string_arguments(way: Way) -> None:
    """Arguments in a JSON string; only JSON has such."""
    if way.with_text is None:
        return
    (call,) = way.read(way.with_text(json.dumps(json.dumps({"x": 1})))).calls
    assert (call.arguments, call.status) == ({"x": 1}, "ok")
    (call,) = way.read(way.with_text(json.dumps("{x"))).calls
    assert (call.arguments, call.status) == ({}, "invalid_json")


def trap_numbers_that_are_not_finite(way: Way) -> None:
    for word in ("NaN", "Infinity", "-Infinity", "1e999", "nan", "float('inf')", "9" * 5000):
        (call,) = way.read(way.write(ONE).replace(str(NUMBER), word), ONE).calls
        if way.types_by_schema and call.status == "ok":
            assert call.arguments == {"x": word}  # no number, so the text that was written
        else:
            assert (call.status, call.arguments) == ("invalid_json", {}), word


def trap_duplicate_keys(way: Way) -> None:
    calls: list[Call] = [("first", {"zqone": 1, "zqtwo": 2})]
    (call,) = way.read(way.write(calls).replace("zqtwo", "zqone"), calls).calls
    assert call.status in NOT_READ
    assert call.arguments == {}


def trap_missing_name(way: Way) -> None:
    statuses = [
        s for *_, s in said(way.read(way.write([("zqname", {"x": 1})]).replace("zqname", "")))
    ]
    assert statuses in ([["missing_name"], []] if way.is_bare else [["missing_name"]])


def trap_unknown_tool(way: Way) -> None:
    text = way.write(TWO)
    statuses = [call.status for call in way.read(text, TWO[:1]).calls]
    assert statuses == ["ok", "unknown_tool"]


def trap_calls_inside_reasoning_are_prose(way: Way) -> None:
    thought = f"Shall I {way.quoted(way.write(ONE)).strip()}?"
    for text in (thought.join(way.think), thought + way.think[1]):
        if text == thought + way.think[1] and way.think[0].startswith("<|"):
            continue  # where a message has a header, only that says what it is
        turn = way.read(text + "No.".join(way.answer), ONE)
        assert (turn.calls, turn.content, turn.reasoning) == ((), "No.", thought)
    assert way.read(way.think[0] + thought, ONE).calls == ()
    turn = way.read("Yes.".join(way.think) + "\n" + way.write(ONE), ONE)
    assert (turn.content, said(turn)) == ("", [("first", {"x": NUMBER}, "ok")])


NO_CALLS = (
    '{"name": "Alice", "age": 3}',
    '[{"name": "Alice", "age": 3}]',
    '```json\n{"city": "Rome", "days": [1, 2]}\n```',
    "# Title\n\n- item `code`\n- [link](http://a.b/c?d=1)\n\n| a | b |\n|---|---|",
    "f(x) = [x, y] {z} <b>bold</b> a < b > c",
    "Use `print(x)` and `[1, 2, 3]`, e.g. [see f(x)].",
)


def trap_data_that_is_no_call(way: Way) -> None:
    for text in NO_CALLS:
        turn = way.read(text, ONE)
        assert (turn.calls, turn.content, turn.reasoning) == ((), text, None)


def trap_control_tokens_behind(way: Way) -> None:
    text = way.write(TWO)
    for token in CONTROL_TOKENS:
        for behind in (token, f"{token}\n{token}"):
            turn = way.read(text + behind, TWO)
            assert (said(turn), turn.content) == ([(*call, "ok") for call in TWO], "")


def trap_empty_text(way: Way) -> None:
    for text in ("", " \n\t", *CONTROL_TOKENS):
        turn = way.read(text, ONE)
        assert (turn.calls, turn.content, turn.reasoning) == ((), "", None)


def trap_unicode(way: Way) -> None:
    for value in ("Zürich 北京 \u2028 \u0085 \u00a0 𝄞 e\u0301 \ufeff \u200d", "\x7f", "ｆ（）"):
        check_read_back(way, [("first", {"x": value, "n": 1})])


def trap_surrogates_and_nul(way: Way) -> None:
    for sign in ("\ud800", "\udfff\ud800", "\0"):
        for text in (
            sign,
            way.write([("first", {"x": f"a{sign}b"})]),
            sign + way.write(TWO) + sign,
        ):
            way.read(text, TWO)
            way.read(text, TWO, mode="recover")


TRAPS: dict[str, Callable[[Way], None]] = {
    name.removeprefix("trap_"): check
    for name, check in globals().copy().items()
    if name.startswith("trap_")
}


def test_every_family_has_a_way_of_writing_here() -> None:
    assert {way.format for way in WAYS.values()} == set(FORMATS)


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("way", WAYS)
def test_no_family_falls_into_a_trap(way: str, trap: str) -> None:
    TRAPS[trap](WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40)
@given(data=st.data())
def test_what_a_family_writes_is_read_back_whatever_its_strings_hold(way: str, data: Any) -> None:
    written = WAYS[way]
    calls = data.draw(written.calls)
    text = written.write(calls)
    turn = written.read(text, calls)
    assert [(call.name, call.status) for call in turn.calls] == [(name, "ok") for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)
        assert call.arguments_valid_json
        assert call.raw == text[slice(*call.span)]
    assert (turn.content, turn.reasoning) == ("", None)
