"""Every text of a trace, with its place; and a copy of a trace with its texts changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from tooltune.traces.types import Message, Tool, ToolCall, Trace


class Text(NamedTuple):
    """One text. `path` as in `messages[3].tool_calls[0].arguments.city`; `turn`: message index.

    A *label* tells things apart (names, ids, keys of objects): two that differ must stay so.
    """

    path: str
    turn: int | None
    text: str
    label: bool = False

    @property
    def within(self) -> str:
        """The path inside its message; of another text the whole path."""
        return self.path if self.turn is None else self.path.partition(".")[2]


Change = Callable[[Text], str]


def trace_texts(trace: Trace) -> Iterator[Text]:
    """The texts that `map_texts` would change, in its order."""
    for i, message in enumerate(trace.messages):
        where = f"messages[{i}]"
        if message.content:
            yield Text(f"{where}.content", i, message.content)
        if message.reasoning:
            yield Text(f"{where}.reasoning", i, message.reasoning)
        for j, call in enumerate(message.tool_calls):
            if call.name:
                yield Text(f"{where}.tool_calls[{j}].name", i, call.name, label=True)
            yield from _texts(call.arguments, f"{where}.tool_calls[{j}].arguments", i)
            if call.id:
                yield Text(f"{where}.tool_calls[{j}].id", i, call.id, label=True)
        if message.tool_call_id:
            yield Text(f"{where}.tool_call_id", i, message.tool_call_id, label=True)
        if message.name:
            yield Text(f"{where}.name", i, message.name, label=True)
    for i, tool in enumerate(trace.tools):
        for key, value in tool.function.items():
            yield from _texts(value, f"tools[{i}].{key}", None, label=key == "name")
    yield from _texts(trace.settings, "settings", None)


def _texts(value: Any, where: str, turn: int | None, label: bool = False) -> Iterator[Text]:
    if isinstance(value, str):
        if value:
            yield Text(where, turn, value, label)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key:
                yield Text(f"{where} key", turn, key, label=True)
            yield from _texts(item, f"{where}.{key}", turn)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, f"{where}[{i}]", turn)


def map_texts(trace: Trace, change: Change) -> Trace:
    """A copy whose texts are what `change` returns for them; id, group and source stay.

    Empty texts and what is no text are not asked for. Roles are not changed. Where `change` makes
    two keys of an object equal, the later value would replace the earlier: labels must stay apart.
    """
    return replace(
        trace,
        messages=tuple(_message(message, i, change) for i, message in enumerate(trace.messages)),
        tools=_tools(trace.tools, change),
        settings=_value(trace.settings, "settings", None, change),
    )


def _message(message: Message, index: int, change: Change) -> Message:
    where = f"messages[{index}]"

    def changed(key: str, label: bool = False) -> Any:
        text = getattr(message, key)
        return change(Text(f"{where}.{key}", index, text, label)) if text else text

    return replace(
        message,
        content=changed("content"),
        reasoning=changed("reasoning"),
        tool_calls=tuple(
            _call(call, f"{where}.tool_calls[{j}]", index, change)
            for j, call in enumerate(message.tool_calls)
        ),
        tool_call_id=changed("tool_call_id", label=True),
        name=changed("name", label=True),
    )


def _call(call: ToolCall, where: str, turn: int, change: Change) -> ToolCall:
    return ToolCall(
        change(Text(f"{where}.name", turn, call.name, label=True)) if call.name else call.name,
        _value(call.arguments, f"{where}.arguments", turn, change),
        change(Text(f"{where}.id", turn, call.id, label=True)) if call.id else call.id,
    )


def _tools(tools: tuple[Tool, ...], change: Change) -> tuple[Tool, ...]:
    changed = []
    for i, tool in enumerate(tools):
        function = {
            key: _value(value, f"tools[{i}].{key}", None, change, label=key == "name")
            for key, value in tool.function.items()
        }
        changed.append(Tool(function))
    return tuple(changed)


def _value(value: Any, where: str, turn: int | None, change: Change, label: bool = False) -> Any:
    if isinstance(value, str):
        return change(Text(where, turn, value, label)) if value else value
    if isinstance(value, Mapping):
        return {
            (change(Text(f"{where} key", turn, key, label=True)) if key else key): _value(
                item, f"{where}.{key}", turn, change
            )
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_value(item, f"{where}[{i}]", turn, change) for i, item in enumerate(value)]
    return value
