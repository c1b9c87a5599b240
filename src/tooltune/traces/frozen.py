"""Deeply immutable JSON values that still are `dict` and `list`.

Templates, `json.dumps` and `==` must see ordinary dictionaries and lists in the data's own key
order, yet a `Trace` must not change after its id was computed. Subclasses that refuse to be
written to give both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from tooltune.traces.jsonio import MAX_INSIDE, RowError


def _refuse(*_args: object, **_kwargs: object) -> NoReturn:
    raise TypeError("traces are immutable: copy with thaw() and build a new one")


class FrozenDict(dict[str, Any]):
    """A `dict` whose every writing method raises `TypeError`."""

    __setitem__ = __delitem__ = _refuse
    __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset((key, _hashable(value)) for key, value in self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (freeze, (thaw(self),))


class FrozenList(list[Any]):
    """A `list` whose every writing method raises `TypeError`."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(_hashable(value) for value in self))

    def __reduce__(self) -> tuple[Any, ...]:
        return (freeze, (thaw(self),))


def _hashable(value: Any) -> Any:
    return value if value.__hash__ is not None else repr(value)


def freeze(value: Any, depth: int = 1) -> Any:
    """Return `value` with every dictionary and list inside replaced by its immutable form.

    Raises `RowError("too_deep", ...)` beyond `MAX_INSIDE` levels.
    """
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if depth > MAX_INSIDE and isinstance(value, (Mapping, list, tuple)):
        reason = f"arguments or a schema of more than {MAX_INSIDE} levels; flatten them"
        raise RowError("too_deep", reason)
    if isinstance(value, (dict, Mapping)):
        return FrozenDict({key: freeze(item, depth + 1) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return FrozenList([freeze(item, depth + 1) for item in value])
    return value


def thaw(value: Any) -> Any:
    """Return a plain, mutable deep copy of a JSON value (the inverse of `freeze`)."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [thaw(item) for item in value]
    return value
