"""Where answers go wrong, as table rows: by failure, tool, place in the dialogue, parse status.

Reads the `breakdown` of each evaluation's metrics.json (its form: `evaluate/breakdown.py`), and
the samples for what is not in there: calls that were mended, and which family read the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.report.files import Column
from tooltune.report.numbers import bounds, count, number, percent, signed
from tooltune.report.rows import statuses_of
from tooltune.report.samples import main_accuracy, main_samples
from tooltune.report.text import as_objects, as_text

FAILURES: dict[str, str] = {
    "skipped": "nothing was generated, for instance because the prompt was too long",
    "truncated": "the limit of tokens ended the answer",
    "malformed": "an attempt at a call that does not parse",
    "no_call": "no attempt at all where a call was due",
    "unknown_tool": "a tool that was not offered",
    "wrong_tool": "one of the tools, but not the right one",
    "missing_argument": "an argument that was due is not there",
    "hallucinated_argument": "an argument that should not be there",
    "wrong_value": "an argument with another value",
    "missing_call": "some of the calls were made, not all",
    "extra_call": "a call beyond those that were due",
    "other": "a reason that this version does not know",
}
"""Failure classes in order of precedence, and what they mean."""

STATUSES: dict[str, str] = {
    "ok": "parsed, and names a tool that was offered",
    "unknown_tool": "parsed, but no such tool was offered",
    "invalid_json": "the arguments are no JSON",
    "unclosed": "begins and never ends",
    "missing_name": "does not say which tool",
    "malformed": "looks like a call, but is none",
    "recovered": "of these, mended while parsing",
}
"""What the parser says of an attempt."""

OUTCOMES: dict[str, tuple[str, str]] = {
    "abstained": ("No call", "as it should be"),
    "call": ("Called", "a well-formed call that nobody asked for"),
    "malformed": ("Malformed", "only attempts that do not parse"),
    "skipped": ("Skipped", "nothing was generated"),
}

_GROUPS = (
    ("by_turn", "Place in the dialogue", "Call turn"),
    ("by_calls", "Calls that are due", "Calls"),
    ("by_seen_tools", "Tools seen in training", "Tools"),
)
_MOST_TOOLS = 500
_ALL_BEYOND = 25


@dataclass(frozen=True, slots=True)
class Rate:
    """A share in one evaluation: `count` of how many in words, and its interval, all in [0, 1]."""

    at: float
    low: float
    high: float
    text: str
    count: str
    interval: str


@dataclass(frozen=True, slots=True)
class RateRow:
    """One line, a cell for each evaluation. `n` sorts and is shown where it is the same in all."""

    key: str
    label: str
    meaning: str
    n: int
    cells: tuple[Rate | None, ...]
    change: float | None

    @property
    def change_text(self) -> str:
        return "" if self.change is None else signed(self.change * 100, 1)


@dataclass(frozen=True, slots=True)
class RateTable:
    """`name` is the key of the table in metrics.json, `first` the title of its first column.

    `n_hidden` rows, the last ones, are shown on request; `n_omitted` are not on the page.
    """

    name: str
    title: str
    first: str
    rows: tuple[RateRow, ...]
    n_hidden: int = 0
    n_omitted: int = 0


@dataclass(frozen=True, slots=True)
class StatusRow:
    """Attempts of one status: number and share of all, in words, one pair for each evaluation."""

    key: str
    meaning: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ParserView:
    """Is it the parser or the model? `accuracy` and `ceiling` are percentages in words.

    `ceiling` is the accuracy if every turn that is wrong because of an attempt that does not
    parse had been right; `read_by` counts answers by the family that read their calls.
    """

    rows: tuple[StatusRow, ...]
    accuracy: tuple[str, ...]
    ceiling: tuple[str, ...]
    read_by: tuple[str, ...]
    told: str


def failure_table(columns: Sequence[Column]) -> RateTable:
    """The wrong turns by failure class."""
    return _table(columns, "failures", "Failures", "Failure", _known(FAILURES), FAILURES)


def abstain_table(columns: Sequence[Column]) -> RateTable:
    """What turns did that should not call."""
    labels = {key: label for key, (label, _) in OUTCOMES.items()}
    meanings = {key: meaning for key, (_, meaning) in OUTCOMES.items()}
    return _table(columns, "abstain", "", "Outcome", _known(OUTCOMES), meanings, labels)


def tool_table(columns: Sequence[Column]) -> RateTable:
    """Accuracy by tool, the most frequent tools first."""
    return _table(columns, "by_tool", "Tools", "Tool", lambda row: (-row.n, row.key))


def group_tables(columns: Sequence[Column]) -> tuple[RateTable, ...]:
    """Accuracy by place in the dialogue, number of calls, and whether tools were trained on."""
    made = [_table(columns, name, title, first) for name, title, first in _GROUPS]
    return tuple(table for table in made if len(table.rows) > 1)


def parser_view(columns: Sequence[Column]) -> ParserView | None:
    """How the attempts were parsed, beside the accuracy; `None` where nothing is known of them."""
    counts = [_attempts(column) for column in columns]
    if not any(counts):
        return None
    names = [name for name in STATUSES if any(count[name] for count in counts)]
    names += sorted({name for count in counts for name in count} - STATUSES.keys())
    totals = [sum(n for name, n in count.items() if name != "recovered") for count in counts]
    rows = tuple(
        StatusRow(
            name,
            STATUSES.get(name, ""),
            tuple(
                (f"{each[name]:,}", (percent(each[name] / total) or "") if total else "")
                for each, total in zip(counts, totals, strict=True)
            ),
        )
        for name in names
    )
    right = [_accuracy(column) for column in columns]
    hidden = [_malformed_share(column) for column in columns]
    ceiling = [
        None if at is None else min(1.0, at + h) for at, h in zip(right, hidden, strict=True)
    ]
    return ParserView(
        rows,
        tuple(percent(at) or "" for at in right),
        tuple(percent(at) or "" for at in ceiling),
        tuple(_read_by(column) for column in columns),
        _told(columns, hidden),
    )


def _told(columns: Sequence[Column], hidden: Sequence[float]) -> str:
    """The answer in a sentence, of the evaluation that matters most: the second of a pair."""
    at = min(1, len(columns) - 1)
    who = "The model" if len(columns) == 1 else columns[at].label
    if not hidden[at]:
        return f"{who}: no turn is wrong because of an attempt that does not parse."
    return (
        f"{who}: {percent(hidden[at])} of the turns that should call hold an attempt that does "
        "not parse. Look at some of them: a format that the parser misreads shows there."
    )


def _attempts(column: Column) -> Counter[str]:
    table = _breakdown(column).get("attempts")
    counts = Counter(
        {name: n for name, n in table.items() if isinstance(n, int)}
        if isinstance(table, Mapping)
        else {}
    )
    for record in main_samples(column.evaluation):
        if "recovered" in statuses_of(as_objects(record.get("calls"))):
            counts["recovered"] += sum(
                bool(call.get("repairs")) for call in as_objects(record["calls"])
            )
    return counts


def _read_by(column: Column) -> str:
    counts = Counter(
        as_text(record.get("parsed_as")) or "none"
        for record in main_samples(column.evaluation)
        if "parsed_as" in record
    )
    return ", ".join(f"{name} {n:,}" for name, n in counts.most_common(4))


def _malformed_share(column: Column) -> float:
    table = _breakdown(column).get("failures")
    row = table.get("malformed") if isinstance(table, Mapping) else None
    return (number(row.get("share")) or 0.0) if isinstance(row, Mapping) else 0.0


def _accuracy(column: Column) -> float | None:
    right, n = main_accuracy(column.evaluation)
    if n:
        return right / n
    metrics = column.evaluation.metrics if column.evaluation else {}
    return number(metrics.get("tool_call/accuracy"))


def _breakdown(column: Column) -> Mapping[str, Any]:
    found = column.evaluation.metrics.get("breakdown") if column.evaluation else None
    return found if isinstance(found, Mapping) else {}


def _known(names: Iterable[str]) -> Callable[[RateRow], Any]:
    order = {name: place for place, name in enumerate(names)}
    return lambda row: (order.get(row.key, len(order)), row.key)


def _table(
    columns: Sequence[Column],
    name: str,
    title: str,
    first: str,
    order: Callable[[RateRow], Any] = lambda row: row.key,
    meanings: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> RateTable:
    """The rows of one table of the breakdowns; one without rows where no evaluation has it."""
    tables = [_breakdown(column).get(name) for column in columns]
    keys = {key for table in tables if isinstance(table, Mapping) for key in table}
    rows = []
    for key in keys:
        entries = [t.get(key) if isinstance(t, Mapping) else None for t in tables]
        cells = tuple(map(_rate, entries))
        known = [
            _known_rate(cell, column, name) for cell, column in zip(cells, columns, strict=True)
        ]
        rows.append(
            RateRow(
                key=str(key),
                label=(labels or {}).get(key) or (key if name == "by_tool" else _words(key)),
                meaning=(meanings or {}).get(key, ""),
                n=max((_whole(e.get("n")) for e in entries if isinstance(e, Mapping)), default=0),
                cells=cells,
                change=_change(known),
            )
        )
    rows.sort(key=order)
    shown = tuple(rows[:_MOST_TOOLS])
    hidden = max(0, len(shown) - _ALL_BEYOND)
    return RateTable(name, title, first, shown, hidden, len(rows) - len(shown))


def _known_rate(cell: Rate | None, column: Column, name: str) -> float | None:
    """A failure or outcome that a breakdown does not list did not occur; a tool was not asked."""
    if cell is None:
        return 0.0 if name in ("failures", "abstain") and _breakdown(column) else None
    return cell.at


def _change(rates: Sequence[float | None]) -> float | None:
    if len(rates) != 2 or rates[0] is None or rates[1] is None:
        return None
    return rates[1] - rates[0]


def _words(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _rate(entry: Any) -> Rate | None:
    """`{"n", "correct", "accuracy", "ci95"}` or `{"n", "share", "ci95"}`."""
    if not isinstance(entry, Mapping):
        return None
    at = number(entry.get("accuracy", entry.get("share")))
    if at is None:
        return None
    low, high = bounds(entry.get("ci95")) or (at, at)
    n = _whole(entry.get("n"))
    told = f"{_whole(entry['correct']):,} of {n:,}" if "correct" in entry else count(n, "turn")
    interval = f"{low * 100:.0f} to {high * 100:.0f}%" if low != high else ""
    return Rate(_clamp(at), _clamp(low), _clamp(high), percent(at) or "", told, interval)


def _whole(value: Any) -> int:
    return int(number(value) or 0)


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))
