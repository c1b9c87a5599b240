"""Read a conversation whose entries have a role and a content, whatever the two are called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from tooltune.traces.formats.shared.calls import parse_text, read_calls, read_label, read_tools
from tooltune.traces.formats.shared.pairing import Entry, join_calls, pair_results
from tooltune.traces.formats.shared.parts import read_text, result_text, unsupported_part
from tooltune.traces.formats.shared.reasoning import read_reasoning
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import REQUEST_SETTINGS, Message, Role, Trace

Kind = Literal["system", "user", "assistant", "tool", "call"]
"""What an entry is: a role of `Message`, or an entry that only holds calls."""

TURN_KEYS = ("messages", "conversations", "conversation", "trajectory")


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
    turns = _parse_turns(row[key], key) if isinstance(row[key], str) else row[key]
    if not isinstance(turns, (list, tuple)):
        raise RowError("messages_not_a_list", f"{key} is {show(turns)}; write a list of turns")
    for i, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            reason = f"{key}[{i}] is {show(turn)}; write an object with a role and a content"
            raise RowError("turn_not_an_object", reason)
    if not turns:
        raise RowError("no_messages", f"{key} is empty; add turns or remove the row")
    return key, list(turns)


@lru_cache(maxsize=1)  # every format looks at the same row in turn; none changes its turns
def _parse_turns(text: str, key: str) -> Any:
    return parse_text(text, key)


def peek_turns(row: Any) -> tuple[str, list[Mapping[str, Any]]]:
    """As `find_turns`, for telling formats apart: ("", []) where there are no turns."""
    try:
        return find_turns(row)
    except RowError:
        return "", []


def is_answered(row: Any) -> bool:
    """Whether a row's turns end with what the assistant said: the row is a whole conversation.

    Then the keys beside the turns (`input`, `request`, `contents`, ...) are columns of its own,
    and no other format may claim the row by them.
    """
    _, turns = peek_turns(row)
    role = turns[-1].get("role", turns[-1].get("from")) if turns else None
    return isinstance(role, str) and role.strip().lower() in ("assistant", "gpt", "model")


def read_settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """The request settings of a row (`REQUEST_SETTINGS`), those that are not null.

    `function_call` beside `functions` is OpenAI's older name of `tool_choice`.
    """
    settings = {key: row[key] for key in REQUEST_SETTINGS if row.get(key) is not None}
    choice = row.get("function_call") if "functions" in row else None
    if choice is not None and "tool_choice" not in settings:
        named = isinstance(choice, Mapping)
        settings["tool_choice"] = {"type": "function", "function": choice} if named else choice
    return settings


def read_conversation(row: Any, kinds: Mapping[str, Kind], role: str, content: str) -> Trace:
    """Read a row whose turns name their role under `role` and their text under `content`.

    `kinds` says what each role name means. Raises `RowError`.
    """
    key, turns = find_turns(row)
    entries = [
        read_entry(turn, f"{key}[{i}]", kinds, role, content) for i, turn in enumerate(turns)
    ]
    messages = pair_results(join_calls(row_system(row, entries) + entries))
    trace = Trace(messages, read_tools(*_find_tools(row)), read_settings(row))
    if not trace.turns:
        reason = f"{key}: no assistant turn with something before it; there is nothing to learn"
        raise RowError("no_assistant_turn", reason)
    return trace


def _find_tools(row: Mapping[str, Any]) -> tuple[Any, str]:
    """The tools of a row and where they stand: `tools`, `functions`, or `tools` in `metadata`.

    The last, as JSON text, is where nvidia/Nemotron-Post-Training-Dataset-v1 keeps them.
    """
    for key in ("tools", "functions"):
        if row.get(key) is not None:
            return row[key], key
    metadata = row.get("metadata")
    if isinstance(metadata, str) and metadata.lstrip()[:1] == "{" and '"tools"' in metadata:
        metadata = parse_text(metadata, "metadata")
    return (metadata.get("tools") if isinstance(metadata, Mapping) else None), "metadata.tools"


def row_system(row: Mapping[str, Any], entries: list[Entry]) -> list[Entry]:
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


def read_entry(
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
    if turn.get("audio") is not None:
        raise unsupported_part({"type": "audio"}, f"{where}.audio")
    reasoning = read_reasoning(turn, where)
    text: str | None
    if role == "assistant" and turn.get("refusal") is not None:
        value, path = _refusal(turn, value, path, where), f"{where}.refusal"
    if role == "tool":
        text = result_text(value, path)
    elif value in (None, [], ()) and (calls or reasoning is not None):
        text = None
    else:
        text = read_text(value, path)
    return Message(
        role,
        # One form for "nothing said": where there is a call or a thought, None.
        (text or None) if calls or reasoning is not None else text,
        tool_calls=calls,
        reasoning=reasoning,
        tool_call_id=_call_id(turn, where),
        name=read_label(turn.get("name"), f"{where}.name"),
        weight=read_weight(turn, where),
        is_error=role == "tool" and read_flag(turn, "is_error", where),
    )


def _call_id(turn: Mapping[str, Any], where: str) -> str | None:
    """`tool_call_id`, or the only one of SWE-agent's `tool_call_ids`."""
    several = turn.get("tool_call_ids")
    if not several or turn.get("tool_call_id") is not None:
        return read_label(turn.get("tool_call_id"), f"{where}.tool_call_id")
    if not isinstance(several, (list, tuple)) or len(several) > 1:
        reason = f"{where}.tool_call_ids is {show(several, 30)}; write one id for each result"
        raise RowError("several_tool_call_ids", reason)
    return read_label(several[0], f"{where}.tool_call_ids[0]")


def _refusal(turn: Mapping[str, Any], value: Any, path: str, where: str) -> Any:
    """The text of a refusal: what the assistant said instead of a content (OpenAI)."""
    if value:
        reason = f"{path} and {where}.refusal both hold text; keep what the assistant said"
        raise RowError("conflicting_turns", reason)
    return turn["refusal"]


def read_flag(turn: Mapping[str, Any], key: str, where: str) -> bool:
    """A truth value; missing and null mean false. Raises `RowError("field_not_true_or_false")`."""
    value = turn.get(key)
    if not isinstance(value, (bool, type(None))):
        reason = f"{where}.{key} is {show(value, 30)}; write true or false"
        raise RowError("field_not_true_or_false", reason)
    return bool(value)


def _call_message(turn: Mapping[str, Any], value: Any, path: str, where: str) -> Message:
    return Message(
        "assistant",
        tool_calls=read_calls(value, path),
        reasoning=read_reasoning(turn, where),
        weight=read_weight(turn, where),
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


def read_weight(turn: Mapping[str, Any], where: str) -> float:
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
