"""Short ways to write traces, and what lint says of them."""

from __future__ import annotations

from typing import Any

from tooltune.traces import Message, Source, Tool, ToolCall, Trace
from tooltune.traces.lint import CHECKS, findings_of

WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city"],
    },
}
TIME = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}


def user(text: str = "How is it in Rome?") -> Message:
    return Message("user", text)


def says(text: str | None = "Sunny.", **rest: Any) -> Message:
    return Message("assistant", text, **rest)


def calls(*calls: ToolCall, **rest: Any) -> Message:
    return Message("assistant", tool_calls=calls or (call(),), **rest)


def call(name: str = "get_weather", id: str | None = None, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments or {"city": "Rome"}, id)


def result(text: str = "sunny", name: str = "get_weather", id: str | None = None) -> Message:
    return Message("tool", text, tool_call_id=id, name=name)


def trace(*messages: Message, tools: Any = (WEATHER, TIME), row: int = 0, **settings: Any) -> Trace:
    made = tuple(Tool(function) for function in tools)
    return Trace(messages, made, settings, source=Source("t.jsonl", row))


def codes(trace: Trace, checks: Any = CHECKS) -> list[tuple[str, int | None]]:
    """(code, message index) of every finding in a trace."""
    return [(finding.code, finding.turn) for finding in findings_of(trace, checks)]
