"""Typed parts of a message, under the names that SDKs and logs give their types and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.traces.formats.shared.blocks import Blocks, make_call
from tooltune.traces.formats.shared.calls import read_label
from tooltune.traces.formats.shared.common import read_flag
from tooltune.traces.formats.shared.parts import TEXT_KEYS, read_text, result_text, unsupported_part
from tooltune.traces.types import Message

THOUGHTS = ("reasoning", "thinking")
CALLS = ("tool-call", "tool_call", "function_call", "tool_use")
RESULTS = ("tool-result", "tool_result", "tool_call_response", "function_call_output")
MARKS = ("step-start",)
OWN_TYPES = (*THOUGHTS, *CALLS, *RESULTS, *MARKS)
_NAMES = ("name", "toolName", "tool_name")
_IDS = ("id", "toolCallId", "tool_call_id", "tool_use_id", "call_id")
_ARGUMENTS = ("arguments", "args", "input", "parameters")
_OUTPUTS = ("output", "result", "response", "content")
_NESTED = ("tool_call", "toolCall", "function_call", "function")


def add_part(said: Blocks, part: Mapping[str, Any], where: str) -> None:
    """Add a part of text, reasoning or a call to a message.

    Raises `RowError` (`unsupported_part`, or as `Blocks`, `make_call` and `read_text`).
    """
    kind = part.get("type")
    if kind in MARKS:
        return
    if kind in CALLS:
        inner = part.get(_key(part, _NESTED))
        call = {**part, **inner} if isinstance(inner, Mapping) else part
        id, name, arguments = _key(call, _IDS), _key(call, _NAMES), _key(call, _ARGUMENTS)
        said.calls.append(make_call(call, where, id=id, name=name, arguments=arguments))
    elif kind in THOUGHTS or kind in tuple(TEXT_KEYS):
        key = _key(part, ("text", kind, "content"))
        text = read_text(part.get(key), f"{where}.{key}")
        (said.think if kind in THOUGHTS else said.say)(text, where)
    else:
        raise unsupported_part(part, where)


def read_result(part: Mapping[str, Any], where: str, weight: float) -> Message:
    """The tool message of a result part. Raises `RowError`."""
    key = next((key for key in _OUTPUTS if key in part), _OUTPUTS[0])
    value, place = part.get(key), f"{where}.{key}"
    is_error = read_flag(part, _key(part, ("is_error", "isError")), where)
    if key == "output" and isinstance(value, Mapping) and isinstance(value.get("type"), str):
        kind = value["type"]  # the AI SDK says what kind of value it is
        if kind not in ("text", "json", "content", "error-text", "error-json"):
            raise unsupported_part(value, place)
        is_error = is_error or kind.startswith("error")
        value = value.get("value")
    ids, names = _key(part, _IDS), _key(part, _NAMES)
    return Message(
        "tool",
        # A JSON null is a value here, not a result left out.
        "null" if value is None and key in part else result_text(value, place),
        tool_call_id=read_label(part.get(ids), f"{where}.{ids}"),
        name=read_label(part.get(names), f"{where}.{names}"),
        weight=weight,
        is_error=is_error,
    )


def _key(value: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first of `keys` that holds something, else the first."""
    return next((key for key in keys if value.get(key) is not None), keys[0])
