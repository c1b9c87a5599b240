"""More than two evaluations: every further one against the first, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.report.files import RunFiles
from tooltune.report.numbers import DASH
from tooltune.report.tables import (
    MetricRow,
    MetricTable,
    Span,
    accuracy_span,
    comparison_from_metrics,
    lone_headline,
    metric_tables,
)


@dataclass(frozen=True, slots=True)
class SeveralRow:
    """A metric: its value in the first evaluation, and a `MetricRow` for each further one."""

    key: str
    label: str
    meaning: str
    base: str
    cells: tuple[MetricRow | None, ...]


@dataclass(frozen=True, slots=True)
class SeveralTable:
    """The metrics of one data set, `""` for the main one."""

    dataset: str
    rows: tuple[SeveralRow, ...]


def pair_comparisons(files: RunFiles) -> list[Mapping[str, Any]]:
    """The comparison of each further evaluation with the first, as far as the files have it.

    `comparison` may be that of the first two, or hold all in its `comparisons`; what it lacks is
    made of the evaluations' own metrics, without intervals.
    """
    comparison = files.comparison or {}
    listed = comparison.get("comparisons")
    known = listed if isinstance(listed, list) else [comparison]
    found: list[Mapping[str, Any]] = []
    for place, column in enumerate(files.columns[1:]):
        given = known[place] if place < len(known) else None
        own = column.evaluation.metrics if column.evaluation else None
        base = files.base.metrics if files.base else None
        measured = comparison_from_metrics(base, own)
        found.append(given if isinstance(given, Mapping) and given else measured)
    return found


def several_tables(comparisons: Sequence[Mapping[str, Any]]) -> tuple[SeveralTable, ...]:
    """One table a data set, with the metrics that any of the comparisons has."""
    columns = [{t.dataset: t for t in metric_tables(pair, {})} for pair in comparisons]
    names = dict.fromkeys(name for column in columns for name in column)
    return tuple(_merged(name, [column.get(name) for column in columns]) for name in names)


def several_spans(
    files: RunFiles, comparisons: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Span]]:
    """The accuracy of each evaluation with its interval, under its label; unknown ones left out."""
    spans = [accuracy_span(comparisons[0], "base")]
    spans += [accuracy_span(pair, "tuned") for pair in comparisons]
    found = []
    for column, span in zip(files.columns, spans, strict=True):
        if (span is None or not span.interval) and column.evaluation:
            span = lone_headline(column.evaluation).tuned or span
        if span is not None:
            found.append((column.label, span))
    return found


def _merged(name: str, tables: Sequence[MetricTable | None]) -> SeveralTable:
    columns = [{row.key: row for row in table.rows} if table else {} for table in tables]
    longest = max(columns, key=len)  # its order is that of all, since each is sorted alike
    keys = dict.fromkeys([*longest, *(key for column in columns for key in column)])
    rows = []
    for key in keys:
        cells = tuple(column.get(key) for column in columns)
        first = next(cell for cell in cells if cell is not None)
        base = next((c.base for c in cells if c is not None and c.base != DASH), DASH)
        rows.append(SeveralRow(key, first.label, first.meaning, base, cells))
    return SeveralTable(name, tuple(rows))
