"""Read a conversation whose entries have a role and a content, whatever the two are called."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from tooltune.traces.formats.calls import parse_text, read_calls, read_label, read_tools
from tooltune.traces.formats.pairing import Entry, join_calls, pair_results
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import REQUEST_SETTINGS, Message, Role, Trace

Kind = Literal["system", "user", "assistant", "tool", "call"]
"""What an entry is: a role of `Message`, or an entry that only holds calls."""

TURN_KEYS = ("messages", "conversations", "conversation")


def find_turns(row: Any) -> tuple[str, list[Mapping[str, Any]]]:
    """The key that holds the conversation (the first of `TURN_KEYS` that is not empty), its turns.

    Raises `RowError` (`row_not_an_object`, `no_messages`, `messages_not_a_list`,
    `turn_not_an_object`, or as `loads` where the turns are JSON text).
    """
    if not isinstance(row, Mapping):
        reason = f"the row is {show(row)}; write an object with a conversation"
        raise RowError("row_not_an_object", reason)
    key = next((key for key in TURN_KEYS if row.get(key)), None)
    if key is None:
        found = ", ".join(show(name, 20) for name in list(row)[:8]) or "no keys"
        reason = f"no turns under {' or '.join(TURN_KEYS)} (found: {found}); rename the key"
        raise RowError("no_messages", reason)
    turns = parse_text(row[key], key)
    if not isinstance(turns, (list, tuple)):
        raise RowError("messages_not_a_list", f"{key} is {show(turns)}; write a list of turns")
    for i, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            reason = f"{key}[{i}] is {show(turn)}; write an object with a role and a content"
            raise RowError("turn_not_an_object", reason)
    if not turns:
        raise RowError("no_messages", f"{key} is empty; add turns or remove the row")
    return key, list(turns)


def peek_turns(row: Any) -> tuple[str, list[Mapping[str, Any]]]:
    """As `find_turns`, for telling formats apart: ("", []) where there are no turns."""
    try:
        return find_turns(row)
    except RowError:
        return "", []


def read_settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """The request settings of a row (`REQUEST_SETTINGS`), those that are not null."""
    return {key: row[key] for key in REQUEST_SETTINGS if row.get(key) is not None}


def read_conversation(row: Any, kinds: Mapping[str, Kind], role: str, content: str) -> Trace:
    """Read a row whose turns name their role under `role` and their text under `content`.

    `kinds` says what each role name means. Raises `RowError`.
    """
    key, turns = find_turns(row)
    entries = [
        _read_entry(turn, f"{key}[{i}]", kinds, role, content) for i, turn in enumerate(turns)
    ]
    messages = pair_results(join_calls(_row_system(row, entries) + entries))
    tools = row.get("tools")
    tools, where = (row.get("functions"), "functions") if tools is None else (tools, "tools")
    trace = Trace(messages, read_tools(tools, where), read_settings(row))
    if not trace.turns:
        reason = f"{key}: no assistant turn with something before it; there is nothing to learn"
        raise RowError("no_assistant_turn", reason)
    return trace


def _row_system(row: Mapping[str, Any], entries: list[Entry]) -> list[Entry]:
    """The row's own `system` text as an entry, unless the conversation starts with the same."""
    system = read_label(row.get("system"), "system")
    if system is None:
        return []
    first = entries[0].message
    if first.role != "system":
        return [Entry(Message("system", system), "system")]
    if first.content != system:
        reason = f"system and {entries[0].where} hold different system prompts; keep one"
        raise RowError("conflicting_system", reason)
    return []


def _read_entry(
    turn: Mapping[str, Any], where: str, kinds: Mapping[str, Kind], role: str, content: str
) -> Entry:
    name = turn.get(role)
    kind = kinds.get(name.strip().lower()) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(kinds)
        reason = f"{where}.{role} is {show(name)}; write one of {known}, or choose another format"
        raise RowError("unknown_role", reason)
    value, path = turn.get(content), f"{where}.{content}"
    if kind == "call":
        return Entry(_call_message(turn, value, path, where), where, is_call=True)
    message = _read_message(turn, kind, value, path, where)
    return Entry(message, where)


def _read_message(
    turn: Mapping[str, Any], role: Role, value: Any, path: str, where: str
) -> Message:
    calls = _calls_of(turn, where)
    if calls and role != "assistant":
        reason = f"{where}: a {role} message with calls; only the assistant calls tools"
        raise RowError("calls_outside_assistant", reason)
    reasoning = _reasoning(turn, where)
    text: str | None
    if role == "tool":
        text = result_text(value, path)
    elif value is None and (calls or reasoning is not None):
        text = None
    else:
        text = read_text(value, path)
    return Message(
        role,
        # One form for "nothing said": where there is a call or a thought, None.
        (text or None) if calls or reasoning is not None else text,
        tool_calls=calls,
        reasoning=reasoning,
        tool_call_id=read_label(turn.get("tool_call_id"), f"{where}.tool_call_id"),
        name=read_label(turn.get("name"), f"{where}.name"),
        weight=_weight(turn, where),
    )


def _call_message(turn: Mapping[str, Any], value: Any, path: str, where: str) -> Message:
    return Message(
        "assistant",
        tool_calls=read_calls(value, path),
        reasoning=_reasoning(turn, where),
        weight=_weight(turn, where),
    )


def _calls_of(turn: Mapping[str, Any], where: str) -> Any:
    """Calls under `tool_calls`, or under OpenAI's older `function_call` (one object)."""
    several = parse_text(turn.get("tool_calls"), f"{where}.tool_calls")
    single = turn.get("function_call")
    if several and single:
        reason = f"{where} has both tool_calls and function_call; keep tool_calls"
        raise RowError("conflicting_turns", reason)
    if several is not None and not isinstance(several, (list, tuple)):
        reason = f"{where}.tool_calls is {show(several)}; write a list of calls"
        raise RowError("tool_calls_not_a_list", reason)
    if several:
        return read_calls(several, f"{where}.tool_calls")
    return read_calls(single, f"{where}.function_call") if single else ()


def read_text(value: Any, where: str) -> str:
    """Text, or a list of text parts put together. Raises `RowError("content_not_text", ...)`."""
    text = value if isinstance(value, str) else _joined_parts(value)
    if text is None:
        reason = f"{where} is {show(value)}; write text (or a list of parts of type text)"
        raise RowError("content_not_text", reason)
    return text


def result_text(value: Any, where: str) -> str:
    """A tool result as text: text and text parts as they are, other JSON values as JSON text.

    Raises `RowError("content_not_text", ...)` where there is none.
    """
    if value is None:
        reason = f'{where} is missing; write "" for an empty result, "null" for a JSON null'
        raise RowError("content_not_text", reason)
    text = value if isinstance(value, str) else _joined_parts(value)
    return json.dumps(value, ensure_ascii=False) if text is None else text


def _joined_parts(value: Any) -> str | None:
    """The text of OpenAI content parts; `None` where the value is anything else."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    texts = [p.get("text") for p in value if isinstance(p, Mapping) and p.get("type") == "text"]
    if len(texts) != len(value) or not all(isinstance(text, str) for text in texts):
        return None
    return "".join(texts)  # type: ignore[arg-type]


def _reasoning(turn: Mapping[str, Any], where: str) -> str | None:
    """`reasoning_content`, or `reasoning`: two names of the same thing."""
    keys = [key for key in ("reasoning_content", "reasoning") if turn.get(key) is not None]
    texts = [read_text(turn[key], f"{where}.{key}") for key in keys]
    if len(set(texts)) > 1:
        reason = f"{where}: reasoning and reasoning_content differ; keep one"
        raise RowError("conflicting_turns", reason)
    return texts[0] if texts else None


def _weight(turn: Mapping[str, Any], where: str) -> float:
    """`weight` (OpenAI, 0 or 1; any factor here), or ms-swift's `loss` (true or false)."""
    key = next((key for key in ("weight", "loss") if turn.get(key) is not None), None)
    if key is None:
        return 1.0
    value = turn[key]
    # The bound keeps integers that no float can hold away from float().
    if not isinstance(value, (int, float)) or not 0 <= value <= 1e6 or not math.isfinite(value):
        reason = f"{where}.{key} is {show(value)}; write 0 (context only), 1 or another factor"
        raise RowError("invalid_weight", reason)
    return float(value)
