"""Read what is JSON inside a row: tool schemas and tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.jsonio import RowError, loads, show
from tooltune.traces.types import Tool, ToolCall


def parse_text(value: Any, where: str) -> Any:
    """`value`, read as JSON where it is a text; an empty text is `None`."""
    if not isinstance(value, str):
        return value
    return loads(value, where) if value.strip() else None


def read_tools(value: Any, where: str = "tools") -> tuple[Tool, ...]:
    """Tools from a list or its JSON text, each wrapped (`{"type", "function"}`) or bare.

    Missing, empty and `[]` all mean no tools. Raises `RowError` (`tools_not_a_list`,
    `tool_not_an_object`, `tool_without_name`, `unsupported_tool`, `parameters_not_an_object`, or
    as `loads`).
    """
    tools = parse_text(value, where)
    if tools is None:
        return ()
    if not isinstance(tools, (list, tuple)):
        reason = f"{where} is {_kind(tools)}; write a list of tools, or its JSON text"
        raise RowError("tools_not_a_list", reason)
    return tuple(_read_tool(tool, f"{where}[{i}]") for i, tool in enumerate(tools))


def _read_tool(value: Any, where: str) -> Tool:
    tool = parse_text(value, where)
    if not isinstance(tool, Mapping):
        raise RowError(
            "tool_not_an_object", f"{where} is {_kind(tool)}; write an object with a name"
        )
    function = _unwrap(tool)
    name = function.get("name")
    _check_type(tool, name, "tool", where)
    if not isinstance(name, str) or not name:
        raise RowError("tool_without_name", f"{where}: name is {show(name)}; give the tool a name")
    parameters = parse_text(function.get("parameters"), f"{where}.parameters")
    if parameters and not isinstance(parameters, Mapping):
        reason = f"{where}.parameters ({name}) is {_kind(parameters)}; write a JSON schema object"
        raise RowError("parameters_not_an_object", reason)
    if isinstance(function.get("parameters"), str):
        function = {**function, "parameters": parameters or {}}
    return Tool(function)


def _check_type(entry: Mapping[str, Any], name: Any, what: str, where: str) -> None:
    """Refuse OpenAI's `custom` tools (free text, no arguments) and tools that the server runs."""
    kind = entry.get("type")
    if isinstance(kind, str) and (kind == "custom" or (kind != "function" and name is None)):
        reason = (
            f"{where}: a {what} of type {show(kind, 30)}; only functions with JSON arguments can "
            "be learnt; remove the row"
        )
        raise RowError(f"unsupported_{what}", reason)


def _unwrap(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function object of a wrapped or bare entry; keys beside `function` are kept inside it."""
    function = entry.get("function")
    if isinstance(function, Mapping):
        beside = {key: entry[key] for key in entry if key not in ("type", "function", *function)}
        return {**function, **beside}
    if entry.get("type") == "function":
        return {key: value for key, value in entry.items() if key != "type"}
    return entry


def read_calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    """Calls from one call object, a list of them, or the JSON text of either.

    A call is `{"name", "arguments"}`, bare or wrapped, with an optional `id`. Raises `RowError`
    (`no_calls`, `call_not_an_object`, `call_without_name`, `unsupported_call`,
    `arguments_not_an_object`, or as `loads`).
    """
    calls = parse_text(value, where)
    if isinstance(calls, Mapping):
        return (_read_call(calls, where),)
    if not isinstance(calls, (list, tuple)):
        reason = f'{where} is {_kind(calls)}; write {{"name": ..., "arguments": {{...}}}}'
        raise RowError("call_not_an_object", reason)
    if not calls:
        raise RowError("no_calls", f"{where} is an empty list of calls; remove the turn")
    return tuple(_read_call(call, f"{where}[{i}]") for i, call in enumerate(calls))


def _read_call(value: Any, where: str) -> ToolCall:
    call = parse_text(value, where)
    if not isinstance(call, Mapping):
        raise RowError(
            "call_not_an_object", f"{where} is {_kind(call)}; write an object with a name"
        )
    function = _unwrap(call)
    name = function.get("name")
    _check_type(call, name, "call", where)
    if not isinstance(name, str) or not name:
        raise RowError("call_without_name", f"{where}: name is {show(name)}; name the tool called")
    key = "arguments" if "arguments" in function else "parameters"  # Llama's own call syntax
    arguments = read_arguments(function.get(key), f"{where}.{key}")
    return ToolCall(name, arguments, id=read_label(function.get("id"), f"{where}.id"))


def read_arguments(value: Any, where: str) -> Mapping[str, Any]:
    """An arguments object or its JSON text; missing, null and empty text mean no arguments.

    Raises `RowError("arguments_not_an_object", ...)`, or as `loads`.
    """
    arguments = parse_text(value, where)
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        twice = " (encoded twice?)" if isinstance(value, str) and isinstance(arguments, str) else ""
        reason = f"{where} is {_kind(arguments)}{twice}; write an object such as {{}}"
        raise RowError("arguments_not_an_object", reason)
    return arguments


def read_label(value: Any, where: str) -> str | None:
    """An id or a name: text, or `None` where it is missing or empty. Raises `field_not_text`."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RowError("field_not_text", f"{where} is {_kind(value)}; write it as text")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    names |= {int: "a number", float: "a number", type(None): "empty"}
    return f"{names.get(type(value), type(value).__name__)} ({show(value, 30)})"
