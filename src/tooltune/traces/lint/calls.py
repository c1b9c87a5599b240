"""Checks of calls against the names of the tools that a row defines, and of those definitions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tooltune.traces.jsonio import show
from tooltune.traces.lint.types import Finding, found
from tooltune.traces.types import Tool, ToolCall, Trace

_SHOWN = 6  # names of tools in a message
# Whole values that only hold the place of one: <city>, {{city}}, YOUR_API_KEY, ...
_PLACEHOLDER = re.compile(
    r"<[a-z][\w -]*>|\{\{[^{}]*\}\}|\$\{\w+\}|\[(?:insert|your|placeholder)\b[^\]]*\]|"
    r"your[_ -]\w*(?:key|token|password|name|email|id|address)|insert[_ -]\w+[_ -]here|"
    r"placeholder|todo|tbd|x{4,}|\.{3}|lorem ipsum.*",
    re.IGNORECASE,
)


def check_tools_called(trace: Trace) -> Iterator[Finding]:
    """Calls of tools that the row does not define."""
    defined = [tool.name for tool in trace.tools]
    calls = [(i, call) for i, m in enumerate(trace.messages) for call in m.tool_calls]
    if calls and not defined:
        yield found(trace, "calls_without_tools", calls[0][0], f"{len(calls)} calls, but no tools")
        return
    names = ", ".join(map(show, defined[:_SHOWN])) + (", ..." if len(defined) > _SHOWN else "")
    for i, call in calls:
        if call.name not in defined:
            what = f"calls {show(call.name)}; its tools are {names}"
            yield found(trace, "undefined_tool", i, what)


def check_repeated_calls(trace: Trace) -> Iterator[Finding]:
    """Turns with the same call twice."""
    for i, message in enumerate(trace.messages):
        seen: list[ToolCall] = []
        for call in message.tool_calls:
            if any(same_call(call, other) for other in seen):
                yield found(trace, "repeated_call", i, f"{show(call.name)} twice, arguments alike")
            seen.append(call)


def same_call(call: ToolCall, other: ToolCall) -> bool:
    return call.name == other.name and same_json(call.arguments, other.arguments)


def same_json(one: Any, other: Any) -> bool:
    """Equality of JSON values: keys in any order, and `True` is not 1 as in Python."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def check_definitions(trace: Trace) -> Iterator[Finding]:
    """Tools that are defined twice."""
    for first, second in repeated_tools(trace.tools):
        name = show(trace.tools[second].name)
        what = f"tools[{first}] and tools[{second}] are both {name}"
        alike = same_json(trace.tools[first].function, trace.tools[second].function)
        yield found(trace, "duplicate_tool" if alike else "conflicting_tools", None, what)


def repeated_tools(tools: tuple[Tool, ...]) -> Iterator[tuple[int, int]]:
    """(first index, later index) of every definition that repeats a name."""
    first: dict[str, int] = {}
    for i, tool in enumerate(tools):
        if first.setdefault(tool.name, i) != i:
            yield first[tool.name], i


def check_placeholders(trace: Trace) -> Iterator[Finding]:
    """Arguments that only hold the place of a value."""
    for i, message in enumerate(trace.messages):
        for j, call in enumerate(message.tool_calls):
            for path, text in _texts(call.arguments, f"tool_calls[{j}].arguments"):
                if _PLACEHOLDER.fullmatch(text.strip()):
                    what = f"{path} of {show(call.name)} is {show(text)}"
                    yield found(trace, "placeholder_argument", i, what)


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{where}.{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, f"{where}[{i}]")
