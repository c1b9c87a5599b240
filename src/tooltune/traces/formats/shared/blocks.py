"""One assistant message put together from the blocks that an API wrote it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tooltune.traces.formats.shared.calls import read_arguments, read_label
from tooltune.traces.formats.shared.pairing import Entry
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, ToolCall

PEEK = 12
"""How many turns, and how many blocks of each, `recognise` looks at."""


@dataclass(slots=True)
class Blocks:
    """What a message holds: reasoning, then text, then calls, the order that templates write.

    Blocks in another order cannot be written by any template and are refused
    (`order_not_expressible`); white space behind a call says nothing and is left out.
    """

    reasoning: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.reasoning or self.text or self.calls)

    def think(self, text: str, where: str) -> None:
        if self.calls or any(said.strip() for said in self.text):
            raise _order(where, "reasoning", "text or a call")
        self.reasoning.append(text)

    def say(self, text: str, where: str) -> None:
        if not self.calls:
            self.text.append(text)
        elif text.strip():
            raise _order(where, "text", "a call")

    def entry(self, where: str, weight: float = 1.0, name: str | None = None) -> Entry:
        """The assistant message. Raises `RowError("content_not_text", ...)` for no block at all."""
        if self.is_empty:
            raise RowError("content_not_text", f"{where} has no content; remove the message")
        thought = "".join(self.reasoning) if self.reasoning else None
        text: str | None = "".join(self.text)
        if self.calls or thought is not None:
            text = text or None
        message = Message("assistant", text, tuple(self.calls), thought, name=name, weight=weight)
        only_calls = bool(self.calls) and text is None and thought is None
        return Entry(message, where, is_call=only_calls)


def _order(where: str, what: str, behind: str) -> RowError:
    reason = (
        f"{where}: {what} behind {behind} in one message; templates write reasoning, text, calls: "
        "split the message, or remove the row"
    )
    return RowError("order_not_expressible", reason)


def make_call(
    call: Mapping[str, Any], where: str, *, id: str = "id", name: str = "name", arguments: str
) -> ToolCall:
    """A call whose parts stand under the given keys.

    Raises `RowError` (`call_without_name`, `field_not_text`, or as `read_arguments`).
    """
    called = call.get(name)
    if not isinstance(called, str) or not called:
        reason = f"{where}: {name} is {show(called)}; name the tool called"
        raise RowError("call_without_name", reason)
    given = read_arguments(call.get(arguments), f"{where}.{arguments}")
    return ToolCall(called, given, id=read_label(call.get(id), f"{where}.{id}"))


def list_of_objects(value: Any, where: str) -> list[Mapping[str, Any]]:
    """A list of objects. Raises `RowError` (`blocks_not_a_list`, `block_not_an_object`)."""
    if not isinstance(value, (list, tuple)):
        raise RowError("blocks_not_a_list", f"{where} is {show(value)}; write a list")
    for i, item in enumerate(value):
        if not isinstance(item, Mapping):
            reason = f"{where}[{i}] is {show(item)}; write an object with a type"
            raise RowError("block_not_an_object", reason)
    return list(value)


def renamed(value: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    """A copy in the same order with some keys renamed."""
    return {keys.get(key, key): item for key, item in value.items()}
