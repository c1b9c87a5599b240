"""What only a whole set shows; with near misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.traces.lint.build import call, calls, result, says, trace, user
from tooltune.traces import Trace
from tooltune.traces.lint import SET_CHECKS, Finding, lint

WORDS = ["sun", "rain", "wind", "snow", "fog", "hail", "storm", "cloud", "heat", "frost", "dew"]


def found(traces: Sequence[Trace], check: str) -> list[Finding]:
    report = lint(traces, checks={}, set_checks={check: SET_CHECKS[check]}, examples=100)
    return [finding for item in report.codes for finding in item.examples]


def story(number: int, sentences: int = 10) -> str:
    """A text that shares few runs of three words with that of another number."""
    picks = [WORDS[(number * 7919 + k * k * (number + 3)) % len(WORDS)] for k in range(sentences)]
    return ". ".join(f"{word}{number * 31 + k}" for k, word in enumerate(picks))


def test_a_row_that_equals_an_earlier_one_is_named_with_it() -> None:
    rows = [trace(user(story(n % 3)), says(), row=n) for n in range(5)]
    one, other = found(rows, "copies")
    assert (one.code, one.row, one.message) == ("duplicate_trace", 3, "equals t.jsonl:0")
    assert (other.row, other.message) == (4, "equals t.jsonl:1")


def test_a_row_that_is_nearly_an_earlier_one_is_a_note() -> None:
    text = story(1, 60)
    rows = [
        trace(user(text), says(), row=0),
        trace(user(story(2, 60)), says(), row=1),
        trace(user(text + " please"), says(), row=2),
    ]
    (near,) = found(rows, "copies")
    assert (near.code, near.row, near.severity) == ("near_duplicate_trace", 2, "info")
    assert "t.jsonl:0" in near.message


def test_a_far_longer_or_shorter_row_is_odd() -> None:
    usual = [trace(user("x" * (300 + 7 * n)), says(), row=n) for n in range(40)]
    assert found(usual, "lengths") == []
    giant = trace(user("ü" * 60_000), says(), row=40)
    (odd,) = found([*usual, giant], "lengths")
    assert (odd.code, odd.row) == ("outlier_length", 40)
    assert "120," in odd.message, "bytes, not characters"
    dwarf = trace(user("?"), says("!"), tools=(), row=41)
    assert [f.row for f in found([*usual, dwarf], "lengths")] == [41]
    assert found([*usual[:10], giant], "lengths") == [], "ten rows show no rule"


def test_a_giant_shows_in_a_mixture_of_short_and_long_rows() -> None:
    mixed = [trace(user("x" * (10 if n % 2 else 900)), says(), row=n) for n in range(200)]
    assert found(mixed, "lengths") == []
    giant = trace(user("x" * 40_000), says(), row=200)
    assert [f.row for f in found([*mixed, giant], "lengths")] == [200]


def rounds(names: Sequence[str], tools: Sequence[str]) -> list[Trace]:
    defined = [{"name": name} for name in tools]
    return [
        trace(user(), calls(call(name)), result(name=name), says(), tools=defined, row=n)
        for n, name in enumerate(names)
    ]


def test_one_tool_that_has_most_calls_is_an_imbalance() -> None:
    tools = ["a", "b", "c", "d"]
    lopsided = rounds(["a"] * 40 + ["b", "c", "d"] * 5, tools)
    imbalance = [f for f in found(lopsided, "tool_use") if f.code == "tool_imbalance"]
    assert [f.message for f in imbalance] == ["'a' has 40 of 55 calls (4 tools)"]
    even = rounds(["a", "b", "c", "d"] * 14, tools)
    few = rounds(["a"] * 20 + ["b"], tools)
    two = rounds(["a"] * 60 + ["b"], ["a", "b"])
    for rows in (even, few, two):
        assert "tool_imbalance" not in [f.code for f in found(rows, "tool_use")]


def test_tools_that_no_row_calls_are_listed_once() -> None:
    rows = rounds(["a", "b"] * 25, ["a", "b", "c", "d"])
    (never,) = [f for f in found(rows, "tool_use") if f.code == "tools_never_called"]
    assert never.row is None
    assert never.message == "2 of 4 tools: 'c', 'd'"
    for usual in (rounds(["a", "b"] * 25, ["a", "b"]), rows[:40]):
        assert "tools_never_called" not in [f.code for f in found(usual, "tool_use")]


def test_sets_that_never_or_always_call_are_noticed() -> None:
    chat = [trace(user(), says(), tools=(), row=n) for n in range(3)]
    assert [f.code for f in found(chat, "tool_use")] == ["no_calls"]
    eager = rounds(["a"] * 60, ["a"])
    assert [f.code for f in found(eager, "tool_use")] == ["always_calls"]
    assert found([*eager, trace(user(), says(), tools=[{"name": "a"}])], "tool_use") == []
    assert found([], "tool_use") == []


def test_a_set_of_which_some_rows_reason_is_noticed_once() -> None:
    silent = [trace(user(), says(), row=n) for n in range(3)]
    thinking = trace(user(), says(reasoning="Hm."), row=3)
    assert [f.message for f in found([*silent, thinking], "reasoning")] == [
        "1 of 4 rows have reasoning"
    ]
    assert found(silent, "reasoning") == []
    assert found([thinking], "reasoning") == []


def test_rows_without_a_place_are_told_by_their_number() -> None:
    row = replace(trace(user(), says()), source=None)
    (copy,) = found([row, row], "copies")
    assert (copy.file, copy.row, copy.message) == (None, None, "equals the row 0")
