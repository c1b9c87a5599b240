"""Whether two split expressions of one data set surely share rows (`train` and `train[:256]`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SLICE = re.compile(
    r"^(?P<name>[^\[\]]+)(?:\[(?P<start>-?\d+%?)?:(?P<end>-?\d+%?)?\])?$",
)


@dataclass(frozen=True)
class _Rows:
    name: str
    start: str  # "" is the beginning
    end: str  # "" is the end


def overlap(first: str, second: str) -> bool:
    """True only where the two surely share rows; unreadable or incomparable splits give False.

    The slices are those of Hugging Face datasets: rows or per cent, from the end when negative.
    """
    return any(
        _share_rows(_parse(one), _parse(other))
        for one in first.split("+")
        for other in second.split("+")
    )


def _parse(split: str) -> _Rows | None:
    match = _SLICE.match(split.strip())
    if match is None:
        return None
    return _Rows(match["name"], match["start"] or "", match["end"] or "")


def _share_rows(one: _Rows | None, other: _Rows | None) -> bool:
    if one is None or other is None or one.name != other.name:
        return False
    return _surely_before(one.start, other.end) and _surely_before(other.start, one.end)


def _surely_before(start: str, end: str) -> bool:
    """Whether a part that starts at `start` surely starts before another ends at `end`."""
    if end == "" or start == "":
        # Everything starts before the end, and the beginning lies before any end but row 0.
        return end not in ("0", "0%")
    if start.endswith("%") != end.endswith("%") or start.startswith("-") != end.startswith("-"):
        return False
    return int(start.rstrip("%")) < int(end.rstrip("%"))
