"""What a trace says, written as each API writes it, is read back as the same trace."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.traces.formats.writers import WRITERS, api_traces
from tooltune.traces import Trace, detect, read_row


@pytest.mark.parametrize("name", WRITERS)
@given(trace=api_traces())
@settings(max_examples=60)
def test_a_row_of_an_api_gives_the_trace_that_it_was_written_from(name: str, trace: Trace) -> None:
    write, limit = WRITERS[name]
    trace = limit(trace)
    row = write(trace)
    read = read_row(row, name)
    assert read == trace
    assert read.content_id == trace.content_id  # the order of keys too
    assert read_row(read.to_openai(), "openai").content_id == trace.content_id
    if any(m.tool_calls for m in trace.messages):
        assert detect(row).name == name
