"""Anthropic Messages: requests whose contents are text or lists of typed blocks.

As Anthropic documents it (docs.claude.com, "Messages" and "Tool use"):

    {"system": "...", "tools": [{"name": ..., "description": ..., "input_schema": {...}}],
     "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
     "messages": [{"role": "user", "content": "..."},
                  {"role": "assistant", "content": [
                      {"type": "thinking", "thinking": "...", "signature": "..."},
                      {"type": "text", "text": "..."},
                      {"type": "tool_use", "id": "...", "name": "...", "input": {...}}]},
                  {"role": "user", "content": [
                      {"type": "tool_result", "tool_use_id": "...", "content": "..."},
                      {"type": "text", "text": "..."}]}]}

The results in a user message become tool messages, the text around them user messages, in the
same order. `is_error` is kept on the message. Assistant messages that follow one another are one
turn there: calls and lone thoughts are joined. Not the model's text, and left out: signatures,
citations, cache hints, thinking that the API omitted (empty, but signed). Refused: blocks of
encrypted thinking, images, and tools that the server runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.anthropic_blocks import read_turn
from tooltune.traces.formats.shared.blocks import PEEK, renamed
from tooltune.traces.formats.shared.build import build_trace
from tooltune.traces.formats.shared.calls import parse_text, read_tools
from tooltune.traces.formats.shared.choices import ANTHROPIC_CHOICES, anthropic_settings
from tooltune.traces.formats.shared.common import find_turns, peek_turns
from tooltune.traces.formats.shared.pairing import Entry, join_calls, join_thoughts
from tooltune.traces.formats.shared.parts import read_text
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, Tool, Trace


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    key, turns = find_turns(row)
    entries: list[Entry] = []
    if row.get("system"):
        system = read_text(row["system"], "system")
        entries.append(Entry(Message("system", system), "system"))
    for i, turn in enumerate(turns):
        entries += read_turn(turn, f"{key}[{i}]")
    entries = join_calls(join_thoughts(entries))
    return build_trace(row, entries, _read_tools(row), key, anthropic_settings(row))


def recognise(row: Any) -> str | None:
    """Blocks, tools or a tool choice of a form that only this API has."""
    key, turns = peek_turns(row)
    if not turns or any(t.get("tool_calls") or t.get("role") == "tool" for t in turns[:PEEK]):
        return None
    choice, tools = row.get("tool_choice"), row.get("tools")
    if isinstance(choice, Mapping) and choice.get("type") in tuple(ANTHROPIC_CHOICES):
        return f"tool_choice.type is {choice['type']!r}"
    for i, tool in enumerate(tools[:PEEK] if isinstance(tools, (list, tuple)) else ()):
        if isinstance(tool, Mapping) and "input_schema" in tool:
            return f"tools[{i}] has the key 'input_schema'"
    for i, turn in enumerate(turns[:PEEK]):
        content = turn.get("content")
        for j, block in enumerate(content[:PEEK] if isinstance(content, (list, tuple)) else ()):
            if isinstance(block, Mapping) and is_own(block):
                return f"{key}[{i}].content[{j}].type is {block['type']!r}"
    return None


def is_own(block: Mapping[str, Any]) -> bool:
    """Whether a block is of a form that no other API writes."""
    kind = block.get("type")
    if kind == "thinking":
        return isinstance(block.get("thinking"), str)
    return kind in ("tool_use", "redacted_thinking") or (
        kind == "tool_result" and "tool_use_id" in block
    )


def _read_tools(row: Mapping[str, Any]) -> tuple[Tool, ...]:
    tools = parse_text(row.get("tools"), "tools")
    if not isinstance(tools, (list, tuple)):
        return read_tools(tools)
    functions = []
    for i, tool in enumerate(tools):
        if isinstance(tool, Mapping) and tool.get("type") not in (None, "custom", "function"):
            reason = f"tools[{i}] is of type {show(tool['type'])}, no function; remove the row"
            raise RowError("unsupported_tool", reason)
        if isinstance(tool, Mapping) and tool.get("type") != "function":
            tool = {k: v for k, v in tool.items() if k not in ("type", "cache_control")}
            tool = renamed(tool, {"input_schema": "parameters"})
        functions.append(tool)
    return read_tools(functions)
