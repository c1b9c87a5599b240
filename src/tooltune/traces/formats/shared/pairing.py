"""Join calls into messages, and pair tool results with the calls that they answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, ToolCall


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a row, read. `where` is its path (`messages[3]`).

    `is_call` marks an entry that holds calls and nothing else (a `function_call` turn): part of
    the assistant message directly before it, if there is one.
    """

    message: Message
    where: str
    is_call: bool = False


def join_calls(entries: Iterable[Entry]) -> list[Entry]:
    """Attach call entries to the directly preceding assistant message; the others stay.

    So consecutive call entries become one message with parallel calls, while rounds (with
    results between them) stay apart.
    """
    joined: list[Entry] = []
    for entry in entries:
        if entry.is_call and joined and joined[-1].message.role == "assistant":
            joined[-1] = _join(joined[-1], entry)
        else:
            joined.append(entry)
    return joined


def join_thoughts(entries: Iterable[Entry]) -> list[Entry]:
    """Put reasoning that stands alone before the assistant message that directly follows it.

    For formats in which thinking is an item or a message of its own.
    """
    joined: list[Entry] = []
    for entry in entries:
        message = entry.message
        if message.role == "assistant" and joined and _only_thought(joined[-1].message):
            before = joined.pop()
            if before.message.weight != message.weight:
                reason = f"{before.where} and {entry.where} are one message; give both one weight"
                raise RowError("conflicting_turns", reason)
            thoughts = [t for t in (before.message.reasoning, message.reasoning) if t]
            message = replace(
                message, reasoning="\n\n".join(thoughts), content=message.content or None
            )
            entry = replace(entry, message=message, where=before.where, is_call=False)
        joined.append(entry)
    return joined


def _only_thought(message: Message) -> bool:
    said = message.content is not None or message.tool_calls
    return message.role == "assistant" and message.reasoning is not None and not said


def _join(before: Entry, entry: Entry) -> Entry:
    first, second = before.message, entry.message
    if first.weight != second.weight or second.reasoning not in (None, first.reasoning):
        reason = (
            f"{entry.where} joins the assistant message {before.where}, but their weight or "
            "reasoning differ; give both the same"
        )
        raise RowError("conflicting_turns", reason)
    calls = first.tool_calls + second.tool_calls
    content = first.content or None  # beside calls, no text is written as None
    return replace(before, message=replace(first, content=content, tool_calls=calls))


@dataclass(slots=True)
class _Slot:
    call: ToolCall
    answered: bool = False


def pair_results(entries: Iterable[Entry]) -> tuple[Message, ...]:
    """Pair tool messages with calls, and give them the name and id of the call they answer.

    A result with an id answers the newest call of that id, wherever it stands. One without
    answers the first open call of the latest round that has its name, else the first open one.
    The data's order, ids and names are kept. Calls that nobody answers are accepted.

    Raises `RowError` (`orphan_tool_result`, `unknown_tool_call_id`, `repeated_tool_call_id`).
    """
    rounds: list[list[_Slot]] = []
    messages: list[Message] = []
    for entry in entries:
        message = entry.message
        if message.tool_calls:
            _check_ids(message.tool_calls, entry.where)
            rounds.append([_Slot(call) for call in message.tool_calls])
        elif message.role == "tool":
            slot = _find_slot(message, rounds, entry.where)
            slot.answered = True
            message = replace(
                message,
                name=message.name or slot.call.name,
                tool_call_id=message.tool_call_id or slot.call.id,
            )
        messages.append(message)
    return tuple(messages)


def _check_ids(calls: tuple[ToolCall, ...], where: str) -> None:
    ids = [call.id for call in calls if call.id is not None]
    for i, call_id in enumerate(ids):
        if call_id in ids[:i]:
            reason = f"{where}: two calls have the id {show(call_id)}; give each call its own"
            raise RowError("repeated_tool_call_id", reason)


def _find_slot(result: Message, rounds: list[list[_Slot]], where: str) -> _Slot:
    if not rounds:
        reason = f"{where}: a tool result, but no call before it; add the call or remove the result"
        raise RowError("orphan_tool_result", reason)
    if result.tool_call_id is not None:
        return _slot_by_id(result.tool_call_id, rounds, where)
    open_slots = [slot for slot in rounds[-1] if not slot.answered]
    if not open_slots:
        reason = f"{where}: more tool results than calls; add the missing call or remove the result"
        raise RowError("orphan_tool_result", reason)
    named = [slot for slot in open_slots if slot.call.name == result.name]
    return (named or open_slots)[0]


def _slot_by_id(call_id: str, rounds: list[list[_Slot]], where: str) -> _Slot:
    for slots in reversed(rounds):
        for slot in slots:
            if slot.call.id == call_id:
                if slot.answered:
                    reason = f"{where}: the call {show(call_id)} is answered twice; keep one result"
                    raise RowError("repeated_tool_call_id", reason)
                return slot
    reason = f"{where}: no call before it has the id {show(call_id)}; correct tool_call_id"
    raise RowError("unknown_tool_call_id", reason)
