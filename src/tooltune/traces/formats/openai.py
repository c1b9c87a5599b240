"""OpenAI chat traces: `messages` with `tool_calls` beside the content and ids that pair results.

As the chat-completions and fine-tuning references of OpenAI describe them, in all their ages:

    {"messages": [{"role": "developer", "content": "..."},
                  {"role": "user", "content": [{"type": "text", "text": "..."}]},
                  {"role": "assistant", "content": null, "weight": 1, "tool_calls": [
                      {"id": "...", "type": "function",
                       "function": {"name": "...", "arguments": "{...}"}}]},
                  {"role": "tool", "tool_call_id": "...", "content": "..."}],
     "tools": [...], "tool_choice": "auto", "parallel_tool_calls": true}

with the older `function_call`, role `function` and `functions`, and what servers and data sets
add: reasoning under several names (`reasoning`), arguments as object or JSON text. A `refusal` is
what the assistant said. `is_error` on a tool message is ours. Refused: parts that are no text
(images, audio), and custom tools, whose calls have no arguments.
This is also the canonical form that `Trace.to_openai` writes.
"""

from __future__ import annotations

from typing import Any

from tooltune.traces.formats.shared.common import Kind, peek_turns, read_conversation
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
