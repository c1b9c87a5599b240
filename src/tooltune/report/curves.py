"""Loss and accuracy over steps, as coordinates that the page's template draws as inline SVG.

Drawn by hand rather than by a plotting library: the page's content security policy allows no
inline styles, and its colours follow the reader's light or dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.report.numbers import number
from tooltune.report.tables import METRICS

WIDTH, HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34
_MOST_POINTS = 240
_MOST_SERIES = 5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Dot:
    """A marked point: pixel position, and the words that hovering shows."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Series:
    """One line: `path` is SVG path data; `tone` picks its colour (0 to 5); `dots` may be empty."""

    label: str
    tone: int
    path: str
    dots: tuple[Dot, ...]
    last: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in pixels of a `WIDTH` by `HEIGHT` box; ticks are (position, text)."""

    title: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


def charts(log: Iterable[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """The loss chart and the accuracy chart of a run's metrics.jsonl, those that have points."""
    by_kind = _by_kind(log)
    loss = [
        ("training", _series(by_kind.get("train", {}), "loss"), False),
        ("validation", _series(by_kind.get("val", {}), "loss"), True),
    ]
    evaluations = by_kind.get("tool_call", {})
    names = dict.fromkeys(
        key for row in evaluations.values() for key in row if key.split("/")[-1] in _ACCURACIES
    )
    accuracy = [
        (_accuracy_label(key), _series(evaluations, key), True)
        for key in sorted(names, key=lambda key: (key.count("/"), _ACCURACIES[key.split("/")[-1]]))
    ]
    made = (_chart("Loss", loss, rate=False), _chart("Tool calls", accuracy, rate=True))
    return tuple(chart for chart in made if chart)


_ACCURACIES = {"accuracy": 0, "abstain_accuracy": 1}


def _accuracy_label(key: str) -> str:
    parts = key.split("/")
    label = METRICS[parts[-1]][0].lower()
    return label if len(parts) < 3 else f"{label}, {parts[-2].replace('_', ' ')}"


def _by_kind(log: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Rows by kind and step. A resumed run writes a step again: the later line is the true one."""
    rows: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in log:
        step, kind = row.get("step"), row.get("kind")
        if isinstance(kind, str) and isinstance(step, int):
            rows.setdefault(kind, {})[step] = row
    return rows


def _series(rows: Mapping[int, Mapping[str, Any]], key: str) -> Points:
    values = ((step, number(rows[step].get(key))) for step in sorted(rows))
    return [(float(step), value) for step, value in values if value is not None]


def _thin(points: Points) -> Points:
    """At most `_MOST_POINTS` points: means of neighbours, so that no spike of one step decides."""
    size = math.ceil(len(points) / _MOST_POINTS)
    if size <= 1:
        return points
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _chart(title: str, lines: Sequence[tuple[str, Points, bool]], *, rate: bool) -> Chart | None:
    """A chart of (label, points, mark each point?); `None` without a point."""
    lines = [(label, _thin(points), mark) for label, points, mark in lines if points]
    lines = lines[:_MOST_SERIES]
    if not lines:
        return None
    xs = [x for _, points, _ in lines for x, _ in points]
    ys = [y for _, points, _ in lines for _, y in points]
    x_values = nice_ticks(min(xs), max(xs), whole=True)
    y_values = [0.0, 0.25, 0.5, 0.75, 1.0] if rate else nice_ticks(min(ys), max(ys))
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    y_low, y_high = min(y_values), max(y_values)

    def at_x(x: float) -> float:
        return round(_LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT), 1)

    def at_y(y: float) -> float:
        share = (y - y_low) / (y_high - y_low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    def show(y: float) -> str:
        return f"{y * 100:.1f}%" if rate else f"{y:.3f}"

    series = tuple(
        Series(
            label=label,
            tone=tone,
            path="M" + "L".join(f"{at_x(x)} {at_y(y)}" for x, y in points),
            dots=tuple(
                Dot(at_x(x), at_y(y), f"{label}, step {x:.0f}: {show(y)}") for x, y in points
            )
            if mark
            else (),
            last=show(points[-1][1]),
        )
        for tone, (label, points, mark) in enumerate(lines, start=int(rate))  # grey is for loss
    )
    told = "; ".join(
        f"{label} from {show(points[0][1])} to {show(points[-1][1])}" for label, points, _ in lines
    )
    return Chart(
        title=title,
        series=series,
        x_ticks=tuple((at_x(x), f"{x:,.0f}") for x in x_values if x_low <= x <= x_high),
        y_ticks=tuple((at_y(y), f"{y * 100:.0f}%" if rate else f"{y:g}") for y in y_values),
        summary=f"{title} over steps {x_low:.0f} to {x_high:.0f}: {told}.",
    )


def nice_ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """About five round values that enclose [low, high]; whole numbers only on request."""
    span = high - low or abs(high)
    span = max(span, 1e-4 * abs(high), 1e-9)  # finer steps than labels can tell apart help nobody
    raw = span / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]
