"""Row formats: one file each, and one line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tooltune.traces.formats import chatml, openai, sharegpt
from tooltune.traces.formats.common import find_turns
from tooltune.traces.jsonio import check_value
from tooltune.traces.types import Trace

Format = Callable[[Any], Trace]
"""Reads one row (a JSON value that `jsonio.check_value` accepts), or raises `RowError`."""

FORMATS: dict[str, Format] = {
    "sharegpt": sharegpt.read,
    "chatml": chatml.read,
    "openai": openai.read,
}


class Detected(NamedTuple):
    """The format chosen for a row, and why."""

    name: str
    why: str


def detect(row: Any) -> Detected:
    """Choose the format of one row by the keys and roles of its turns.

    Raises `RowError` where the row has no turns to look at.
    """
    key, turns = find_turns(row)
    for i, turn in enumerate(turns):
        if "from" in turn and "role" not in turn:
            return Detected("sharegpt", f"{key}[{i}] has the key 'from'")
        role = turn.get("role")
        if isinstance(role, str) and role.strip().lower() in chatml.OWN_KINDS:
            return Detected("chatml", f"{key}[{i}].role is {role!r}")
    return Detected("openai", f"the turns of {key} have roles, and none holds calls alone")


def read_row(row: Any, format: str | None = None) -> Trace:
    """Read one row of Python values, in the named format or in the one that `detect` chooses.

    Raises `RowError`, and `KeyError` for a name that is not in `FORMATS`.
    """
    check_value(row)
    return FORMATS[format or detect(row).name](row)
