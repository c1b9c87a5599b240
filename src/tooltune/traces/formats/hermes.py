"""Hermes text: calls, results and tools stand as tagged JSON in the texts of a conversation.

As Nous Research describes it (github.com/NousResearch/Hermes-Function-Calling; data set
NousResearch/hermes-function-calling-v1), in ShareGPT or in role and content turns:

    {"conversations": [
        {"from": "system", "value": "... <tools> [...] </tools> ..."},
        {"from": "human", "value": "..."},
        {"from": "gpt", "value": "<think>...</think> ... <tool_call>{...}</tool_call>"},
        {"from": "tool", "value": "<tool_response>{...}</tool_response>"},
        {"from": "gpt", "value": "..."}],
     "tools": "[...]"}

The tools come from the column, or from the system text where there is none; both must name the
same tools. What remains of the system text is said in `hermes_system`. Results may also stand in
user turns, as chat templates print them. Thoughts at the start of a text become reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tooltune.traces.formats import openai, sharegpt
from tooltune.traces.formats.hermes_system import split_system
from tooltune.traces.formats.hermes_text import CALL, RESULT, read_results, read_said
from tooltune.traces.formats.shared.blocks import PEEK
from tooltune.traces.formats.shared.build import build_trace
from tooltune.traces.formats.shared.calls import read_tools
from tooltune.traces.formats.shared.common import (
    Kind,
    find_turns,
    peek_turns,
    read_entry,
    row_system,
)
from tooltune.traces.formats.shared.pairing import Entry, join_calls
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Tool, Trace

KINDS: dict[str, Kind] = {**openai.KINDS, **sharegpt.KINDS}
_CALL_START = re.compile(rf"<{CALL}>\s*[\[{{]")
_LOOK_AT = 100_000  # characters of a text


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    key, turns = find_turns(row)
    raw = [_read_turn(turn, f"{key}[{i}]") for i, turn in enumerate(turns)]
    entries: list[Entry] = []
    tools = read_tools(row.get("tools"))
    for entry in row_system(row, raw) + raw:
        content = entry.message.content
        if entry.message.role == "system" and content:
            rest, found = split_system(content, entry.where)
            tools = _same_tools(tools, read_tools(found, f"{entry.where} <tools>"), entry.where)
            if rest is not None:
                entries.append(replace(entry, message=replace(entry.message, content=rest)))
        else:
            entries += _read_text(entry) if content else [entry]
    return build_trace(row, join_calls(entries), tools, key)


def recognise(row: Any) -> str | None:
    """A system text with `<tools>`, an assistant text with a call, or a result in its tag."""
    key, turns = peek_turns(row)
    if any(turn.get("tool_calls") for turn in turns[:PEEK]):
        return None
    for i, turn in enumerate(turns[:PEEK]):
        role, text = _keys(turn)
        value, kind = turn.get(text), KINDS.get(str(turn.get(role)).lower())
        value = value[:_LOOK_AT] if isinstance(value, str) else ""
        if kind == "system" and "<tools>" in value and "</tools>" in value:
            return f"{key}[{i}].{text} holds <tools>"
        if kind in ("assistant", "call") and _CALL_START.search(value):
            return f"{key}[{i}].{text} holds <{CALL}>"
        if kind in ("user", "tool") and value.lstrip().startswith(f"<{RESULT}>"):
            return f"{key}[{i}].{text} holds <{RESULT}>"
    return None


def _keys(turn: Mapping[str, Any]) -> tuple[str, str]:
    return "from" if "from" in turn else "role", "value" if "value" in turn else "content"


def _read_turn(turn: Mapping[str, Any], where: str) -> Entry:
    role, text = _keys(turn)
    value = turn.get(text)
    kinds = KINDS
    if isinstance(value, str) and f"<{CALL}>" in value:  # a call turn that is tagged text
        kinds = {name: "assistant" if kind == "call" else kind for name, kind in KINDS.items()}
    return read_entry(turn, where, kinds, role, text)


def _read_text(entry: Entry) -> list[Entry]:
    """The entries that the text of one turn holds."""
    message, where = entry.message, entry.where
    text = message.content or ""
    if message.role == "assistant":
        said = read_said(text, where)
        if (said.calls and message.tool_calls) or (said.reasoning and message.reasoning):
            reason = f"{where} has calls or reasoning both in its text and beside it; keep one"
            raise RowError("conflicting_turns", reason)
        said.calls.extend(message.tool_calls)
        said.reasoning.extend([message.reasoning] if message.reasoning is not None else [])
        return [said.entry(where, message.weight, message.name)]
    if not text.lstrip().startswith(f"<{RESULT}>"):
        return [entry]
    results, rest = read_results(text, where)
    if rest and message.role == "tool":
        reason = f"{where}: text behind </{RESULT}>; a tool turn holds results only"
        raise RowError("text_outside_block", reason)
    given = message if len(results) == 1 else replace(message, tool_call_id=None)
    entries = [
        Entry(replace(given, content=m.content, name=m.name or given.name, role="tool"), where)
        for m in results
    ]
    return entries + ([Entry(replace(message, content=rest), where)] if rest else [])


def _same_tools(given: tuple[Tool, ...], found: tuple[Tool, ...], where: str) -> tuple[Tool, ...]:
    """The tools of the row, or those of its system text; both must name the same."""
    names, others = [tool.name for tool in given], [tool.name for tool in found]
    if names and others and sorted(names) != sorted(others):
        reason = f"tools are {show(names)}, but {where} offers {show(others)}; make them equal"
        raise RowError("conflicting_tools", reason)
    return given or found
