"""Bring the parameter descriptions of data sets into JSON Schema.

Data sets name types as Python, Java or JavaScript do (`dict`, `float`, `List[int]`, `HashMap`,
`any`). Every rule here keeps what was said: a type that JSON Schema cannot say (`Callable[...]`)
goes to `format`, which annotates and restricts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.shared.calls import parse_text
from tooltune.traces.jsonio import RowError, show

_GROUPS = {
    "string": "str string char character text",
    "integer": "int integer long short byte bigint",
    "number": "float double number decimal",
    "boolean": "bool boolean",
    "array": "list array arraylist tuple set sequence iterable queue stack",
    "object": "dict dictionary object hashmap hashtable map mapping",
    "null": "none null nonetype",
}
_TYPES = {name: kind for kind, names in _GROUPS.items() for name in names.split()}
_JSON_TYPES = frozenset(_GROUPS)
_ANY = frozenset(["any", "", "typing.any"])
_SCHEMAS = ("items", "additionalProperties", "not")
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAX_TYPE_TEXT = 300


def type_schema(text: str) -> tuple[dict[str, Any], bool]:
    """The JSON Schema of a type name, and whether it says that the parameter is optional.

    `"List[int], optional"` gives `({"type": "array", "items": {"type": "integer"}}, True)`.
    """
    parts = [part.strip() for part in _split(text)]
    optional = len(parts) > 1 and parts[-1].lower() == "optional"
    name = ", ".join(parts[:-1] if optional else parts)
    head, inner = _generic(name)
    if head == "optional" and inner:
        return type_schema(inner)[0], True
    return _schema_of(name), optional


def _schema_of(name: str) -> dict[str, Any]:
    head, inner = _generic(name)
    if head in _ANY and not inner:
        return {}
    kind = _TYPES.get(head)
    arguments = [part.strip() for part in _split(inner)] if inner else []
    if head in ("union", "optional") and arguments:
        options = [_schema_of(part) for part in arguments]
        return {"anyOf": [*options, {"type": "null"}] if head == "optional" else options}
    if kind is None or (arguments and kind not in ("array", "object")):
        return {"format": name}
    schema: dict[str, Any] = {"type": kind}
    if kind == "object" and len(arguments) == 2:
        schema["additionalProperties"] = _schema_of(arguments[1]) or True
    elif kind == "array" and arguments:
        schema |= _items(head, [part for part in arguments if part != "..."])
    return schema


def _items(head: str, arguments: list[str]) -> dict[str, Any]:
    items = [_schema_of(part) for part in arguments]
    if head == "tuple" and len(items) > 1:
        return {"prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return {"items": items[0]} if len(items) == 1 else {"items": {"anyOf": items}}


def _generic(name: str) -> tuple[str, str]:
    """`"List[int]"` to `("list", "int")`; the second is empty where there are no brackets."""
    head, opened, rest = name.strip().partition("[")
    if opened and rest.endswith("]") and len(name) <= _MAX_TYPE_TEXT:
        return head.strip().lower().removeprefix("typing."), rest[:-1]
    return name.strip().lower(), ""


def _split(text: str) -> list[str]:
    """Cut at the commas that stand in no brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += {"[": 1, "]": -1}.get(sign, 0)
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def normal_schema(schema: Any) -> Any:
    """The same schema with JSON Schema's type names, keys in their order; `required: null` goes."""
    if not isinstance(schema, Mapping):
        return schema
    normal: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str) and value not in _JSON_TYPES:
            for name, said in type_schema(value)[0].items():
                if name == "type" or name not in schema:
                    normal[name] = said
        elif key == "properties" and isinstance(value, Mapping):
            normal[key] = {name: normal_schema(part) for name, part in value.items()}
        elif key in _SCHEMAS:
            normal[key] = normal_schema(value)
        elif key in _LISTS_OF_SCHEMAS and isinstance(value, (list, tuple)):
            normal[key] = [normal_schema(part) for part in value]
        elif key != "required" or value is not None:
            normal[key] = value
    return normal


def flat_schema(parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`{"city": {"type": "str, optional", "default": ""}}` as the schema of an object.

    A parameter is required unless its type says optional or it has a default. Raises
    `RowError("parameter_not_an_object", ...)`.
    """
    properties: dict[str, Any] = {}
    required = []
    for name, said in parameters.items():
        if not isinstance(said, Mapping):
            reason = f"{where}.{show(name, 30)} is {show(said, 30)}; write an object with a type"
            raise RowError("parameter_not_an_object", reason)
        text = said.get("type")
        optional = isinstance(text, str) and type_schema(text)[1]
        properties[name] = normal_schema(said)
        if not optional and "default" not in said:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def is_flat(parameters: Mapping[str, Any]) -> bool:
    """Whether parameters are named directly, not under a schema's `properties`."""
    if isinstance(parameters.get("type"), str):
        return False
    inner = parameters.get("properties")
    return not (isinstance(inner, Mapping) and all(isinstance(v, Mapping) for v in inner.values()))


def normal_tool(tool: Any, where: str, flat: bool = False) -> Any:
    """A tool (wrapped or bare) with normal parameters; what is no tool is left to `read_tools`.

    `flat`: parameters may be in the form of `flat_schema`. Raises `RowError`.
    """
    tool = parse_text(tool, where)
    if not isinstance(tool, Mapping):
        return tool
    if isinstance(tool.get("function"), Mapping):
        return {**tool, "function": normal_tool(tool["function"], f"{where}.function", flat)}
    tool = {key: value for key, value in tool.items() if key != "required" or value is not None}
    parameters = parse_text(tool.get("parameters"), f"{where}.parameters")
    if not isinstance(parameters, Mapping):
        return tool
    if flat and parameters and is_flat(parameters):
        return {**tool, "parameters": flat_schema(parameters, f"{where}.parameters")}
    return {**tool, "parameters": normal_schema(parameters)}


def normal_tools(value: Any, where: str, flat: bool = False) -> Any:
    """A list of tools, or its JSON text, with every tool as `normal_tool` gives it."""
    tools = parse_text(value, where)
    if not isinstance(tools, (list, tuple)):
        return tools
    return [normal_tool(tool, f"{where}[{i}]", flat) for i, tool in enumerate(tools)]
