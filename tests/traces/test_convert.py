"""Canonical rows: what `tooltune convert` writes reads back as the trace it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.formats.test_detection import ROWS
from tests.traces.strategies import traces
from tooltune.errors import UserError
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, load_traces, read_row
from tooltune.traces import convert as convert_module
from tooltune.traces.convert import canonical_line, write_canonical

TRACE = Trace(
    (
        Message("system", "Be brief."),
        Message("user", "Time in Zürich\u2028and Rome?"),
        Message(
            "assistant",
            tool_calls=(
                ToolCall("get_time", {"city": "Zürich", "exact": None}, id="a"),
                ToolCall("get_time", {"city": "Rome"}, id="b"),
            ),
            reasoning="Two cities.",
        ),
        Message("tool", "12:30", tool_call_id="a", name="get_time"),
        Message("tool", "", tool_call_id="b", name="get_time"),
        Message("assistant", "Half past twelve.", weight=0.5),
    ),
    (Tool({"name": "get_time", "parameters": {"type": "object", "properties": {}}}),),
    {"tool_choice": "auto", "parallel_tool_calls": True},
)


@pytest.mark.parametrize("arguments", ["object", "string"])
def test_a_line_reads_back_as_the_trace(arguments: convert_module.Arguments) -> None:
    line = canonical_line(TRACE, arguments)
    assert "\n" not in line
    back = read_row(json.loads(line))
    assert back == TRACE
    assert back.id == TRACE.id


@given(traces())
def test_any_trace_reads_back_from_both_forms(trace: Trace) -> None:
    for arguments in ("object", "string"):
        line = canonical_line(trace, arguments)  # type: ignore[arg-type]
        back = read_row(json.loads(line), "openai")
        assert (back.messages, back.tools, back.settings) == (
            trace.messages,
            trace.tools,
            trace.settings,
        )


@given(st.integers(1, 120))
def test_what_is_read_at_any_depth_can_be_written(depth: int) -> None:
    arguments = '{"a":' * depth + "1" + "}" * depth
    call = {"function": {"name": "f", "arguments": arguments}}
    row = {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}]
    }
    try:
        trace = read_row(row)
    except RowError as error:
        assert error.code == "too_deep"
        assert depth > 80
    else:
        assert read_row(json.loads(canonical_line(trace))) == trace


def test_arguments_are_text_where_openai_wants_text() -> None:
    row = json.loads(canonical_line(TRACE, "string"))
    arguments = row["messages"][2]["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"city": "Zürich", "exact": null}'


def test_a_row_that_would_read_back_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_module, "loads", lambda line: json.loads(line.replace("12", "13")))
    out = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=r"messages\[3\]\.content changes"):
        write_canonical([TRACE], out)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious")
    with pytest.raises(UserError, match="exists"):
        write_canonical([TRACE], out)
    assert out.read_text() == "precious"


def test_a_written_file_loads_with_every_row_accepted(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert write_canonical([TRACE, TRACE], out) == 2
    loaded = load_traces(out)
    assert loaded.rows_read == len(loaded) == 2
    assert loaded[0].messages == TRACE.messages


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_a_golden_row_of_every_format_becomes_an_equal_openai_row(
    name: str, row: dict[str, Any]
) -> None:
    try:
        trace = read_row(row)
    except RowError as error:
        assert error.code == "no_ground_truth"  # a BFCL question whose answers lie beside it
        return
    for arguments in ("object", "string"):
        back = read_row(json.loads(canonical_line(trace, arguments)))  # type: ignore[arg-type]
        assert (back.messages, back.tools, back.settings) == (
            trace.messages,
            trace.tools,
            trace.settings,
        )
        assert back.id == trace.id
