"""Split slices such as `train[:100]`, in the grammar of the `datasets` library, for local rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tooltune.errors import UserError

T = TypeVar("T")
_SLICE = re.compile(r"(?P<name>\w[\w.-]*)(?:\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Bounds as written: a number of rows or a percentage (`10`, `10%`), negative from the end."""

    start: str = ""
    stop: str = ""

    def apply(self, rows: Iterable[T]) -> Iterable[T]:
        """The rows inside the slice; reads all rows only where a bound depends on their number."""
        start, stop = self.start or "0", self.stop
        if "%" not in start + stop and "-" not in start + stop:
            return islice(rows, int(start), int(stop) if stop else None)
        known = list(rows)
        return known[_index(start, len(known)) : _index(stop or "100%", len(known))]


def _index(bound: str, total: int) -> int:
    index = round(total * int(bound[:-1]) / 100) if bound.endswith("%") else int(bound)
    return max(index + total, 0) if bound.startswith("-") else index


def local_slice(split: str) -> RowSlice:
    """Read `split` for local files, whose only split is `train`.

    Bounds are those of Python slices; percentages round to the closest row, as `datasets` does.
    Raises `UserError` for another split name or another syntax.
    """
    match = _SLICE.fullmatch(split.replace(" ", ""))
    if match is None:
        raise UserError(
            f"split {split!r} is not understood",
            fix="write train, train[:100], train[10:20] or train[:10%]",
        )
    if match["name"] != "train":
        raise UserError(
            f"split {split!r}: local files have only the split 'train'",
            fix="write train or train[:100], and give each split's file as its own path",
        )
    return RowSlice(match["start"] or "", match["stop"] or "")
