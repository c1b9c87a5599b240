"""OpenAI chat traces: `messages` with `tool_calls` beside the content and ids that pair results.

As the fine-tuning and chat-completions references of OpenAI describe them, with what servers
and data sets add: `reasoning_content` or `reasoning`, arguments as object or JSON text,
`weight` on assistant messages, the older `function_call` and role `function`.
This is also the canonical form that `Trace.to_openai` writes.
"""

from __future__ import annotations

from typing import Any

from tooltune.traces.formats.common import Kind, peek_turns, read_conversation
from tooltune.traces.types import Trace

KINDS: dict[str, Kind] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    return read_conversation(row, KINDS, role="role", content="content")


def recognise(row: Any) -> str | None:
    """Any conversation that no other format claimed."""
    key, turns = peek_turns(row)
    return f"the turns of {key} have roles, and none holds calls alone" if turns else None
