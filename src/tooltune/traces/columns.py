"""Columns of a row by name: found, renamed, and read as a weight or a group.

A name is looked up as it stands, then as a dotted path (`meta.score`, `choices.0.message`), which
also leads through objects that are stored as JSON text, as tables like to hold them.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tooltune.traces.jsonio import RowError, loads, show

MISSING: Final = object()
"""What `lookup` finds where there is nothing."""

MAX_WEIGHT = 1e6
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*|(?:\.[0-9]*)?[eE][-+]?[0-9]+)?")


def lookup(row: Any, name: str) -> Any:
    """The value of a column, `MISSING` where the row has none; a null stays `None`."""
    if isinstance(row, str) and row[:1] in ("{", "["):
        try:
            row = loads(row)
        except RowError:
            return MISSING
    if isinstance(row, Mapping) and name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    if isinstance(row, Sequence) and not isinstance(row, str) and head.isdecimal():
        below = row[int(head)] if len(head) < 10 and int(head) < len(row) else MISSING
        return lookup(below, rest) if dot and below is not MISSING else below
    if not dot or not isinstance(row, Mapping) or head not in row:
        return MISSING
    return lookup(row[head], rest)


def missing_reason(row: Any, name: str) -> str:
    """Words for a column that a row lacks, with those it has and the one most like the name."""
    if not isinstance(row, Mapping):
        return f"the row is {show(row)}, so it has no column {show(name)}; write an object"
    columns = [key for key in row if isinstance(key, str)]
    close = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
    hint = f"; did you mean {show(close[0])}?" if close else ""
    found = ", ".join(show(key, 30) for key in columns[:12]) or "none"
    return f"no column {show(name)} (there are: {found}){hint}"


def rename(row: Any, columns: Sequence[tuple[str, str]]) -> Any:
    """A copy of `row` in which each (canonical name, name in the data) has its canonical name.

    A name in the data that ends in `?` may be missing. Other columns stay as they are, save where
    a canonical name takes their place. Raises `RowError("missing_column", ...)`.
    """
    if not columns:
        return row
    found: dict[str, Any] = {}
    for canonical, written in columns:
        name = written.removesuffix("?")
        value = lookup(row, name)
        if value is not MISSING:
            found[canonical] = value
        elif name == written:
            reason = f"columns.{canonical}: {missing_reason(row, name)}"
            fix = f"write {canonical}: {name}? if rows may lack it"
            raise RowError("missing_column", f"{reason}; {fix}")
    moved = {written.removesuffix("?") for _, written in columns}
    kept = {k: v for k, v in row.items() if k not in moved} if isinstance(row, Mapping) else {}
    return {**kept, **found}


def read_weight(row: Any, column: str) -> float:
    """The number of a `weight_by` column, as a number or as text.

    Raises `RowError` (`missing_column`, `invalid_weight`).
    """
    value = _required(row, column, "weight_by")
    number = as_number(value)
    if number is None or not 0 <= number <= MAX_WEIGHT:
        reason = f"weight_by: {column} is {show(value)}; write a number from 0 to {MAX_WEIGHT:.0f}"
        raise RowError("invalid_weight", reason)
    return float(number)


def read_group(row: Any, column: str) -> str:
    """The text of a `group_by` column; numbers and truth values as JSON writes them.

    Raises `RowError` (`missing_column`, `invalid_group`).
    """
    value = _required(row, column, "group_by")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value:
        reason = f"group_by: {column} is {show(value)}; write a text or a whole number"
        raise RowError("invalid_group", reason)
    return value


def _required(row: Any, column: str, key: str) -> Any:
    value = lookup(row, column)
    if value is MISSING or value is None:
        what = missing_reason(row, column) if value is MISSING else f"{column} is null"
        raise RowError("missing_column", f"{key}: {what}")
    return value


def as_number(value: Any) -> float | int | None:
    """A finite number as it is, or the one that a text spells out; `None` for all else."""
    if isinstance(value, str):
        spelt = _NUMBER.fullmatch(value) if len(value) < 400 else None
        if spelt is None:
            return None
        value = float(value) if spelt[1] else int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None
