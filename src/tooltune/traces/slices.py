"""Split slices such as `train[:100]`, in the grammar of the `datasets` library."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tooltune.errors import UserError

T = TypeVar("T")
_BOUND = r"-?\d{1,15}%?"
_SLICE = re.compile(rf"(?P<name>\w[\w.-]*)(?:\[(?P<start>{_BOUND})?:(?P<stop>{_BOUND})?\])?")


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Bounds as written: a number of rows or a percentage (`10`, `10%`), negative from the end."""

    start: str = ""
    stop: str = ""

    @property
    def needs_total(self) -> bool:
        """Whether a bound depends on the number of rows."""
        return "%" in self.start + self.stop or "-" in self.start + self.stop

    def apply(self, rows: Callable[[], Iterable[T]]) -> Iterable[T]:
        """The rows inside the slice; `rows` is called twice where they must be counted first."""
        total = sum(1 for _ in rows()) if self.needs_total else 0
        start, stop = self.bounds(total)
        return islice(rows(), start, stop)

    def bounds(self, total: int) -> tuple[int, int | None]:
        """First row and the one behind the last; `total` only counts where `needs_total`."""
        start = _index(self.start or "0", total)
        stop = _index(self.stop, total) if self.stop else None
        return start, stop if stop is None else max(start, stop)


def _index(bound: str, total: int) -> int:
    index = round(total * int(bound[:-1]) / 100) if bound.endswith("%") else int(bound)
    return max(index + total, 0) if bound.startswith("-") else index


def parse_split(split: str) -> tuple[str, RowSlice]:
    """The name of a split, and the slice of it. Raises `UserError` for another syntax."""
    match = _SLICE.fullmatch(split.replace(" ", ""))
    if match is None:
        raise UserError(
            f"split {split!r} is not understood",
            fix="write train, train[:100], train[10:20] or train[:10%]",
        )
    return match["name"], RowSlice(match["start"] or "", match["stop"] or "")


def local_slice(split: str) -> RowSlice:
    """Read `split` for local files, whose only split is `train`.

    Bounds are those of Python slices; percentages round to the closest row, as `datasets` does.
    Raises `UserError` for another split name or another syntax.
    """
    name, bounds = parse_split(split)
    if name != "train":
        raise UserError(
            f"split {split!r}: local files have only the split 'train'",
            fix="write train or train[:100], and give each split's file as its own path",
        )
    return bounds


def stream_slice(split: str) -> tuple[str, RowSlice]:
    """Read `split` for a stream, whose number of rows is not known before its end.

    Raises `UserError` where a bound depends on that number.
    """
    name, bounds = parse_split(split)
    if bounds.needs_total:
        raise UserError(
            f"split {split!r} depends on the number of rows, which a stream does not tell",
            fix=f"write numbers of rows such as {name}[:1000], or leave streaming out",
        )
    return name, bounds
