"""What a JSON schema says of one place in the arguments, composed schemas taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COMPOSED = ("anyOf", "oneOf", "allOf")
_MOST_PARTS = 64
"""Parts of one composed schema that are looked at: what refers to itself must come to an end."""

MISSING = object()
"""Stands for a default that a schema does not give."""


@dataclass(frozen=True, slots=True)
class SchemaView:
    """A schema's parts (itself, what it refers to, the members of `anyOf`, `oneOf`, `allOf`).

    `root` is the tool's whole schema, in which references are looked up. Without parts nothing
    is known, and nothing is forgiven that hangs on a type.
    """

    parts: tuple[Mapping[str, Any], ...]
    root: Any

    def types(self) -> frozenset[str]:
        """The JSON types that it names, none where it names no type."""
        names: set[str] = set()
        for part in self.parts:
            named = part.get("type")
            listed = named if isinstance(named, (list, tuple)) else [named]
            names.update(name for name in listed if isinstance(name, str))
        return frozenset(names)

    def lists_values(self) -> bool:
        """Whether it lists the values that there are (`enum`, `const`)."""
        return any("enum" in part or "const" in part for part in self.parts)

    def default(self) -> Any:
        """The default that it gives, else `MISSING`."""
        return next((part["default"] for part in self.parts if "default" in part), MISSING)

    def requires(self, name: str) -> bool:
        """Whether any part lists a property as required."""
        return any(
            name in part["required"]
            for part in self.parts
            if isinstance(part.get("required"), (list, tuple))
        )

    def property(self, name: str) -> SchemaView:
        """The view of one property of an object."""
        for part in self.parts:
            properties = part.get("properties")
            if isinstance(properties, Mapping) and name in properties:
                return view(properties[name], self.root)
        return view(self._first("additionalProperties"), self.root)

    def item(self, index: int) -> SchemaView:
        """The view of one item of a list."""
        leading = self._first("prefixItems")
        if isinstance(leading, (list, tuple)) and index < len(leading):
            return view(leading[index], self.root)
        return view(self._first("items"), self.root)

    def _first(self, keyword: str) -> Any:
        return next((part[keyword] for part in self.parts if keyword in part), None)


def view(schema: Any, root: Any = None) -> SchemaView:
    """Look at a schema; one that is no object, or cannot be followed, tells nothing."""
    root = schema if root is None else root
    parts: list[Mapping[str, Any]] = []
    pending = [schema]
    while pending and len(parts) < _MOST_PARTS:
        part = pending.pop(0)
        if not isinstance(part, Mapping):
            continue
        parts.append(part)
        if isinstance(reference := part.get("$ref"), str):
            pending.append(_look_up(reference, root))
        for keyword in _COMPOSED:
            if isinstance(members := part.get(keyword), (list, tuple)):
                pending.extend(members)
    return SchemaView(tuple(parts), root)


def _look_up(reference: str, root: Any) -> Any:
    """What a reference into the same schema (`#/$defs/name`) points at, else `None`."""
    if not reference.startswith("#"):
        return None
    found = root
    for step in reference[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, Sequence) and not isinstance(found, str) and step.isdecimal():
            found = found[int(step)] if int(step) < len(found) else None
        else:
            return None
    return found
