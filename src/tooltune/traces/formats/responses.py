"""OpenAI Responses: a request's `input` items, followed by the `output` items of its response.

As OpenAI documents it (platform.openai.com/docs/api-reference/responses):

    {"instructions": "...", "tools": [{"type": "function", "name": ..., "parameters": {...}}],
     "input": [{"role": "user", "content": [{"type": "input_text", "text": "..."}]},
               {"type": "reasoning", "summary": [{"type": "summary_text", "text": "..."}]},
               {"type": "function_call", "call_id": "...", "name": "...", "arguments": "{...}"},
               {"type": "function_call_output", "call_id": "...", "output": "..."}],
     "output": [{"type": "message", "role": "assistant",
                 "content": [{"type": "output_text", "text": "..."}]}]}

`input` may be one text. Items that follow one another make one assistant message as long as they
come in the order reasoning, text, calls. Reasoning is the `content` of its item, else its summary
(parts a blank line apart); an item that has neither says nothing that can be read, whether or not
it is encrypted. Refused: items of tools that the server runs, items that were cut off, and rows
whose history stands elsewhere (`previous_response_id`, `conversation`, `prompt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.shared.blocks import PEEK, list_of_objects, make_call
from tooltune.traces.formats.shared.build import build_trace, require_object
from tooltune.traces.formats.shared.calls import read_label, read_tools
from tooltune.traces.formats.shared.choices import responses_settings
from tooltune.traces.formats.shared.common import is_answered, read_weight
from tooltune.traces.formats.shared.pairing import Entry, join_calls, join_thoughts
from tooltune.traces.formats.shared.parts import read_text
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, Role, Trace

ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
ITEM_TYPES = ("message", "reasoning", "function_call", "function_call_output")
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    row = require_object(row)
    for key in _ELSEWHERE:
        if row.get(key):
            reason = f"{key} is {show(row[key], 30)}: the row lacks what came before; write it out"
            raise RowError("history_elsewhere", reason)
    entries: list[Entry] = []
    for key, role in (("instructions", "system"), ("input", "user"), ("output", "assistant")):
        items = row.get(key)
        if isinstance(items, str):
            if items or key == "input":
                entries.append(Entry(Message(ROLES[role], items), key))
        elif items is not None:
            entries += _read_items(items, key)
    entries = join_calls(join_thoughts(entries))
    tools = read_tools(row.get("tools"))
    return build_trace(row, entries, tools, "input and output", responses_settings(row))


def recognise(row: Any) -> str | None:
    """`input` or `output` is a list with an item of a type, or a part of a type, of this API."""
    if is_answered(row):
        return None
    for key in ("input", "output"):
        items = row.get(key) if isinstance(row, Mapping) else None
        items = items[:PEEK] if isinstance(items, (list, tuple)) else ()
        for i, item in enumerate(items):
            if not isinstance(item, Mapping):
                return None
            if item.get("type") in ITEM_TYPES:
                return f"{key}[{i}].type is {item['type']!r}"
            content = item.get("content")
            part = content[0] if isinstance(content, (list, tuple)) and content else None
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind in ("input_text", "output_text"):
                return f"{key}[{i}].content[0].type is {kind!r}"
    return None


def _read_items(items: Any, key: str) -> list[Entry]:
    entries = []
    for i, item in enumerate(list_of_objects(items, key)):
        message = _read_item(item, f"{key}[{i}]")
        if message is not None:
            is_call = bool(message.tool_calls)
            entries.append(Entry(message, f"{key}[{i}]", is_call=is_call))
    return entries


def _read_item(item: Mapping[str, Any], where: str) -> Message | None:
    if item.get("status") == "incomplete":
        raise RowError("incomplete_item", f"{where} was cut off; remove the row or complete it")
    weight = read_weight(item, where)
    match item.get("type"):
        case "message" | None:
            return _read_message(item, where, weight)
        case "reasoning":
            thought = _read_reasoning(item, where)
            if thought is None:
                return None
            return Message("assistant", reasoning=thought, weight=weight)
        case "function_call":
            call = make_call(item, where, id="call_id", arguments="arguments")
            return Message("assistant", tool_calls=(call,), weight=weight)
        case "function_call_output":
            call_id = read_label(item.get("call_id"), f"{where}.call_id")
            text = read_text(item.get("output"), f"{where}.output")
            return Message("tool", text, tool_call_id=call_id, weight=weight)
        case kind:
            reason = (
                f"{where} is of type {show(kind, 30)}; this format reads {', '.join(ITEM_TYPES)}"
            )
            raise RowError("unsupported_item", f"{reason}: remove the row")


def _read_message(item: Mapping[str, Any], where: str, weight: float) -> Message:
    name = item.get("role")
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        reason = f"{where}.role is {show(name)}; write one of {', '.join(ROLES)}"
        raise RowError("unknown_role", reason)
    return Message(role, read_text(item.get("content"), f"{where}.content"), weight=weight)


def _read_reasoning(item: Mapping[str, Any], where: str) -> str | None:
    for key, kind, between in (
        ("content", "reasoning_text", ""),
        ("summary", "summary_text", "\n\n"),
    ):
        parts = list_of_objects(item.get(key) or [], f"{where}.{key}")
        for i, part in enumerate(parts):
            if part.get("type") not in (kind, "text") or not isinstance(part.get("text"), str):
                reason = f"{where}.{key}[{i}] is {show(part)}; write {kind} with a text"
                raise RowError("unknown_reasoning", reason)
        if parts:
            return between.join(part["text"] for part in parts)
    return None
