"""xLAM rows: one question, the tools, and the calls that answer it.

As the card of Salesforce/xlam-function-calling-60k describes them ("JSON Data Format for Query
and Answers"); `tools` and `answers` are JSON texts there:

    {"id": 0, "query": "...",
     "tools": "[{\\"name\\": ..., \\"parameters\\": {\\"city\\": {\\"type\\": \\"str\\"}}}]",
     "answers": "[{\\"name\\": ..., \\"arguments\\": {...}}]"}

Parameters in this flat form become a JSON schema (`schemas.flat_schema`). An empty `answers`
(the irrelevance sets in this layout) says that nothing is to be called, but not what to say
instead: such a row is rejected as `nothing_to_call`, never given an invented answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.shared.build import (
    build_trace,
    has_turns,
    require_object,
    require_text,
)
from tooltune.traces.formats.shared.calls import parse_text, read_calls, read_tools
from tooltune.traces.formats.shared.pairing import Entry
from tooltune.traces.formats.shared.schemas import normal_tools
from tooltune.traces.jsonio import RowError
from tooltune.traces.types import Message, Trace


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    row = require_object(row)
    tools = read_tools(normal_tools(row.get("tools"), "tools", flat=True))
    answers = parse_text(row.get("answers"), "answers")
    if answers is None or answers == []:
        reason = "answers is empty: nothing is to be called, and the row has no text to learn"
        raise RowError("nothing_to_call", f"{reason}; give an assistant text, or remove the row")
    calls = Message("assistant", tool_calls=read_calls(answers, "answers"))
    user = Message("user", require_text(row, "query"))
    return build_trace(row, [Entry(user, "query"), Entry(calls, "answers")], tools, "answers")


def recognise(row: Any) -> str | None:
    """A row with `query`, `tools` and `answers`, and no turns."""
    if not isinstance(row, Mapping) or has_turns(row):
        return None
    if isinstance(row.get("query"), str) and "tools" in row and "answers" in row:
        return "the row has query, tools and answers"
    return None
