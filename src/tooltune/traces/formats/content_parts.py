"""Messages whose contents are lists of typed parts: text, reasoning, calls and results.

As Vercel's AI SDK keeps them (ai-sdk.dev, "ModelMessage": `tool-call`, `tool-result`), as
OpenTelemetry logs them (semantic conventions of GenAI, `gen_ai.input.messages`: `parts` with
`tool_call`, `tool_call_response`), and as data sets and servers write them in OpenAI's style:

    {"messages": [
        {"role": "user", "content": [{"type": "text", "text": "..."}]},
        {"role": "assistant", "content": [
            {"type": "reasoning", "text": "..."},
            {"type": "text", "text": "..."},
            {"type": "tool-call", "toolCallId": "...", "toolName": "...", "input": {...}}]},
        {"role": "tool", "content": [
            {"type": "tool-result", "toolCallId": "...", "toolName": "...",
             "output": {"type": "json", "value": {...}}}]}]}

A result inside an assistant message ends it: what follows is the next assistant message. Marks
between steps (`step-start`) say nothing. Messages without such parts are read as OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats import anthropic, openai
from tooltune.traces.formats.shared.blocks import PEEK, Blocks, list_of_objects, renamed
from tooltune.traces.formats.shared.build import build_trace
from tooltune.traces.formats.shared.calls import parse_text, read_tools
from tooltune.traces.formats.shared.common import (
    find_turns,
    peek_turns,
    read_entry,
    read_weight,
    row_system,
)
from tooltune.traces.formats.shared.pairing import Entry, join_calls
from tooltune.traces.formats.shared.typed_parts import OWN_TYPES, RESULTS, add_part, read_result
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, Role, Trace


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    key, turns = find_turns(row)
    entries: list[Entry] = []
    for i, turn in enumerate(turns):
        entries += _read_turn(turn, f"{key}[{i}]")
    tools = parse_text(row.get("tools"), "tools")
    if isinstance(tools, (list, tuple)):
        names = {"inputSchema": "parameters", "input_schema": "parameters"}
        tools = [renamed(t, names) if isinstance(t, Mapping) else t for t in tools]
    entries = join_calls(row_system(row, entries) + entries)
    return build_trace(row, entries, read_tools(tools), key)


def recognise(row: Any) -> str | None:
    """A part of a type that only such lists have, or turns with `parts`."""
    key, turns = peek_turns(row)
    for i, turn in enumerate(turns[:PEEK]):
        where, parts = _parts(turn)
        for j, part in enumerate(parts[:PEEK] if isinstance(parts, (list, tuple)) else ()):
            kind = part.get("type") if isinstance(part, Mapping) else None
            if not isinstance(kind, str) or anthropic.is_own(part):
                continue
            if kind in OWN_TYPES or where == "parts":
                return f"{key}[{i}].{where}[{j}].type is {kind!r}"
    return None


def _parts(turn: Mapping[str, Any]) -> tuple[str, Any]:
    key = "parts" if turn.get("parts") is not None else "content"
    return key, turn.get(key)


def _read_turn(turn: Mapping[str, Any], where: str) -> list[Entry]:
    key, parts = _parts(turn)
    types = (
        [p.get("type") for p in parts if isinstance(p, Mapping)]
        if isinstance(parts, (list, tuple))
        else []
    )
    if key == "content" and not any(kind in OWN_TYPES for kind in types):
        return [read_entry(turn, where, openai.KINDS, "role", "content")]
    beside = [k for k in ("tool_calls", "function_call", "reasoning_content") if turn.get(k)]
    if beside:
        reason = f"{where}.{key} holds typed parts, and {beside[0]} stands beside them; keep one"
        raise RowError("conflicting_turns", reason)
    name, weight = turn.get("role"), read_weight(turn, where)
    role = openai.KINDS.get(name) if isinstance(name, str) else None
    if role is None or role == "call":
        reason = f"{where}.role is {show(name)}; write one of {', '.join(openai.KINDS)}"
        raise RowError("unknown_role", reason)
    entries: list[Entry] = []
    said = Blocks()
    for i, part in enumerate(list_of_objects(parts, f"{where}.{key}")):
        place = f"{where}.{key}[{i}]"
        if part.get("type") not in RESULTS:
            add_part(said, part, place)
            continue
        if not said.is_empty:
            entries.append(_close(said, role, where, weight))
        said = Blocks()
        entries.append(Entry(read_result(part, place, weight), place))
    if entries and said.is_empty:
        return entries
    return [*entries, _close(said, role, where, weight)]


def _close(said: Blocks, role: Role, where: str, weight: float) -> Entry:
    if role == "assistant":
        return said.entry(where, weight)
    if said.calls or said.reasoning or role == "tool" or said.is_empty:
        reason = f"{where}: a {role} message with parts that it cannot hold; correct its role"
        raise RowError("calls_outside_assistant", reason)
    return Entry(Message(role, "".join(said.text), weight=weight), where)
