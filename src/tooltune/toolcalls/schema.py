"""Calls against the tools' own JSON schemas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from tooltune.toolcalls.tools import Tools, tool_schemas
from tooltune.toolcalls.types import ParsedToolCall
from tooltune.traces.frozen import thaw

_PLAIN_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are data: a `$ref` in there is none."""


def schema_violations(calls: Sequence[ParsedToolCall], tools: Tools) -> dict[str, int] | None:
    """How often each kind of fault occurs in the calls; empty where all satisfy their schemas.

    Kinds are JSON schema's keywords (`required`: one for each missing property, `type`, `enum`,
    `additionalProperties`, …), `unknown_tool` for a call of none of `tools`, and `unreadable` for
    arguments nested deeper than a recursive schema can be followed or beyond a double. A value
    that fits no branch of `anyOf` or `oneOf` counts as what is wrong with it in all of them
    (`type` for text where a number or null should be), else as that keyword.

    None where a called tool's own schema is no valid JSON schema (`{"type": "float"}` is common
    in the wild) and nothing else is at fault: nobody can say then, and the calls themselves can be
    judged all the same. Raises `UserError` for a tool without a name.
    """
    schemas = tool_schemas(tools)
    kinds: Counter[str] = Counter()
    open_question = False
    for call in calls:
        if call.name not in schemas:
            kinds["unknown_tool"] += 1
            continue
        validator = _validator(json.dumps(thaw(schemas[str(call.name)])))
        if validator is None:
            open_question = True
            continue
        try:
            kinds.update([_kind(error) for error in validator.iter_errors(call.arguments)])
        except _CANNOT_SAY:
            kinds["unreadable"] += 1
    if open_question and not kinds:
        return None
    return dict(sorted(kinds.items()))


def _kind(error: ValidationError) -> str:
    """The keyword that a value breaks; in a choice, the one that it breaks in every branch."""
    inside = {str(branch.validator) for branch in error.context or ()}
    if error.validator in ("anyOf", "oneOf") and len(inside) == 1:
        return inside.pop()
    return str(error.validator)


def is_valid_schema(schema: Mapping[str, Any]) -> bool:
    """Whether it is a JSON schema that says all it refers to."""
    return _validator(json.dumps(schema)) is not None


def errors_of(schema: Mapping[str, Any], value: Any) -> list[ValidationError]:
    """What is wrong with a value; nothing where the schema is invalid or cannot be followed."""
    validator = _validator(json.dumps(schema))
    if validator is None:
        return []
    try:
        return list(validator.iter_errors(value))
    except _CANNOT_SAY:
        return []


_CANNOT_SAY = (RecursionError, OverflowError)
"""Nested deeper than a recursive schema can follow; a number beyond a double."""


@lru_cache(maxsize=4096)
def _validator(schema_text: str) -> Validator | None:
    """A validator of one schema (JSON schema 2020-12 unless `$schema` says otherwise).

    None for an invalid one. References are resolved inside the schema alone: data must not make
    us fetch anything.
    """
    schema = json.loads(schema_text)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
        for reference in _references(schema):
            resolver.lookup(reference)
    except (SchemaError, Unresolvable, ValueError, RecursionError):
        return None
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
