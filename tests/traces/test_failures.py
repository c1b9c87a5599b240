"""Calls that failed and were mended: which they are."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.traces.strategies import traces as any_traces
from tooltune.traces.failures import is_error, mended_failures
from tooltune.traces.types import Message, ToolCall, Trace


def called(name: str, result: str | None, identity: str | None = None, **arguments: object) -> list:
    """A call and, unless None, its result."""
    call = Message("assistant", tool_calls=(ToolCall(name, arguments, id=identity),))
    answer = [] if result is None else [Message("tool", result, tool_call_id=identity)]
    return [call, *answer]


def mended(*parts: list[Message]) -> tuple[int, ...]:
    messages = [Message("user", "Go."), *(message for part in parts for message in part)]
    return mended_failures(Trace(tuple(messages)))


@pytest.mark.parametrize(
    "text",
    [
        '{"error": "no such city"}',
        ' {"errors": ["a"]}',
        '{"success": false}',
        '{"ok": false, "data": 1}',
        '{"status": "Error"}',
        '{"status": "failed"}',
        '{"isError": true}',
        "Error: no such city",
        "Traceback (most recent call last):\n...",
        "ValueError: bad",
        "error: command not found",
    ],
)
def test_results_that_report_an_error_are_known(text: str) -> None:
    assert is_error(Message("tool", text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12:30",
        '{"error": null, "time": "12:30"}',
        '{"error": ""}',
        '{"success": true}',
        '{"status": "ok"}',
        '{"status": 3}',
        '{"success": 0}',
        '["error"]',
        '{"error": "unclosed',
        "Errors: 0",
        "Error-free so far",
        "No Error was found",
        "Exceptional weather",
    ],
)
def test_results_that_only_speak_of_errors_are_not(text: str) -> None:
    assert not is_error(Message("tool", text))


def test_the_datas_own_mark_counts() -> None:
    assert is_error(Message("tool", "whatever", is_error=True))


BAD, GOOD = '{"error": "no"}', '{"time": "12:30"}'


def test_a_failed_call_that_a_later_one_mends_is_found() -> None:
    assert mended(called("t", BAD, city="Rom"), called("t", GOOD, city="Rome")) == (1,)


def test_what_is_not_mended_is_left_alone() -> None:
    assert mended(called("t", BAD, city="Rom")) == ()
    assert mended(called("t", BAD, city="Rom"), called("other", GOOD, city="Rome")) == ()
    assert mended(called("t", BAD, city="Rom"), called("t", BAD, city="Rome")) == ()
    assert mended(called("t", BAD, city="Rom"), called("t", None, city="Rome")) == ()
    assert mended(called("t", GOOD, city="Rome"), called("t", BAD, city="Rom")) == ()


def test_the_same_call_again_mends_nothing_for_it_was_not_wrong() -> None:
    assert mended(called("t", BAD, city="Rome"), called("t", GOOD, city="Rome")) == ()


def test_results_of_parallel_calls_are_paired_by_id_or_in_order() -> None:
    calls = (ToolCall("t", {"city": "Rom"}, id="a"), ToolCall("u", {"x": 1}, id="b"))
    results = [Message("tool", GOOD, tool_call_id="b"), Message("tool", BAD, tool_call_id="a")]
    later = called("t", GOOD, "c", city="Rome")
    assert mended([Message("assistant", tool_calls=calls), *results], later) == (1,)
    bare = tuple(ToolCall(call.name, call.arguments) for call in calls)
    unnamed = [Message("tool", GOOD), Message("tool", BAD)]
    assert mended([Message("assistant", tool_calls=bare), *unnamed], later) == ()


@given(trace=any_traces())
def test_only_messages_with_calls_are_ever_found(trace: Trace) -> None:
    assert all(trace.messages[i].tool_calls for i in mended_failures(trace))
