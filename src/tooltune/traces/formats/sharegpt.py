"""ShareGPT traces: `conversations` of `from` and `value`, calls and results as turns of their own.

As LLaMA-Factory documents it (data/README.md, "Sharegpt Format"):

    {"conversations": [{"from": "human", "value": "..."},
                       {"from": "function_call", "value": "{\\"name\\": ..., ...}"},
                       {"from": "observation", "value": "..."},
                       {"from": "gpt", "value": "..."}],
     "system": "...", "tools": "[...]"}
"""

from __future__ import annotations

from typing import Any

from tooltune.traces.formats.shared.common import Kind, peek_turns, read_conversation
from tooltune.traces.types import Trace

KINDS: dict[str, Kind] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "function_call": "call",
    "tool_call": "call",
    "observation": "tool",
    "tool": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "function_response": "tool",
    "system": "system",
    "developer": "system",
}


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    return read_conversation(row, KINDS, role="from", content="value")


def recognise(row: Any) -> str | None:
    """Turns have `from`, and no `role`."""
    key, turns = peek_turns(row)
    for i, turn in enumerate(turns):
        if "from" in turn and "role" not in turn:
            return f"{key}[{i}] has the key 'from'"
    return None
