"""One pass over any traces: nothing raises, counts are exact, memory of findings is bounded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.lint.build import calls, says, trace, user
from tests.traces.strategies import TEXT, json_objects, json_values, traces
from tooltune.toolcalls.lint import CALL_CHECKS
from tooltune.traces import Ledger, Message, Source, Tool, ToolCall, Trace
from tooltune.traces.lint import CHECKS, CODES, SET_CHECKS, SEVERITIES, Finding, findings_of, lint

ALL = {**CHECKS, **CALL_CHECKS}
QUICK = {name: check for name, check in SET_CHECKS.items() if name != "copies"}


def wild_traces() -> st.SearchStrategy[Trace]:
    """Traces that no reader would make: any order of roles, any schema, any settings."""
    names = st.sampled_from(["f", "g", ""])
    ids = st.none() | st.sampled_from(["1", "2"])
    call = st.builds(ToolCall, names, json_objects(), ids)
    message = st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        st.none() | TEXT,
        st.lists(call, max_size=2).map(tuple),
        st.none() | TEXT,
        ids,
        st.none() | names,
        st.sampled_from([0.0, 1.0]),
    )
    keywords = ["type", "properties", "required", "enum", "pattern", "$ref", "items", "anyOf"]
    schema = st.dictionaries(st.sampled_from(keywords), json_values(), max_size=3)
    tool = st.builds(lambda name, schema: Tool({"name": name, "parameters": schema}), names, schema)
    asked = ["tool_choice", "parallel_tool_calls", "response_format"]
    wanted = json_values() | st.just({"type": "json_schema", "json_schema": {"schema": {}}})
    return st.builds(
        Trace,
        st.lists(message, max_size=5).map(tuple),
        st.lists(tool, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(asked), wanted, max_size=2),
        source=st.none() | st.builds(Source, st.just("t.jsonl"), st.integers(0, 3)),
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(traces() | wild_traces(), max_size=4))
def test_lint_takes_any_traces_and_counts_every_finding(rows: list[Trace]) -> None:
    report = lint(rows, checks=ALL, set_checks={}, examples=2)
    every = [finding for row in rows for finding in findings_of(row, ALL)]
    assert report.counts == dict(Counter(finding.code for finding in every))
    assert report.traces == len(rows)
    assert sum(report.by_severity.values()) == len(every)
    for item in report.codes:
        assert len(item.examples) == min(item.count, 2)
        assert item.rows <= item.count
    with_sets = lint(rows, checks=ALL, set_checks=QUICK)
    assert report.counts.items() <= with_sets.counts.items()
    json.dumps(with_sets.to_dict(), allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(wild_traces())
def test_every_finding_has_a_known_code_a_fix_and_a_place(row: Trace) -> None:
    for finding in findings_of(row, ALL):
        assert finding.severity == CODES[finding.code].severity
        assert finding.message
        assert finding.fix
        assert finding.turn is None or 0 <= finding.turn < len(row.messages)
        assert (finding.file, finding.row) == (
            (row.source.file, row.source.row) if row.source else (None, None)
        )


def test_findings_are_sorted_by_severity_then_by_number() -> None:
    rows = [
        trace(says("Hello!"), user(), calls(ToolCall("lost")), row=0),
        trace(user(), user(), says(), row=1),
        trace(user(), user(), user(), says(), user(), row=2),
    ]
    report = lint(rows, set_checks={})
    assert [item.code for item in report.codes] == [
        "undefined_tool",
        "repeated_role",
        "leading_assistant",
        "trailing_message",
    ]
    assert report.counts["repeated_role"] == 3
    assert report.codes[1].rows == 2
    assert report.by_severity == {"error": 1, "warning": 3, "info": 2}
    assert report.codes[1].examples[0].place == "t.jsonl:1 messages[1]"


def test_a_threshold_is_reached_by_what_is_as_bad_or_worse() -> None:
    warning = lint([trace(user(), user(), says())], set_checks={})
    reached = {level: warning.reaches(level) for level in (*SEVERITIES, "never")}
    assert reached == {"error": False, "warning": True, "info": True, "never": False}


def test_rejected_rows_are_findings_that_the_reading_of_the_traces_may_add() -> None:
    ledger = Ledger()

    def rows() -> Iterator[Trace]:
        ledger.reject("t.jsonl", 7, "orphan_tool_result", "messages[0]: no call before it")
        ledger.reject("t.jsonl", 8, "filtered", "outcome is 'failed'")
        yield trace(user(), says())

    report = lint(rows(), ledger=ledger, set_checks={})
    orphan, filtered = report.codes
    assert orphan.examples == (
        Finding(
            "orphan_tool_result",
            "error",
            "t.jsonl",
            7,
            None,
            "messages[0]: no call before it",
            orphan.examples[0].fix,
        ),
    )
    assert (filtered.code, filtered.severity) == ("filtered", "info")


def test_every_code_has_words_and_a_fix() -> None:
    for name, code in CODES.items():
        assert name == name.lower()
        assert code.severity in SEVERITIES
        assert code.meaning
        assert code.fix
