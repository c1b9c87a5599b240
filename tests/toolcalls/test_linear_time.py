"""Trap: a generation without end. Time grows with the length of the text, whatever it repeats."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.toolcalls.families import Call, tools_for
from tests.toolcalls.way import Way
from tests.toolcalls.ways import WAYS
from tooltune.toolcalls import parse_turn
from tooltune.toolcalls.parse import FORMATS

SMALL, MEGABYTE = 4_000, 1_000_000
UNNOTICED = 0.03
"""Seconds for 4 x `SMALL` characters that need no second look."""

CALLS: list[Call] = [("f", {"a": "x", "b": [1]}), ("g", {"c": 2})]
TOOLS = tools_for(CALLS)
PIECES = [
    *(
        '"',
        "'",
        "{",
        "[",
        "(",
        "[{",
        "[[]",
        "<",
        "\\",
        " ",
        "\n ",
        "</",
        "</s>",
        "```",
        "```json\n",
    ),
    *('{"', '{"a":', '{"a":[[],', '{"name":"f","arguments":{', '{"a', "f(", "[f(", "[f(a="),
    *("[f(a='", "f(a=1), ", "[f(a=[", "[f(a={'b':", "call:f{", "{a:", "a:1,", "1", "1,", "a b "),
    *("[f('[f(, '", "[f('', '", "print(", '"""', "functools[", "Action: ```json\n"),
    *('[{"name": "g", "arguments": ', '{"tool_calls": [', "to=functions.f "),
]


def units(way: Way) -> list[str]:
    """What is repeated: marks whole and cut, calls, and calls that break off anywhere."""
    one, empty = way.write(CALLS[1:]), way.write([("f", {})])
    cuts = sorted({len(one) * i // 12 for i in range(1, 12)})
    own = [one, empty, one + "x", empty + "x", *(one[:cut] for cut in cuts), one[cuts[5] :]]
    marks = [mark for mark in (*way.marks, *way.think) if mark]
    cut_marks = [mark[:-1] for mark in marks if len(mark) > 1]
    behind = [mark + sign for mark in marks for sign in ("   ", "{")]
    return list(dict.fromkeys([*own, *marks, *cut_marks, *behind, *PIECES]))


def adversarial(way: Way, size: int) -> Iterator[tuple[str, str]]:
    """(start, unit) of texts of about `size` characters, alone and inside an open call."""
    text = way.write([("f", {"x": "zq"})])
    opened = text[: text.index("zq")]
    for unit in units(way):
        for start in ("", opened):
            yield start, unit


def seconds(format: str | None, text: str, mode: str) -> float:
    started = time.process_time()
    parse_turn(text, format, TOOLS, mode)  # type: ignore[arg-type]
    return time.process_time() - started


def is_linear(format: str | None, start: str, unit: str, mode: str = "strict") -> bool:
    """Whether four times the text takes about four times the time (the best of some tries)."""

    def best(size: int, tries: int) -> float:
        text = start + unit * (size // len(unit))
        return min(seconds(format, text, mode) for _ in range(tries))

    if best(4 * SMALL, 1) < UNNOTICED:
        return True
    # A quadratic reader takes 16 times as long, and a busy machine flickers.
    return best(16 * SMALL, 2) < 8 * best(4 * SMALL, 3)


@pytest.mark.parametrize("way", WAYS)
def test_time_grows_with_the_text(way: str) -> None:
    for start, unit in adversarial(WAYS[way], SMALL):
        assert is_linear(WAYS[way].format, start, unit), (start, unit)


def test_time_to_find_the_family_grows_with_the_text() -> None:
    for way in WAYS.values():
        for unit in (way.write(CALLS), way.marks[0]):
            assert is_linear(None, "", unit, "recover"), unit


def test_a_reader_that_looks_twice_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def looks_twice(text: str, schemas: object) -> object:
        for pos in range(0, len(text), 2):
            text[pos:].count("ab")
        return FORMATS["bare_json"].parse("", {})

    slow = FORMATS["hermes"]._replace(parse=looks_twice)  # type: ignore[arg-type]
    monkeypatch.setitem(FORMATS, "hermes", slow)
    assert not is_linear("hermes", "", "ab")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_megabyte_takes_about_a_second_at_most(way: str) -> None:
    """The three texts that take longest when they are short, at full length."""

    def took(start: str, unit: str, size: int) -> float:
        text = start + unit * (size // len(unit))
        return min(seconds(WAYS[way].format, text, "strict") for _ in range(2))

    texts = sorted(adversarial(WAYS[way], SMALL), key=lambda it: -took(*it, SMALL))
    for start, unit in texts[:3]:
        # Twice what is asked for on an idle machine: the cores of a busy one are slower.
        assert took(start, unit, MEGABYTE) < 2.0, (start, unit)
