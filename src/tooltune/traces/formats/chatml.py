"""Chatml traces: `messages` of `role` and `content`, calls and results as turns of their own.

As ms-swift documents its agent format (AI-ModelScope/function-calling-chatml):

    {"tools": "[...]",
     "messages": [{"role": "user", "content": "..."},
                  {"role": "tool_call", "content": "{\\"name\\": ..., \\"arguments\\": ...}"},
                  {"role": "tool_response", "content": "..."},
                  {"role": "assistant", "content": "..."}]}

Everything that OpenAI messages may hold is read too, so mixed rows lose nothing.
"""

from __future__ import annotations

from typing import Any

from tooltune.traces.formats import openai
from tooltune.traces.formats.shared.common import Kind, peek_turns, read_conversation
from tooltune.traces.types import Trace

OWN_KINDS: dict[str, Kind] = {
    "tool_call": "call",
    "function_call": "call",
    "tool_response": "tool",
    "tool_result": "tool",
    "function_response": "tool",
    "observation": "tool",
    "model": "assistant",
}
"""Roles by which this format is told from OpenAI's."""

KINDS: dict[str, Kind] = {**openai.KINDS, **OWN_KINDS}


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    return read_conversation(row, KINDS, role="role", content="content")


def recognise(row: Any) -> str | None:
    """A turn's role is one of `OWN_KINDS`."""
    key, turns = peek_turns(row)
    for i, turn in enumerate(turns):
        role = turn.get("role")
        if isinstance(role, str) and role.strip().lower() in OWN_KINDS:
            return f"{key}[{i}].role is {role!r}"
    return None
