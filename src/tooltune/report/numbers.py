"""Numbers as words for readers, and numbers out of files that may hold anything."""

from __future__ import annotations

import math
from typing import Any

DASH = "\N{EN DASH}"  # in the place of a number that is not known
MINUS = "\N{MINUS SIGN}"


def number(value: Any) -> float | None:
    """A finite number as a float, `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON allows integers beyond any float
        return None


def bounds(value: Any) -> tuple[float, float] | None:
    """A pair of finite numbers, `None` for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None else (low, high)


def count(n: int, one: str) -> str:
    """`3 turns`, `1 turn`."""
    return f"{n:,} {one if n == 1 else one + 's'}"


def percent(value: Any) -> str | None:
    """`72.8%` for 0.728."""
    at = number(value)
    return None if at is None else f"{at * 100:.1f}%"


def plain(value: Any) -> str | None:
    """`0.728`."""
    at = number(value)
    return None if at is None else f"{at:.3f}"


def whole(value: Any) -> str:
    """`1,234`, or a dash."""
    at = number(value)
    return DASH if at is None else f"{at:,.0f}"


def signed(value: float, digits: int) -> str:
    """`+0.5`, `-0.5` (with a true minus sign), `0.0`."""
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return text
    return ("+" if value > 0 else MINUS) + text


def points(value: Any) -> str | None:
    """`+68.5 points` for a difference of rates of 0.685."""
    at = number(value)
    return None if at is None else f"{signed(at * 100, 1)} points"


def interval(value: Any, *, scale: float = 100, digits: int = 1) -> str | None:
    """`+58.7 to +77.2` for the bounds of a difference."""
    span = bounds(value)
    if span is None:
        return None
    return f"{signed(span[0] * scale, digits)} to {signed(span[1] * scale, digits)}"


def p_value(p: float) -> str:
    """`p = 0.012`, `p < 0.0001`."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
