"""Reading for lint: one trace at a time, every row accounted for, formats with reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.strategies import garbage_rows
from tooltune.traces import load_traces
from tooltune.traces.jsonio import RowError, check_value
from tooltune.traces.lint.rows import LintRows
from tooltune.traces.source import trace_source

OPENAI = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_formats_are_told_with_the_first_row_of_each_and_why(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", SHAREGPT, OPENAI, {"x": 1}, SHAREGPT)
    rows = LintRows(trace_source(path))
    traces = list(rows)
    assert [trace.source.row for trace in traces if trace.source] == [0, 1, 3]
    assert dict(rows.format_counts) == {"sharegpt": 2, "openai": 1}
    assert {name: found.place.row for name, found in rows.recognised.items()} == {
        "sharegpt": 0,
        "openai": 1,
    }
    assert "'from'" in rows.recognised["sharegpt"].why
    assert (rows.rows_read, rows.rows_accepted, len(rows.ledger)) == (4, 3, 1)
    assert list(rows) == traces, "a second pass reads anew"
    assert (rows.rows_read, len(rows.ledger)) == (4, 1)


def test_renamed_columns_and_a_format_that_was_asked_for_have_reasons_too(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", {"log": OPENAI["messages"], "tools": None})
    rows = LintRows(trace_source(path, columns={"messages": "log"}))
    assert len(list(rows)) == 1
    assert "messages" in rows.recognised["openai"].why
    asked = LintRows(trace_source(path, columns={"messages": "log"}, format="openai"))
    assert len(list(asked)) == 1
    assert asked.recognised["openai"].why == "as asked for"


def is_json(row: Any) -> bool:
    try:
        check_value(row)
    except RowError:
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(st.lists(garbage_rows().filter(is_json), min_size=1, max_size=4))
def test_any_rows_are_read_as_loading_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    path = write(tmp_path_factory.mktemp("rows") / "t.jsonl", OPENAI, *rows)
    read = LintRows(trace_source(path))
    found, loaded = list(read), load_traces(path)
    assert read.rows_read == read.rows_accepted + len(read.ledger) == loaded.rows_read
    assert read.ledger.rejections == loaded.ledger.rejections
    assert [trace.messages for trace in found] == [trace.messages for trace in loaded]
    assert read.format_counts == loaded.format_counts
