"""Counts over ranges of a whole number, as coordinates for inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 440, 150
_TOP, _BOTTOM = 8, 24
_BINS = 32


@dataclass(frozen=True, slots=True)
class Bar:
    """One range: pixels of its box, and the words that hovering shows."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars in a box of WIDTH x HEIGHT pixels; `summary` says it in words."""

    title: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    base: int = HEIGHT - _BOTTOM


def histogram(title: str, values: Sequence[int]) -> Histogram:
    """Bars of equal width from 0 to the largest of `values` (at least one, none negative)."""
    numbers = np.asarray(values)
    largest = int(numbers.max())
    step = max(1, -(-(largest + 1) // _BINS))
    counts = np.bincount(numbers // step)
    room = HEIGHT - _BOTTOM - _TOP
    width = WIDTH / len(counts)
    bars = tuple(
        Bar(
            x=round(i * width, 2),
            y=round(HEIGHT - _BOTTOM - room * count / counts.max(), 2),
            width=round(max(width - 1, 0.5), 2),
            height=round(room * count / counts.max(), 2),
            text=f"{i * step:,} to {(i + 1) * step - 1:,}: {count:,}",
        )
        for i, count in enumerate(counts.tolist())
        if count
    )
    median, high = (int(np.percentile(numbers, q)) for q in (50, 95))
    summary = f"median {median:,}, 95% below {high:,}, largest {largest:,}"
    end = len(counts) * step
    ticks = tuple((WIDTH * share, f"{round(end * share):,}") for share in (0, 0.25, 0.5, 0.75, 1))
    return Histogram(title, bars, ticks, summary)
