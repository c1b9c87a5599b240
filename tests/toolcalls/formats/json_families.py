"""What every family that writes its calls in JSON must do with the usual and the broken.

The ways of writing are in `json_ways.py`; what is a family's own is in its test file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.families import Call
from tooltune.toolcalls import ParsedTurn, parse_turn
from tooltune.toolcalls.json_text import json_equal


@dataclass(frozen=True)
class Written:
    """A way of writing calls.

    `write` writes calls as the stock template or the documented grammar does, their stop included.
    `opening(name)` is what stands before the arguments of a single call (`None`: without a name)
    and `closing` what stands behind them. `think` is None where reasoning is no text between tags.
    `bare`: no marker tells a call, so that JSON which is none is text and not an attempt.
    """

    format: str
    write: Callable[[Sequence[Call], bool], str]
    opening: Callable[[str | None], str]
    closing: str
    markers: tuple[str, ...]
    think: tuple[str, str] | None = ("<think>", "</think>")
    stop: str = ""
    bare: bool = False
    before: str = "Let me look.\n"  # a text beside calls, as it is written

    def one(self, arguments: str, name: str | None = "f") -> str:
        return self.opening(name) + arguments + self.closing

    def parse(self, text: str, tools: Any = None) -> ParsedTurn:
        return parse_turn(text, self.format, tools)

    def statuses(self, text: str) -> list[str]:
        return [call.status for call in self.parse(text).calls]


def strings_with(markers: Sequence[str]) -> st.SearchStrategy[Any]:
    """Arguments whose strings hold a family's own markers, and the other families'."""
    pieces = st.sampled_from([*markers, *families.MARKERS]) | families.words
    texts = st.lists(pieces, max_size=3).map("".join)
    leaves = families.scalars | texts
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    )
    return st.dictionaries(texts, values, max_size=3)


def calls_with(
    markers: Sequence[str], names: st.SearchStrategy[str] = families.names
) -> st.SearchStrategy[list[Call]]:
    return st.lists(st.tuples(names, strings_with(markers)), min_size=1, max_size=3)


def check_read_back(family: Written, text: str, calls: Sequence[Call]) -> None:
    turn = family.parse(text)
    assert [call.status for call in turn.calls] == ["ok"] * len(calls), text
    assert [call.name for call in turn.calls] == [name for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)
        assert call.raw == text[slice(*call.span)]
    assert turn.content == ""
    assert turn.reasoning is None


def _says(turn: ParsedTurn) -> list[tuple[str | None, Any, str]]:
    return [(call.name, call.arguments, call.status) for call in turn.calls]


OK = [("f", {"x": 1}, "ok")]


def trap_closers_and_braces_in_strings(family: Written) -> None:
    for marker in (*family.markers, *(family.think or ()), family.closing, "}]}", '"'):
        value = f"{marker} }}{{ ] {marker}"
        (call,) = family.parse(family.one(json.dumps({"x": value}, ensure_ascii=False))).calls
        assert (call.status, call.arguments) == ("ok", {"x": value}), marker


def trap_nested_objects_and_empty_arguments(family: Written) -> None:
    for arguments in ({}, {"x": {"y": [{"z": {}}, []], "w": None}}):
        (call,) = family.parse(family.one(json.dumps(arguments))).calls
        assert (call.status, call.arguments) == ("ok", arguments)


def trap_text_around_and_equal_calls(family: Written) -> None:
    text = family.before + family.write([("f", {"x": 1})] * 2, False)
    turn = family.parse(text)
    assert (turn.content, _says(turn)) == ("Let me look.", OK * 2)


def trap_one_closed_and_one_unclosed(family: Written) -> None:
    text = f'{family.one(json.dumps({"x": 1}))}\n{family.opening("g")}{{"x": "a'
    assert family.statuses(text) == ["ok", "unclosed"]


def trap_truncated(family: Written) -> None:
    arguments = json.dumps({"x": [1, -2.5e3, True, {"y": "a\\nb \u00fc"}], "z": None})
    for cut in range(1, len(arguments)):
        turn = family.parse(family.opening("f") + arguments[:cut] + family.stop)
        assert [call.status for call in turn.calls] == ["unclosed"], arguments[:cut]
        assert turn.content == ""


def trap_invalid_json(family: Written) -> None:
    for broken in ('{"x": oops}', "{'x': 1}", '{"x": 1,}', '{"x": 01}', '{"x": "a\nb"}'):
        assert family.statuses(family.one(broken)) == ["invalid_json"], broken


def trap_not_finite_and_not_unique(family: Written) -> None:
    for broken in ("NaN", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', '1, "x": 2'):
        assert family.statuses(family.one(f'{{"x": {broken}}}')) == ["invalid_json"], broken


def trap_a_broken_call_does_not_take_the_next(family: Written) -> None:
    text = f"{family.one('{oops}')}\n{family.one(json.dumps({'x': 1}))}"
    assert family.statuses(text) == ["invalid_json", "ok"]


def trap_string_arguments(family: Written) -> None:
    assert _says(family.parse(family.one(json.dumps(json.dumps({"x": 1}))))) == OK
    (call,) = family.parse(family.one(json.dumps("{oops"))).calls
    assert (call.status, call.arguments_valid_json) == ("invalid_json", False)


def trap_arguments_that_are_no_object(family: Written) -> None:
    for value in ("[1]", "null", "3"):
        expected = [] if family.bare else ["malformed"]
        assert family.statuses(family.one(value)) == expected, value


def trap_missing_name(family: Written) -> None:
    if family.bare:
        assert family.statuses(family.one('{"x": 1}', None)) == []
        return
    (call,) = family.parse(family.one('{"x": 1}', None)).calls
    assert (call.name, call.arguments, call.status) == (None, {"x": 1}, "missing_name")


def trap_unknown_tool(family: Written) -> None:
    text = family.one('{"x": 1}') + family.stop
    assert [c.status for c in family.parse(text, [{"name": "g"}]).calls] == ["unknown_tool"]
    assert [c.status for c in family.parse(text, [{"name": "f"}]).calls] == ["ok"]


def trap_calls_in_reasoning(family: Written) -> None:
    if family.think is None:
        return  # harmony's channels: see its own tests
    call, (opener, closer) = family.one('{"x": 1}'), family.think
    for text in (f"{opener}Shall I {call}?{closer}No.", f"Shall I {call}?{closer}No."):
        turn = family.parse(text + family.stop)
        assert (turn.calls, turn.content, turn.reasoning) == ((), "No.", f"Shall I {call}?")
    assert family.parse(f"{opener}Shall I {call}").calls == ()
    turn = family.parse(f"{opener}Yes.{closer}\n\n{call}{family.stop}")
    assert (turn.reasoning, turn.content, _says(turn)) == ("Yes.", "", OK)


def trap_data_is_no_call(family: Written) -> None:
    for text in ('{"name": "Alice", "age": 3}', '[{"name": "Alice", "age": 3}]', "a [1] {b}"):
        turn = family.parse(text + family.stop)
        assert (turn.calls, turn.content) == ((), text)


TRAPS = {
    name.removeprefix("trap_"): check
    for name, check in globals().copy().items()
    if name.startswith("trap_")
}


def noise(markers: Sequence[str]) -> st.SearchStrategy[str]:
    pieces = st.sampled_from([*markers, *families.MARKERS, "{", "}", "[", ": 1"]) | families.words
    return st.lists(pieces, max_size=12).map("".join)


def check_noise(family: Written, text: str) -> None:
    turn = family.parse(text)
    spans = [call.span for call in turn.calls]
    assert spans == sorted(spans)
    assert turn.format == family.format
    for call in turn.calls:
        assert call.raw == text[slice(*call.span)]
        assert call.arguments_valid_json or call.arguments == {}
        assert call.status != "ok" or call.name
