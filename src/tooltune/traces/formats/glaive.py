"""Glaive rows: a conversation as one text, and the tools in the system text.

As the card of glaiveai/glaive-function-calling gives the markers and the rows of
glaive-function-calling-v2 use them:

    {"system": "SYSTEM: You are ... Use them if required -\\n{...}\\n\\n{...}",
     "chat": "USER: ...\\n\\n\\nASSISTANT: <functioncall> {\\"name\\": ..., \\"arguments\\":
              '{...}'} <|endoftext|>\\n\\n\\nFUNCTION RESPONSE: {...}\\n\\n\\n
              ASSISTANT: ... <|endoftext|>"}

A marker counts at the start of a line only. Texts lose the white space around them; the JSON of
the tools leaves the system text (and the dash before it), what remains is the system message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.glaive_call import read_call, unescape_quotes
from tooltune.traces.formats.shared.build import (
    build_trace,
    has_turns,
    require_object,
    require_text,
)
from tooltune.traces.formats.shared.calls import read_tools
from tooltune.traces.formats.shared.embedded import TOOL_OBJECT, cut_tools
from tooltune.traces.formats.shared.pairing import Entry
from tooltune.traces.formats.shared.schemas import normal_tools
from tooltune.traces.jsonio import RowError, show, skip_space
from tooltune.traces.types import Message, Role, Tool, ToolCall, Trace

_MARKER = re.compile(r"^[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE):", re.MULTILINE)
_ROLES: dict[str, Role] = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_CALL = "<functioncall>"
_CLOSE = "</functioncall>"
_STOP = "<|endoftext|>"
_LOOK_AT = 4_000


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    row = require_object(row)
    system, tools = _read_system(row)
    entries = [Entry(Message("system", system), "system")] if system else []
    return build_trace(row, entries + _read_chat(require_text(row, "chat")), tools, "chat")


def recognise(row: Any) -> str | None:
    """A row with a `chat` text in which a line starts with `USER:` or `ASSISTANT:`."""
    if not isinstance(row, Mapping) or has_turns(row) or not isinstance(row.get("chat"), str):
        return None
    marker = _MARKER.search(row["chat"], 0, _LOOK_AT)
    return f"chat is one text with the marker {marker.group(1)}:" if marker else None


def _read_system(row: Mapping[str, Any]) -> tuple[str, tuple[Tool, ...]]:
    text = "" if row.get("system") is None else require_text(row, "system")
    text = text.strip().removeprefix("SYSTEM:").strip()
    before, found, behind = cut_tools(text, TOOL_OBJECT, "system")
    tools = read_tools(normal_tools(found, "system"))
    if not tools:
        return text, ()
    parts = (before.rstrip().removesuffix("-").rstrip(), behind.strip())
    return "\n".join(part for part in parts if part), tools


def _read_chat(chat: str) -> list[Entry]:
    markers = list(_MARKER.finditer(chat))
    before = chat[: markers[0].start()] if markers else chat
    if before.strip():
        reason = f"chat: {show(before.strip(), 30)} stands before the first marker"
        raise RowError("unknown_role", f"{reason}; start with USER: or ASSISTANT:")
    if not markers:
        raise RowError("no_messages", "chat is empty; add turns or remove the row")
    ends = [marker.start() for marker in markers[1:]] + [len(chat)]
    entries = []
    for i, (marker, end) in enumerate(zip(markers, ends, strict=True)):
        role, where = _ROLES[marker.group(1)], f"chat turn {i} ({marker.group(1)})"
        text = chat[marker.end() : end].strip()
        message = _read_assistant(text, where) if role == "assistant" else Message(role, text)
        entries.append(Entry(message, where))
    return entries


def _read_assistant(text: str, where: str) -> Message:
    text, _, behind = text.partition(_STOP)
    if behind.strip():
        reason = f"{where}: {show(behind.strip(), 30)} stands behind {_STOP}"
        raise RowError("text_behind_stop", f"{reason}; give it a marker of its own, or remove it")
    said, call, rest = text.partition(_CALL)
    if not call:
        return Message("assistant", said.strip())
    return Message("assistant", said.strip() or None, tool_calls=_read_calls(rest, where))


def _read_calls(text: str, where: str) -> tuple[ToolCall, ...]:
    """The calls behind the first `<functioncall>`; nothing else may stand between or behind."""
    text = unescape_quotes(text) if "\\'" in text else text
    calls: list[ToolCall] = []
    at = skip_space(text, 0)
    while True:
        call, at = read_call(text, at, f"{where} call {len(calls)}")
        calls += call
        at = skip_space(text, at)
        at = skip_space(text, at + len(_CLOSE)) if text.startswith(_CLOSE, at) else at
        if at == len(text):
            return tuple(calls)
        if not text.startswith(_CALL, at):
            reason = f"{where}: {show(text[at : at + 30], 30)} stands behind the call"
            raise RowError("invalid_call", f"{reason}; move the text before it, or remove it")
        at = skip_space(text, at + len(_CALL))
