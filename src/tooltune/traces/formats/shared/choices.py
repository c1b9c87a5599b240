"""Request settings of other APIs, as OpenAI's chat API writes them (`REQUEST_SETTINGS`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from tooltune.traces.formats.shared.common import read_flag, read_settings
from tooltune.traces.jsonio import RowError, show

ANTHROPIC_CHOICES = {"auto": "auto", "any": "required", "none": "none", "tool": "function"}
GEMINI_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}


def anthropic_settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """`tool_choice` with `disable_parallel_tool_use`, `output_config.format` (or `output_format`).

    Raises `RowError("invalid_tool_choice", ...)`, as do the others here.
    """
    settings: dict[str, Any] = {}
    choice = row.get("tool_choice")
    if choice is not None:
        kind = choice.get("type") if isinstance(choice, Mapping) else None
        if not isinstance(kind, str) or kind not in ANTHROPIC_CHOICES:
            raise _invalid(choice, "tool_choice")
        named = ANTHROPIC_CHOICES[kind] == "function"
        name = "tool_choice.name"
        settings["tool_choice"] = (
            _function(choice.get("name"), name) if named else ANTHROPIC_CHOICES[kind]
        )
        if choice.get("disable_parallel_tool_use") is not None:
            single = read_flag(choice, "disable_parallel_tool_use", "tool_choice")
            settings["parallel_tool_calls"] = not single
    config = row.get("output_config")
    shape = row.get("output_format") or (config.get("format") if is_object(config) else None)
    return settings | _response_format(shape, "output_config.format")


def responses_settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI Responses: `tool_choice` is flat there, and `response_format` is `text.format`."""
    settings = read_settings(row)
    choice = settings.get("tool_choice")
    if isinstance(choice, Mapping):
        match choice.get("type"):
            case "function":
                named = choice["function"] if is_object(choice.get("function")) else choice
                settings["tool_choice"] = _function(named.get("name"), "tool_choice.name")
            case "allowed_tools" if isinstance(choice.get("tools"), (list, tuple)):
                names = [tool.get("name") for tool in choice["tools"] if is_object(tool)]
                if len(names) != len(choice["tools"]):
                    raise _invalid(choice, "tool_choice")
                settings["tool_choice"] = _allowed(choice.get("mode", "auto"), names)
            case _:
                raise _invalid(choice, "tool_choice")
    text = row.get("text")
    shape = text.get("format") if is_object(text) else None
    return settings | _response_format(shape, "text.format")


def gemini_settings(config: Any, generation: Any) -> dict[str, Any]:
    """`toolConfig.functionCallingConfig`, and the response type of `generationConfig`."""
    settings: dict[str, Any] = {}
    if config:
        mode, names = pick(config, "mode"), pick(config, "allowedFunctionNames") or ()
        mode = mode.upper() if isinstance(mode, str) else "AUTO" if mode is None else mode
        if mode != "MODE_UNSPECIFIED":
            if not isinstance(mode, str) or mode not in GEMINI_MODES:
                raise _invalid(mode, "toolConfig.functionCallingConfig.mode")
            if not isinstance(names, (list, tuple)):
                raise _invalid(names, "toolConfig.functionCallingConfig.allowedFunctionNames")
            settings["tool_choice"] = _gemini_choice(GEMINI_MODES[mode], names)
    if pick(generation, "responseMimeType") == "application/json":
        schema = pick(generation, "responseJsonSchema") or pick(generation, "responseSchema")
        shape = {"type": "json_schema", "schema": schema} if schema else {"type": "json_object"}
        settings |= _response_format(shape, "generationConfig")
    return settings


def _gemini_choice(mode: str, names: Sequence[Any]) -> Any:
    if not names:
        return mode
    if mode == "required" and len(names) == 1:
        return _function(names[0], "allowedFunctionNames[0]")
    return _allowed(mode, names)


def pick(value: Any, key: str) -> Any:
    """What stands under a camelCase key or its snake_case form; `None` where there is nothing."""
    if not is_object(value):
        return None
    found = value.get(key)
    snake = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in key)
    return value.get(snake) if found is None else found


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _allowed(mode: Any, names: Sequence[Any]) -> dict[str, Any]:
    tools = [_function(name, f"tool_choice.tools[{i}].name") for i, name in enumerate(names)]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def _function(name: Any, where: str) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise _invalid(name, where)
    return {"type": "function", "function": {"name": name}}


def _invalid(value: Any, where: str) -> RowError:
    reason = f"{where} is {show(value)}, which has no OpenAI form; correct or remove it"
    return RowError("invalid_tool_choice", reason)


def _response_format(shape: Any, where: str) -> dict[str, Any]:
    """`{"response_format": ...}` from a flat format; nothing where there is none."""
    if shape is None:
        return {}
    if not isinstance(shape, Mapping) or not isinstance(shape.get("type"), str):
        reason = f"{where} is {show(shape)}; write an object with a type"
        raise RowError("invalid_response_format", reason)
    if shape["type"] != "json_schema" or "json_schema" in shape:
        return {"response_format": shape}
    rest = {key: value for key, value in shape.items() if key != "type"}
    return {"response_format": {"type": "json_schema", "json_schema": rest}}
