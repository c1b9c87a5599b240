"""ToolACE rows: tools as a JSON list in the system text, calls as Python-style text.

As the card and rows of Team-ACE/ToolACE show it (the call syntax is that of BFCL's prompts):

    {"system": "You are an expert in composing functions. ... invoke:\\n[{\\"name\\": ...}].\\n...",
     "conversations": [{"from": "user", "value": "..."},
                       {"from": "assistant", "value": "[Market Trends API(country=\\"us\\")]"},
                       {"from": "tool", "value": "[{\\"name\\": ..., \\"results\\": {...}}]"},
                       {"from": "assistant", "value": "..."}]}

The list becomes the trace's tools, its types JSON Schema's. Of the text around it everything
stays but the two sentences that only describe this encoding (`_BEFORE`, `_BEHIND`): a chat
template lists tools and states its own call syntax. A turn that holds one result for each call
(`name` and `results`, nothing else) becomes that many tool messages; any other stays one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats import sharegpt
from tooltune.traces.formats.shared.build import build_trace, require_object, require_text
from tooltune.traces.formats.shared.calls import read_tools
from tooltune.traces.formats.shared.common import find_turns, peek_turns
from tooltune.traces.formats.shared.embedded import TOOL_LIST, cut_tools
from tooltune.traces.formats.shared.pairing import Entry
from tooltune.traces.formats.shared.parts import read_text, result_text
from tooltune.traces.formats.shared.python_calls import ToolNames, looks_like_calls, parse_calls
from tooltune.traces.formats.shared.schemas import normal_tools
from tooltune.traces.jsonio import RowError, loads, show
from tooltune.traces.types import Message, Tool, Trace

_BEFORE = "Here is a list of functions in JSON format that you can invoke"
_BEHIND = re.compile(
    r"Should you decide to return the function call\(?s?\)?[.,]?\s*Put it in the format of "
    r"\[func1\([^\n]*\]\.?(?:\s*NO other text MUST be included\.?)?",
    re.IGNORECASE,
)
_LOOK_AT = 8


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    key, turns = find_turns(row)
    system, tools = _read_system(row)
    names = ToolNames.of(tool.name for tool in tools)
    entries = [Entry(Message("system", system), "system")] if system else []
    for i, turn in enumerate(turns):
        entries += _read_turn(turn, f"{key}[{i}]", names)
    return build_trace(row, entries, tools, key)


def recognise(row: Any) -> str | None:
    """Turns with `from`; tools in the system text, or one of the first turns is a call list."""
    key, turns = peek_turns(row)
    if not turns or row.get("tools") or not all("from" in turn for turn in turns[:_LOOK_AT]):
        return None
    system = row.get("system")
    if isinstance(system, str) and "<tool" not in system and TOOL_LIST.search(system):
        return "system holds a JSON list of tools"
    for i, turn in enumerate(turns[:_LOOK_AT]):
        value = turn.get("value")
        if turn["from"] not in ("assistant", "gpt") or not isinstance(value, str):
            continue
        if looks_like_calls(value):
            return f"{key}[{i}].value is a Python-style call list"
    return None


def _read_system(row: Any) -> tuple[str, tuple[Tool, ...]]:
    row = require_object(row)
    text = "" if row.get("system") is None else require_text(row, "system")
    before, tools, behind = cut_tools(text, TOOL_LIST, "system")
    if tools:
        head = before.rstrip(" .:\n")
        before = head.removesuffix(_BEFORE) if head.endswith(_BEFORE) else before
        behind = behind.lstrip(" .\n")
        encoding = _BEHIND.match(behind)
        behind = behind[encoding.end() :] if encoding else behind
        text = "\n".join(part.strip() for part in (before, behind) if part.strip())
    own = normal_tools(row.get("tools"), "tools") or []
    return text, read_tools(normal_tools(tools, "system")) + read_tools(own)


def _read_turn(turn: Mapping[str, Any], where: str, names: ToolNames) -> list[Entry]:
    role = turn.get("from")
    kind = sharegpt.KINDS.get(role.strip().lower()) if isinstance(role, str) else None
    path = f"{where}.value"
    if kind is None or kind == "call":
        reason = f"{where}.from is {show(role)}; write system, user, assistant or tool"
        raise RowError("unknown_role", reason)
    if kind == "tool":
        return [Entry(message, where) for message in _results(turn.get("value"), path)]
    text = read_text(turn.get("value"), path)
    if kind == "assistant" and looks_like_calls(text, names):
        calls = parse_calls(text, path, names)
        return [Entry(Message("assistant", tool_calls=calls), where)]
    return [Entry(Message(kind, text), where)]


def _results(value: Any, where: str) -> list[Message]:
    """One message for each `{"name", "results"}` of a list, or one with the text as it is."""
    results = value
    if isinstance(value, str):
        try:
            results = loads(value, where)
        except RowError:
            results = None  # a result may be any text
    if not isinstance(results, list) or not results or not all(map(_is_named, results)):
        return [Message("tool", result_text(value, where))]
    texts = [result_text(result["results"], where) for result in results]
    named = zip(texts, results, strict=True)
    return [Message("tool", text, name=result["name"]) for text, result in named]


def _is_named(result: Any) -> bool:
    if not isinstance(result, Mapping) or set(result) != {"name", "results"}:
        return False
    name = result["name"]
    return isinstance(name, str) and name != "" and result["results"] is not None
