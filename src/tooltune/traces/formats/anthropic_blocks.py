"""The turns of Anthropic's Messages: text, or blocks of text, thinking, calls and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.shared.blocks import Blocks, list_of_objects, make_call
from tooltune.traces.formats.shared.calls import read_label
from tooltune.traces.formats.shared.common import read_flag, read_weight
from tooltune.traces.formats.shared.pairing import Entry
from tooltune.traces.formats.shared.parts import read_text, unsupported_part
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, Role

ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def read_turn(turn: Mapping[str, Any], where: str) -> list[Entry]:
    """The messages of one turn, in order: a user turn may hold several results, and text.

    Raises `RowError` (`unknown_role`, `unsupported_part`, `order_not_expressible`,
    `redacted_thinking`, `content_not_text`, or as `make_call`).
    """
    name = turn.get("role")
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        reason = f"{where}.role is {show(name)}; write one of {', '.join(ROLES)}"
        raise RowError("unknown_role", reason)
    content, weight = turn.get("content"), read_weight(turn, where)
    if not isinstance(content, (list, tuple)) or role == "system":
        text = read_text(content, f"{where}.content")
        return [Entry(Message(role, text, weight=weight), where)]
    blocks = list_of_objects(content, f"{where}.content")
    if role == "assistant":
        return [_read_assistant(blocks, where).entry(where, weight)]
    return _read_user(blocks, where, weight)


def _read_assistant(blocks: list[Mapping[str, Any]], where: str) -> Blocks:
    said = Blocks()
    for i, block in enumerate(blocks):
        place = f"{where}.content[{i}]"
        match block.get("type"):
            case "text":
                said.say(read_text([block], f"{where}.content"), place)
            case "thinking":
                if block.get("thinking") or not block.get("signature"):  # else omitted by the API
                    said.think(read_text(block.get("thinking"), f"{place}.thinking"), place)
            case "redacted_thinking":
                reason = f"{place}: the thinking is encrypted; remove the block, or the row"
                raise RowError("redacted_thinking", reason)
            case "tool_use":
                said.calls.append(make_call(block, place, arguments="input"))
            case _:
                raise unsupported_part(block, place)
    return said


def _read_user(blocks: list[Mapping[str, Any]], where: str, weight: float) -> list[Entry]:
    entries: list[Entry] = []
    texts: list[Mapping[str, Any]] = []

    def flush() -> None:
        if texts:
            text = read_text(texts, f"{where}.content")
            entries.append(Entry(Message("user", text, weight=weight), where))
            texts.clear()

    for i, block in enumerate(blocks):
        place = f"{where}.content[{i}]"
        if block.get("type") == "text":
            texts.append(block)
        elif block.get("type") == "tool_result":
            flush()
            entries.append(Entry(_read_result(block, place, weight), place))
        else:
            raise unsupported_part(block, place)
    flush()
    return entries


def _read_result(block: Mapping[str, Any], where: str, weight: float) -> Message:
    content = block.get("content") or ""  # may be left out; an empty list says the same
    return Message(
        "tool",
        read_text(content, f"{where}.content"),
        tool_call_id=read_label(block.get("tool_use_id"), f"{where}.tool_use_id"),
        weight=weight,
        is_error=read_flag(block, "is_error", where),
    )
