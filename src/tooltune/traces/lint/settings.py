"""Checks of answers against the request settings of their row.

OpenAI API reference, chat completions: `tool_choice` ("none", "auto", "required", one function, or
a list of allowed tools), `parallel_tool_calls`, `response_format`. A request's settings bind its
response, the row's last assistant turn; `parallel_tool_calls` is held against all turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tooltune.traces.jsonio import RowError, loads, show
from tooltune.traces.lint.conversation import last_answer
from tooltune.traces.lint.types import Finding, found
from tooltune.traces.types import Trace


def check_tool_choice(trace: Trace) -> Iterator[Finding]:
    index = last_answer(trace)
    if index < 0 or trace.settings.get("tool_choice") is None:
        return
    choice = trace.settings["tool_choice"]
    names = [call.name for call in trace.messages[index].tool_calls]
    mode, allowed = _allowed(choice)
    said = f"tool_choice is {show(choice)}"
    if mode == "none" and names:
        yield found(trace, "tool_choice_broken", index, f"{said}, but it calls {show(names[0])}")
    elif mode == "required" and not names:
        yield found(trace, "tool_choice_broken", index, f"{said}, but it calls nothing")
    elif allowed is not None and (other := next((n for n in names if n not in allowed), None)):
        yield found(trace, "tool_choice_broken", index, f"{said}, but it calls {show(other)}")


def _allowed(choice: Any) -> tuple[str, list[Any] | None]:
    """The mode of a `tool_choice` ("auto" where it is none we know), and the names it allows."""
    if isinstance(choice, str):
        return choice, None
    if not isinstance(choice, Mapping):
        return "auto", None
    if choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools", choice)
        inner = inner if isinstance(inner, Mapping) else {}
        tools = inner.get("tools")
        names = [_name(tool) for tool in tools] if isinstance(tools, list) else None
        return str(inner.get("mode", "auto")), names
    name = _name(choice)
    return ("auto", None) if name is None else ("required", [name])


def _name(entry: Any) -> Any:
    """The name in `{"function": {"name"}}` or `{"name"}`."""
    if not isinstance(entry, Mapping):
        return None
    function = entry.get("function")
    return (function if isinstance(function, Mapping) else entry).get("name")


def check_parallel_calls(trace: Trace) -> Iterator[Finding]:
    if trace.settings.get("parallel_tool_calls") is not False:
        return
    for i, message in enumerate(trace.messages):
        if len(message.tool_calls) > 1:
            yield found(trace, "parallel_calls_broken", i, f"{len(message.tool_calls)} calls")


def check_response_format(trace: Trace) -> Iterator[Finding]:
    """The last turn's text is JSON where that was asked for; a turn with calls is none."""
    answer = asked_json(trace)
    if answer is None:
        return
    index, text, kind = answer
    try:
        value = loads(text)
    except RowError:
        what = f"response_format is {kind}, but the text is no JSON: {show(text)}"
        yield found(trace, "response_format_broken", index, what)
        return
    if kind == "json_object" and not isinstance(value, Mapping):
        what = f"response_format is json_object, but the text is {show(text)}"
        yield found(trace, "response_format_broken", index, what)


def asked_json(trace: Trace) -> tuple[int, str, str] | None:
    """(message index, text, kind of response format) of a last answer that must be JSON."""
    index = last_answer(trace)
    wanted = trace.settings.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if index < 0 or kind not in ("json_object", "json_schema"):
        return None
    message = trace.messages[index]
    return None if message.tool_calls else (index, message.content or "", kind)
