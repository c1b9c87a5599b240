"""Traces: what an agent was asked, the tools it had, what it said and called."""

from tooltune.traces.formats import FORMATS, Detected, detect, read_row
from tooltune.traces.jsonio import RowError
from tooltune.traces.ledger import Ledger, Rejection
from tooltune.traces.load import Traces, load_traces, require_rows
from tooltune.traces.source import TraceSource, trace_source
from tooltune.traces.split import (
    Overlap,
    apply_split,
    check_overlap,
    overlaps,
    read_split,
    split_traces,
    write_split,
)
from tooltune.traces.types import Message, Role, Source, Tool, ToolCall, Trace

__all__ = [
    "FORMATS",
    "Detected",
    "Ledger",
    "Message",
    "Overlap",
    "Rejection",
    "Role",
    "RowError",
    "Source",
    "Tool",
    "ToolCall",
    "Trace",
    "TraceSource",
    "Traces",
    "apply_split",
    "check_overlap",
    "detect",
    "load_traces",
    "overlaps",
    "read_row",
    "read_split",
    "require_rows",
    "split_traces",
    "trace_source",
    "write_split",
]
