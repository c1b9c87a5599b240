"""The safe repair that needs schemas: values that were encoded twice are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tooltune.toolcalls.lint import decoded, is_encoded_twice
from tooltune.toolcalls.schema import errors_of
from tooltune.traces.frozen import thaw
from tooltune.traces.lint.fix import repairs
from tooltune.traces.lint.rewrite import Change, Rewrite
from tooltune.traces.types import ToolCall, Trace

_DEEPEST = 8  # values within decoded values


def decode_arguments(trace: Trace) -> tuple[Trace, list[Change]]:
    """Decode the texts that stand where a tool's schema wants the object or list they encode."""
    schemas = {tool.name: tool.parameters for tool in trace.tools}
    changes: list[Change] = []
    messages = []
    for i, message in enumerate(trace.messages):
        calls = []
        for j, call in enumerate(message.tool_calls):
            if call.name in schemas:
                call, paths = _decode(call, schemas[call.name])
                for path in paths:
                    where = f"messages[{i}].tool_calls[{j}].arguments.{path}"
                    changes.append(Change("fixed_arguments_encoded_twice", f"{where} decoded"))
            calls.append(call)
        messages.append(replace(message, tool_calls=tuple(calls)) if calls else message)
    return (replace(trace, messages=tuple(messages), id="") if changes else trace), changes


def _decode(call: ToolCall, schema: Any) -> tuple[ToolCall, list[str]]:
    arguments = thaw(call.arguments)
    paths: list[str] = []
    for _ in range(_DEEPEST):
        wrong = [error for error in errors_of(schema, arguments) if is_encoded_twice(error)]
        if not wrong:
            break
        for error in wrong:
            path = list(error.absolute_path)
            if path:
                _put(arguments, path, decoded(error.instance, error.validator_value))
                paths.append(".".join(map(str, path)))
    return (ToolCall(call.name, arguments, call.id) if paths else call), paths


def _put(value: Any, path: Sequence[Any], new: Any) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new


def all_repairs() -> list[Rewrite]:
    """Every safe repair, in order; each pass over traces needs its own."""
    return [decode_arguments, *repairs()]
