"""Safe repairs: what they mend is gone from the lint, all else is as it was."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.lint.build import TIME, WEATHER, calls, result, says, trace, user
from tests.traces.strategies import traces
from tooltune.traces import Ledger, Message, Source, Trace
from tooltune.traces.lint import lint
from tooltune.traces.lint.fix import repairs
from tooltune.traces.lint.rewrite import rewrite_traces

FIXED = {"trailing_message", "duplicate_tool"}


def fixed(*rows: Trace) -> tuple[list[Trace], Ledger]:
    ledger = Ledger()
    return list(rewrite_traces(rows, repairs(), ledger)), ledger


def test_an_end_without_an_answer_is_cut() -> None:
    talk = (user(), calls(), result(), says())
    (cut,), ledger = fixed(trace(*talk, user("Thanks"), row=4))
    assert cut.messages == talk
    (change,) = ledger.rejections
    assert (change.file, change.row) == ("t.jsonl", 4)
    assert (change.code, change.reason) == ("fixed_trailing_message", "messages[4] (user) cut")
    (cut,), ledger = fixed(trace(*talk[:3]))
    assert cut.messages == talk[:2], "results that nobody reads go too"
    assert len(ledger) == 1


def test_only_tools_that_are_alike_are_merged() -> None:
    other = {**WEATHER, "description": "another"}
    (merged,), ledger = fixed(trace(user(), says(), tools=[TIME, WEATHER, TIME, other]))
    assert [tool.function for tool in merged.tools] == [TIME, WEATHER, other]
    assert ledger.counts == {"fixed_duplicate_tool": 1}


def test_copies_go_even_those_that_a_repair_made() -> None:
    one = trace(user(), says(), row=0)
    other = trace(user(), says(), user("Thanks"), row=1)
    kept, ledger = fixed(one, other, replace(one, source=Source("t.jsonl", 2)))
    assert kept == [one]
    assert [r.row for r in ledger.rejections if r.code == "fixed_duplicate_trace"] == [1, 2]
    assert "t.jsonl:0" in ledger.rejections[-1].reason


def test_what_needs_no_repair_is_returned_as_it_is() -> None:
    row = trace(user(), calls(), result(), says())
    assert fixed(row) == ([row], Ledger())
    only = Trace((says("Hello!"), user()))
    assert fixed(only)[0] == [only], "a row without a turn to learn is left to its reader"


@st.composite
def broken(draw: st.DrawFn) -> Trace:
    """A trace that may end in the user's words and define a tool twice."""
    made = draw(traces())
    end = (Message("user", "?"),) * draw(st.integers(0, 2))
    twice = made.tools[:1] if draw(st.booleans()) else ()
    return replace(made, messages=made.messages + end, tools=made.tools + twice, id="")


@settings(max_examples=40, deadline=None)
@given(st.lists(broken(), max_size=3).map(lambda rows: rows + rows[:1]))
def test_repaired_rows_lint_without_those_findings_and_keep_the_others(rows: list[Trace]) -> None:
    mended, ledger = fixed(*rows)
    assert not FIXED & set(lint(mended, set_checks={}).counts)
    assert len({row.content_id for row in mended}) == len(mended)
    assert len(rows) - len(mended) == ledger.counts.get("fixed_duplicate_trace", 0)
    again, nothing = fixed(*mended)
    assert again == mended
    assert not len(nothing)
    for before in rows:
        end = max(i for i, m in enumerate(before.messages) if m.role == "assistant") + 1
        after = [row for row in mended if row.messages == before.messages[:end]]
        assert {t.name for t in before.tools} in [{t.name for t in row.tools} for row in after]
