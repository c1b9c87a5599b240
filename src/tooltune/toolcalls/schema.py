"""Calls against the tools' own JSON schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from tooltune.errors import UserError
from tooltune.toolcalls.tools import Tools, tool_schemas
from tooltune.toolcalls.types import ParsedToolCall
from tooltune.traces.frozen import thaw

_PLAIN_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are data: a `$ref` in there is none."""


def check_schemas(tools: Tools) -> None:
    """Raise `UserError` for a tool without a name or with an invalid schema."""
    for tool, schema in tool_schemas(tools).items():
        _validator(tool, schema)


def validate_calls(calls: Sequence[ParsedToolCall], tools: Tools) -> bool:
    """Whether every call names one of `tools` and its arguments satisfy that tool's schema.

    Raises `UserError` for a tool without a name or with an invalid schema.
    """
    schemas = tool_schemas(tools)
    return all(
        call.name in schemas and _satisfies(call.name, schemas[call.name], call.arguments)
        for call in calls
    )


def _satisfies(tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    try:
        return bool(_validator(tool, schema).is_valid(arguments))
    except (RecursionError, OverflowError):
        return False  # nested deeper than a recursive schema can follow, or beyond a double


def _validator(tool: str, schema: Mapping[str, Any]) -> Validator:
    return _cached_validator(tool, json.dumps(thaw(schema)))


@lru_cache(maxsize=4096)
def _cached_validator(tool: str, schema_text: str) -> Validator:
    """A validator of one schema (JSON schema 2020-12 unless `$schema` says otherwise).

    References are resolved inside the schema alone: data must not make us fetch anything.
    """
    schema = json.loads(schema_text)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
        for reference in _references(schema):
            resolver.lookup(reference)
    except SchemaError as error:
        raise _invalid_schema(tool, f"{error.message} (at {error.json_path})") from None
    except (Unresolvable, ValueError, RecursionError) as error:
        raise _invalid_schema(tool, f"{type(error).__name__}: {error}") from None
    validator: Validator = kind(schema, registry=Registry())
    return validator


def _references(schema: Any) -> Iterator[str]:
    pending = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                yield reference
            pending.extend(item for key, item in value.items() if key not in _PLAIN_DATA)
        elif isinstance(value, list):
            pending.extend(value)


def _invalid_schema(tool: str, why: str) -> UserError:
    return UserError(
        f"the parameters of tool {tool!r} are not a valid JSON schema, so calls cannot be "
        f"checked against it: {why}",
        fix="correct the tool's `parameters`, or remove the row from the evaluation data",
    )
