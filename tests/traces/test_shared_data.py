"""The 300 real traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tooltune.traces import check_overlap, load_traces, read_row, split_traces

pytestmark = pytest.mark.needs_data


def test_all_rows_are_accepted_with_all_their_calls(shared_data: Path) -> None:
    traces = load_traces(shared_data)
    assert (traces.rows_read, len(traces), len(traces.ledger)) == (300, 300, 0)
    assert traces.format == "sharegpt"
    calls = [[call for message in t.messages for call in message.tool_calls] for t in traces]
    assert sum(map(bool, calls)) == 153
    assert sum(map(len, calls)) == 211


def test_nothing_of_a_row_is_lost(shared_data: Path) -> None:
    rows = json.loads(shared_data.read_bytes())
    for row, trace in zip(rows, load_traces(shared_data), strict=True):
        said = [turn["value"] for turn in row["conversations"] if turn["from"] != "function_call"]
        assert [m.content for m in trace.messages if m.content is not None] == said
        called = [turn["value"] for turn in row["conversations"] if turn["from"] == "function_call"]
        assert [json.loads(text) for text in called] == [
            {"name": call.name, "arguments": call.arguments}
            for message in trace.messages
            for call in message.tool_calls
        ]
        assert [tool.function for tool in trace.tools] == json.loads(row["tools"])


def test_every_trace_is_read_back_from_its_canonical_form(shared_data: Path) -> None:
    for trace in load_traces(shared_data):
        again = read_row(trace.to_openai(), "openai")
        assert again.messages == trace.messages
        assert again.tools == trace.tools


def test_ids_are_unique_and_a_split_shares_nothing(shared_data: Path) -> None:
    traces = load_traces(shared_data)
    assert len({trace.id for trace in traces}) == 300
    train, held_out = split_traces(traces, 0.1)
    assert 28 <= len(held_out) <= 32
    check_overlap(train, held_out)
