"""Several acceptable values in place of one, anywhere inside an argument, and their JSON form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from tooltune.errors import UserError

_NODE = "$one_of"
_ESCAPED = re.compile(r"\$+one_of")
"""Keys of data that look like the node's: written with one more `$`, so that none is mistaken."""

_SHOWN = Repr()  # short, and of whatever depth
_SHOWN.maxstring = _SHOWN.maxother = 80


@dataclass(frozen=True, slots=True)
class OneOf:
    """Several acceptable values, wherever one value could stand inside an argument.

    The first is the canonical one; each may hold further `OneOf`s. As a field of an object it
    may be `optional`: the object is right without it, too.
    """

    values: tuple[Any, ...]
    optional: bool = False


def canonical(value: Any) -> Any:
    """A plain copy of a value with the first choice of every `OneOf` in it."""
    if isinstance(value, OneOf):
        return canonical(value.values[0])
    if isinstance(value, Mapping):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    return value


def holds_choice(value: Any) -> bool:
    """Whether there is any `OneOf` in a value."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, OneOf):
            return True
        if isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
    return False


def encode(value: Any) -> Any:
    """JSON form: a `OneOf` is `{"$one_of": {"values": […], "optional": bool}}`.

    A key of data that is `$one_of` itself (after any number of `$`) gets one more `$`.
    """
    if isinstance(value, OneOf):
        values = [encode(item) for item in value.values]
        return {_NODE: {"values": values, "optional": value.optional}}
    if isinstance(value, Mapping):
        return {
            "$" + key if _ESCAPED.fullmatch(key) else key: encode(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(value: Any) -> Any:
    """The inverse of `encode`. Raises `UserError` for a choice in another form."""
    if isinstance(value, Mapping):
        if _NODE in value:
            return _decode_node(value)
        return {
            key[1:] if _ESCAPED.fullmatch(key) else key: decode(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


def _decode_node(node: Mapping[str, Any]) -> OneOf:
    inside = node[_NODE]
    values = inside.get("values") if isinstance(inside, Mapping) else None
    optional = inside.get("optional", False) if isinstance(inside, Mapping) else None
    if len(node) != 1 or not isinstance(values, list) or not isinstance(optional, bool):
        raise broken_truth(node, f"a choice is written {{{_NODE!r}: {{'values': […]}}}}")
    return OneOf(tuple(decode(item) for item in values), optional)


def broken_truth(what: object, why: str) -> UserError:
    """The error for ground truth that is a fault of the data."""
    return UserError(
        f"a ground-truth call is one that no answer could equal ({why}): {_SHOWN.repr(what)}",
        fix="correct the row, or remove it from the evaluation data",
    )
