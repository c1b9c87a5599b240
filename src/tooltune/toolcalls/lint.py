"""Lint of calls against their tools' own JSON schemas, and of answers against a response format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema.exceptions import ValidationError, best_match

from tooltune.toolcalls.schema import errors_of, is_valid_schema
from tooltune.traces.jsonio import RowError, loads, show
from tooltune.traces.lint.settings import asked_json
from tooltune.traces.lint.types import Check, Finding, found
from tooltune.traces.types import ToolCall, Trace

_CODES = {
    "required": "missing_argument",
    "type": "wrong_argument_type",
    "enum": "argument_not_in_enum",
    "const": "argument_not_in_enum",
    "additionalProperties": "forbidden_argument",
    "unevaluatedProperties": "forbidden_argument",
}
"""JSON schema keywords that have a code of their own."""


def check_schemas(trace: Trace) -> Iterator[Finding]:
    """Parameters that are no valid JSON schema."""
    for i, tool in enumerate(trace.tools):
        if not is_valid_schema(tool.parameters):
            what = f"tools[{i}] ({show(tool.name)}): its parameters are no JSON schema"
            yield found(trace, "invalid_schema", None, what)


def check_arguments(trace: Trace) -> Iterator[Finding]:
    """Arguments against the schema of the tool that the call names; the last definition counts."""
    schemas = {tool.name: tool.parameters for tool in trace.tools}
    for i, message in enumerate(trace.messages):
        for j, call in enumerate(message.tool_calls):
            schema = schemas.get(call.name)
            if schema is None:
                continue
            where = f"tool_calls[{j}].arguments"
            for error in _one_for_all_missing(errors_of(schema, call.arguments)):
                yield _finding(trace, i, where, call, error)
            for name in _undeclared(schema, call.arguments):
                what = f"{where} of {show(call.name)} has {show(name)}, unknown to its schema"
                yield found(trace, "undeclared_argument", i, what)


def _one_for_all_missing(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """`errors` with one for all missing properties of an object instead of one for each."""
    seen: set[tuple[Any, ...]] = set()
    for error in errors:
        place = (*error.absolute_path,)
        if error.validator == "required" and place in seen:
            continue
        if error.validator == "required":
            seen.add(place)
        yield error


def _finding(
    trace: Trace, turn: int, where: str, call: ToolCall, error: ValidationError
) -> Finding:
    path = where + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path
    )
    said = f"{path} of {show(call.name)}: "
    if is_encoded_twice(error):
        what = f"{said}the text {show(error.instance)}, not the value that it encodes"
        return found(trace, "arguments_encoded_twice", turn, what)
    code = _CODES.get(str(error.validator), "argument_against_schema")
    return found(trace, code, turn, said + _why(error))


def _why(error: ValidationError) -> str:
    value: Any = error.instance
    wanted: Any = error.validator_value
    match error.validator:
        case "required":
            missing = [name for name in wanted if name not in value]
            return f"lacks {', '.join(map(show, missing))}"
        case "type":
            kinds = " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
            return f"{show(value)} is no {kinds}"
        case "enum":
            return f"{show(value)} is none of {show(wanted)}"
        case "const":
            return f"{show(value)} is not {show(wanted)}"
        case "additionalProperties" | "unevaluatedProperties":
            declared = error.schema.get("properties") if isinstance(error.schema, Mapping) else {}
            extra = [name for name in value if name not in (declared or {})]
            return f"{', '.join(map(show, extra))}: its schema allows no such argument"
        case "anyOf" | "oneOf":
            return f"{show(value)} matches none of the schema's forms"
    return f"{show(value)} breaks {error.validator}: {show(wanted)}"


def is_encoded_twice(error: ValidationError) -> bool:
    """Whether a text stands where the schema wants an object or list, and encodes one."""
    return error.validator == "type" and decoded(error.instance, error.validator_value) is not None


def decoded(text: Any, wanted: Any) -> Any:
    """The object or list that a text encodes, if `wanted` (a schema's `type`) allows it."""
    kinds = wanted if isinstance(wanted, list) else [wanted]
    if not isinstance(text, str) or text.strip()[:1] not in ("{", "["):
        return None
    try:
        value = loads(text)
    except RowError:
        return None
    kind = "object" if isinstance(value, dict) else "array"
    return value if kind in kinds else None


def _undeclared(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """Arguments that a schema with properties does not name, where it says nothing about others.

    A schema that composes others (`anyOf`, `$ref`, ...) or has patterns may name them elsewhere.
    """
    declared = schema.get("properties")
    plain = {"type", "properties", "required", "description", "title", "$schema", "optional"}
    if not isinstance(declared, Mapping) or not declared or not set(schema) <= plain:
        return []
    return [name for name in arguments if name not in declared]


def check_response_schema(trace: Trace) -> Iterator[Finding]:
    """The last turn's JSON against the schema of `response_format` (type `json_schema`)."""
    answer = asked_json(trace)
    if answer is None or answer[2] != "json_schema":
        return
    index, text, _ = answer
    wanted = trace.settings["response_format"].get("json_schema")
    schema = wanted.get("schema") if isinstance(wanted, Mapping) else None
    if not isinstance(schema, Mapping):
        return
    try:
        value = loads(text)
    except RowError:
        return  # `traces.lint.settings` says so
    error = best_match(errors_of(schema, value))
    if error is not None:
        place = "".join(f"[{json.dumps(step)}]" for step in error.absolute_path)
        what = f"the answer{place} does not satisfy the schema: {_why(error)}"
        yield found(trace, "response_format_broken", index, what)


CALL_CHECKS: dict[str, Check] = {
    "schemas": check_schemas,
    "arguments": check_arguments,
    "response_schema": check_response_schema,
}
