"""Traces that say the same: what counts as the same, and what is done about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import traces
from tooltune.traces import Ledger, Message, Source, Tool, ToolCall, Trace
from tooltune.traces.duplicates import deduplicated, duplicate_key

CALL = ToolCall("f", {"a": 1, "b": [2]}, id="c1")
TRACE = Trace(
    (
        Message("user", "What time is it?"),
        Message("assistant", None, (CALL,), reasoning="Look it up."),
        Message("tool", "12:00", tool_call_id="c1", name="f"),
        Message("assistant", "It is noon."),
    ),
    (Tool({"name": "f", "parameters": {}}),),
)


def changed(index: int, **fields: object) -> Trace:
    messages = list(TRACE.messages)
    messages[index] = replace(messages[index], **fields)  # type: ignore[arg-type]
    return Trace(tuple(messages), TRACE.tools)


@pytest.mark.parametrize(
    "same",
    [
        changed(0, content=" what TIME\nis it? "),
        changed(1, tool_calls=(ToolCall("f", {"b": [2], "a": 1}, id="other"),)),
        changed(2, tool_call_id="other", name=None),
        changed(3, weight=0.5),
        replace(TRACE, weight=2.0, group="g"),
    ],
)
def test_what_does_not_count_leaves_the_key(same: Trace) -> None:
    assert duplicate_key(same) == duplicate_key(TRACE)


@pytest.mark.parametrize(
    "other",
    [
        changed(3, content="It is 12 o'clock."),
        changed(1, reasoning="Hm."),
        changed(1, tool_calls=(ToolCall("f", {"a": 1, "b": [3]}, id="c1"),)),
        changed(1, tool_calls=(CALL, CALL)),
        changed(0, role="system"),
        Trace(TRACE.messages, ()),
        Trace(TRACE.messages[:2], TRACE.tools),
    ],
)
def test_what_counts_changes_the_key(other: Trace) -> None:
    assert duplicate_key(other) != duplicate_key(TRACE)


def placed(found: list[Trace]) -> list[Trace]:
    return [replace(trace, source=Source("f", i)) for i, trace in enumerate(found)]


@given(found=st.lists(traces(), max_size=4), picks=st.lists(st.integers(0, 3), max_size=8))
def test_weighted_duplicates_count_as_one_and_dropped_ones_are_in_the_ledger(
    found: list[Trace], picks: list[int]
) -> None:
    rows = placed([found[pick % len(found)] for pick in picks] if found else [])
    keys = [duplicate_key(trace) for trace in rows]
    ledger = Ledger()
    weighted = deduplicated(rows, "weight", ledger)
    assert not ledger.rejections
    assert sum(trace.weight for trace in weighted) == pytest.approx(len(set(keys)))
    assert [trace.messages for trace in weighted] == [trace.messages for trace in rows]
    dropped = deduplicated(rows, "drop", ledger)
    assert [duplicate_key(trace) for trace in dropped] == list(dict.fromkeys(keys))
    assert len(dropped) + len(ledger) == len(rows)
    assert deduplicated(rows, "keep", ledger) == rows


def test_a_dropped_duplicate_names_the_row_that_stays() -> None:
    ledger = Ledger()
    first, other, again = placed([TRACE, changed(3, content="Noon."), changed(3, weight=0.5)])
    assert deduplicated([first, other, again], "drop", ledger) == [first, other]
    [rejection] = ledger.rejections
    assert (rejection.code, rejection.row) == ("duplicate", 2)
    assert "the same as f:0" in rejection.reason
