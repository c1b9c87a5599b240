"""Gemini contents: roles `user` and `model`, and parts told by the key that they hold.

As Google documents it (ai.google.dev/api/generate-content and /api/caching, "Content", "Tool"):

    {"systemInstruction": {"parts": [{"text": "..."}]},
     "tools": [{"functionDeclarations": [{"name": ..., "parameters": {"type": "OBJECT", ...}}]}],
     "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["..."]}},
     "contents": [{"role": "user", "parts": [{"text": "..."}]},
                  {"role": "model", "parts": [{"text": "...", "thought": true},
                                              {"functionCall": {"name": ..., "args": {...}}}]},
                  {"role": "user", "parts": [
                      {"functionResponse": {"name": ..., "response": {"output": ...}}}]}]}

Keys may be camelCase (REST) or snake_case (Python, protocol buffers). A response with only
`output` is its value, one with only `error` its value and an error; any other is kept whole, as
JSON. Schemas lose Google's upper-case type names. Calls have names but mostly no ids. Signatures
of thoughts are left out. Refused: images, files, code that the server runs, its own tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.gemini_tools import read_declarations
from tooltune.traces.formats.shared.blocks import Blocks, list_of_objects, make_call
from tooltune.traces.formats.shared.build import build_trace, require_object
from tooltune.traces.formats.shared.calls import read_label
from tooltune.traces.formats.shared.choices import gemini_settings, pick
from tooltune.traces.formats.shared.common import is_answered, read_weight
from tooltune.traces.formats.shared.pairing import Entry, join_calls, join_thoughts
from tooltune.traces.formats.shared.parts import read_text, result_text, unsupported_part
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, Trace

USER_ROLES = ("user", "function", "tool", None)
_BESIDE = ("thought", "thoughtSignature", "thought_signature", "videoMetadata", "video_metadata")


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    row = require_object(row)
    entries: list[Entry] = []
    system = pick(row, "systemInstruction")
    if system:
        entries.append(Entry(Message("system", _system_text(system)), "systemInstruction"))
    for i, content in enumerate(list_of_objects(row.get("contents"), "contents")):
        entries += _read_content(content, f"contents[{i}]")
    config = pick(pick(row, "toolConfig"), "functionCallingConfig")
    settings = gemini_settings(config, pick(row, "generationConfig"))
    entries = join_calls(join_thoughts(entries))
    return build_trace(row, entries, read_declarations(row.get("tools")), "contents", settings)


def recognise(row: Any) -> str | None:
    """`contents` is a list whose first entry has `parts`."""
    contents = row.get("contents") if isinstance(row, Mapping) else None
    first = contents[0] if isinstance(contents, (list, tuple)) and contents else None
    has_parts = isinstance(first, Mapping) and "parts" in first
    return "contents[0] has the key 'parts'" if has_parts and not is_answered(row) else None


def _system_text(system: Any) -> str:
    if isinstance(system, str):
        return system
    parts = system.get("parts") if isinstance(system, Mapping) else system
    parts = [parts] if isinstance(parts, Mapping) else parts
    texts = []
    for i, part in enumerate(list_of_objects(parts, "systemInstruction.parts")):
        texts.append(_text_of(part, f"systemInstruction.parts[{i}]"))
    return "".join(texts)


def _read_content(content: Mapping[str, Any], where: str) -> list[Entry]:
    role, weight = content.get("role"), read_weight(content, where)
    parts = list_of_objects(content.get("parts"), f"{where}.parts")
    if role == "model":
        return [_read_model(parts, f"{where}.parts").entry(where, weight)]
    if role not in USER_ROLES:
        reason = f"{where}.role is {show(role)}; write user, model or function"
        raise RowError("unknown_role", reason)
    entries: list[Entry] = []
    texts: list[str] = []
    for i, part in enumerate(parts):
        place = f"{where}.parts[{i}]"
        if pick(part, "functionResponse") is None:
            texts.append(_text_of(part, place))
            continue
        entries += _user(texts, where, weight)
        texts = []
        entries.append(Entry(_read_result(part, place, weight), place))
    return entries + _user(texts, where, weight)


def _user(texts: list[str], where: str, weight: float) -> list[Entry]:
    return [Entry(Message("user", "".join(texts), weight=weight), where)] if texts else []


def _read_model(parts: list[Mapping[str, Any]], where: str) -> Blocks:
    said = Blocks()
    for i, part in enumerate(parts):
        place = f"{where}[{i}]"
        call = pick(part, "functionCall")
        if isinstance(call, Mapping):
            said.calls.append(make_call(call, f"{place}.functionCall", arguments="args"))
        elif part.get("thought"):
            said.think(_text_of(part, place), place)
        else:
            said.say(_text_of(part, place), place)
    return said


def _text_of(part: Mapping[str, Any], where: str) -> str:
    others = [key for key in part if part[key] is not None and key not in ("text", *_BESIDE)]
    if others:
        raise unsupported_part({"type": others[0]}, where)
    if part.get("text") is None and (pick(part, "thoughtSignature") or part.get("thought")):
        return ""
    return read_text(part.get("text"), f"{where}.text")


def _read_result(part: Mapping[str, Any], where: str, weight: float) -> Message:
    result, where = pick(part, "functionResponse"), f"{where}.functionResponse"
    if not isinstance(result, Mapping) or result.get("parts"):
        raise unsupported_part({"type": "functionResponse.parts"}, where)
    value, is_error = result.get("response"), False
    if isinstance(value, Mapping) and len(value) == 1:
        is_error = "error" in value
        value = value.get("error" if is_error else "output", value)
    return Message(
        "tool",
        result_text(value, f"{where}.response"),
        tool_call_id=read_label(result.get("id"), f"{where}.id"),
        name=read_label(result.get("name"), f"{where}.name"),
        weight=weight,
        is_error=is_error,
    )
