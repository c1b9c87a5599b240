"""Values that a call writes as bare text, typed by the JSON schema of the tool's parameter.

XML families print a string as it is and anything else as JSON, so `5` may be the number or the
string, and only the schema can tell. Where it cannot either (a parameter that it does not declare,
one of any type, or a string as well as others), a text that is exactly what a template prints for
a value other than a string is that value, and any other text a string: so nothing but strings
that look like JSON, as `"5"` or `"true"`, is read otherwise than it was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from tooltune.toolcalls.json_text import InvalidJSON, json_equal, read_json, skip_space
from tooltune.toolcalls.python_text import read_value as read_python

Kinds: TypeAlias = frozenset[str]
"""JSON types that a schema allows."""

_ANY: Kinds = frozenset({"string", "integer", "number", "boolean", "null", "object", "array"})
_STRING: Kinds = frozenset({"string"})
_TYPES: Mapping[str, Kinds] = {
    **{kind: frozenset({kind}) for kind in _ANY},
    "number": frozenset({"number", "integer"}),
    # Names of Python types, which tools in the wild have where JSON's belong.
    "str": _STRING,
    "int": frozenset({"integer"}),
    "float": frozenset({"number", "integer"}),
    "double": frozenset({"number", "integer"}),
    "bool": frozenset({"boolean"}),
    "dict": frozenset({"object"}),
    "list": frozenset({"array"}),
    "tuple": frozenset({"array"}),
}
_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_MAX_DEPTH, _MAX_SCHEMAS = 16, 500
"""Schemas inside schemas that are followed; what lies behind them may be of any type."""


def read_value(
    text: str, schema: Any, root: Mapping[str, Any], *, python_words: bool = False
) -> Any:
    """The value that `text` stands for under `schema`, a subschema of `root`. Never raises.

    A schema that allows strings only keeps the text; one that allows none reads any JSON of its
    types. What cannot be of the schema's type is a wrong value, and given as what was written: the
    value that a template prints so where no string is allowed, else the text. With `python_words`,
    `True`, `False` and `None` are read as JSON's words are: some templates print them so.
    """
    kinds = _kinds(schema, root, _Walk())
    if kinds <= _STRING:
        return text
    value = _value(text, python_words)
    if isinstance(value, str):
        return text
    fits, is_printed = bool(kinds & _kinds_of(value)), _is_as_printed(text, value)
    if "string" not in kinds:
        return value if fits or is_printed else text
    return value if fits and is_printed and _is_meant(text, value, schema) else text


def property_schema(root: Mapping[str, Any], key: str) -> Any:
    """The schema of a tool's parameter `key`; `True` (anything) where it is not declared."""
    return _property(root, key, root, _Walk()) or True


class _Walk:
    """A walk over schemas in schemas that ends, however they refer to each other."""

    def __init__(self, depth: int = 0, steps: Iterator[int] | None = None) -> None:
        self._depth = depth
        self._steps = steps or iter(range(_MAX_SCHEMAS))

    def deeper(self) -> _Walk:
        return _Walk(self._depth + 1, self._steps)

    def is_over(self) -> bool:
        return self._depth > _MAX_DEPTH or next(self._steps, None) is None


def _property(schema: Any, key: str, root: Mapping[str, Any], walk: _Walk) -> Any:
    if not isinstance(schema, Mapping) or walk.is_over():
        return None
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        return properties[key]
    inner = [_target(schema, root)]
    for word in ("allOf", "anyOf", "oneOf"):
        inner += _listed(schema.get(word))
    for other in inner:
        found = _property(other, key, root, walk.deeper())
        if found is not None:
            return found
    extra = schema.get("additionalProperties")
    return extra if isinstance(extra, Mapping) else None


def _kinds(schema: Any, root: Mapping[str, Any], walk: _Walk) -> Kinds:
    """The types that a value may have; every one where the schema does not say."""
    if not isinstance(schema, Mapping) or walk.is_over():
        return _ANY
    kinds = _own_kinds(schema)
    if "$ref" in schema:
        kinds &= _kinds(_target(schema, root), root, walk.deeper())
    for inner in _listed(schema.get("allOf")):
        kinds &= _kinds(inner, root, walk.deeper())
    for word in ("anyOf", "oneOf"):
        if choices := _listed(schema.get(word)):
            allowed = [_kinds(choice, root, walk.deeper()) for choice in choices]
            kinds &= frozenset().union(*allowed)
    return kinds | {"null"} if schema.get("nullable") is True else kinds


def _own_kinds(schema: Mapping[str, Any]) -> Kinds:
    given = schema.get("type")
    kinds = _ANY
    if names := [given] if isinstance(given, str) else _listed(given):
        kinds = frozenset().union(*(_named_kind(name) for name in names))
    elif "properties" in schema:
        kinds = _TYPES["object"]
    elif "items" in schema:
        kinds = _TYPES["array"]
    members = _members(schema)
    return kinds & frozenset().union(*map(_kinds_of, members)) if members else kinds


def _named_kind(name: Any) -> Kinds:
    return _TYPES.get(name, _ANY) if isinstance(name, str) else _ANY


def _members(schema: Mapping[str, Any]) -> Sequence[Any]:
    return [schema["const"]] if "const" in schema else _listed(schema.get("enum"))


def _target(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """What a `$ref` inside the same schema points to; anything where it cannot be followed."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    value: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _kinds_of(value: Any) -> Kinds:
    if isinstance(value, bool):
        return _TYPES["boolean"]
    if isinstance(value, float):
        # JSON schema: 5.0 is an integer.
        return _TYPES["number"] if value.is_integer() else frozenset({"number"})
    names = {int: "integer", str: "string", type(None): "null"}
    name = names.get(type(value), "object" if isinstance(value, Mapping) else "array")
    return frozenset({name})


def _value(text: str, python_words: bool) -> Any:
    """The JSON value that `text` is, else the text."""
    if python_words and (word := text.strip()) in _PYTHON_WORDS:
        return _PYTHON_WORDS[word]
    try:
        return read_json(text)
    except InvalidJSON:
        if python_words and text.lstrip()[:1] in ("[", "{", "("):
            read = read_python(text, 0, len(text))
            if read.whole and read.sound and skip_space(text, read.end, len(text)) == len(text):
                return read.value
        return text


def _is_as_printed(text: str, value: Any) -> bool:
    """Whether a template prints `value` exactly so: by `tojson`, or a scalar by `string`."""
    if isinstance(value, (dict, list)):
        return any(text == json.dumps(value, ensure_ascii=ascii) for ascii in (False, True))
    return text in (json.dumps(value), str(value))


def _is_meant(text: str, value: Any, schema: Any) -> bool:
    """False where the schema lists its values, and has the text among them but not `value`."""
    members = _members(schema) if isinstance(schema, Mapping) else []
    return text not in members or any(json_equal(value, member) for member in members)
