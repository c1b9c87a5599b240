"""A comparison as a Markdown table, for the description of a pull request.

GitHub's flavour (https://github.github.com/gfm/): tables of its section 4.10, in whose cells a
pipe is escaped even within code; names that others chose are code spans (6.3), in which no
mark-up, mention or reference is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tooltune.evaluate.comparison_words import (
    HEADLINES,
    holm_line,
    interval,
    left_out,
    metrics_of,
    other_sets,
    p_value,
    size,
    tool_changes,
    verdict_lines,
)

Row = Mapping[str, Any]

_MOST_TOOLS = 10
_BACKTICKS = re.compile("`+")


def render_markdown(comparison: Row) -> str:
    """The comparison of two evaluations, or of several, as Markdown with a line feed at its end."""
    blocks = _several(comparison) if "comparisons" in comparison else _two(comparison)
    return "\n\n".join(block for block in blocks if block) + "\n"


def code(text: str) -> str:
    """`text` as a code span that holds it whole; what cannot be printed becomes U+FFFD."""
    shown = " ".join(text.split()) or " "
    shown = "".join(char if char.isprintable() else "\ufffd" for char in shown)
    longest = max((len(run) for run in _BACKTICKS.findall(shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _cell(text: str) -> str:
    return code(text).replace("|", "\\|")


def _two(comparison: Row) -> Iterable[str]:
    yield f"### Tool calls: {code(comparison['base_name'])} → {code(comparison['tuned_name'])}"
    yield "\n".join([f"{size(comparison)}.", *[f"{text}." for text in left_out(comparison)]])
    metrics = metrics_of(comparison)
    rows = [_metric_row(name, entry) for name, entry in metrics.items()]
    yield _table(("metric", "base", "tuned", "difference", "95% interval", "p"), rows)
    yield "\n".join(_flips(metrics) + [f"- {line}" for line in verdict_lines(comparison)])
    yield _sets(other_sets(comparison))
    yield from _breakdown(comparison.get("breakdown", {}))


def _metric_row(name: str, entry: Row) -> list[str]:
    sides = [f"{entry[side]:.3f}" for side in ("base", "tuned")]
    if name in HEADLINES:
        for i, side in enumerate(("base", "tuned")):
            if (ends := entry.get(f"{side}_cluster_ci95")) is not None:
                sides[i] += f" {interval(ends, sign='')}"
    difference = f"{entry['difference']:+.3f}"
    shown = [f"**{name}**", *sides, f"**{difference}**"] if name == "accuracy" else None
    return [
        *(shown or [name, *sides, difference]),
        interval(entry["ci95"]),
        p_value(entry.get("sign_flip_p")),
    ]


def _flips(metrics: Mapping[str, Row]) -> list[str]:
    return [
        f"- {name}: {entry['tuned_only']} turns fixed, {entry['base_only']} broken "
        f"(p by conversation {p_value(entry.get('sign_flip_p'))}, "
        f"McNemar exact {p_value(entry['mcnemar_p'])})"
        for name, entry in metrics.items()
        if "mcnemar_p" in entry
    ]


def _sets(datasets: Mapping[str, Row]) -> str:
    rows = [
        [_cell(dataset), *_metric_row(name, entry)]
        for dataset, section in datasets.items()
        for name, entry in metrics_of(section).items()
        if name in ("accuracy", "abstain_accuracy")
    ]
    head = ("set", "metric", "base", "tuned", "difference", "95% interval", "p")
    return _table(head, rows, n_words=2) if rows else ""


def _breakdown(tables: Row) -> Iterable[str]:
    changes = tool_changes(tables.get("by_tool", {}))
    rows = [
        [_cell(tool), f"{row['base']:.3f}", f"{row['tuned']:.3f}"]
        + [str(row[key]) for key in ("fixed", "broken", "n")]
        for tool, row in changes[:_MOST_TOOLS]
    ]
    yield _table(("tool", "base", "tuned", "fixed", "broken", "turns"), rows) if rows else ""
    if len(changes) > _MOST_TOOLS:
        yield f"… and {len(changes) - _MOST_TOOLS} more tools that changed."
    yield _counts("wrong turns", tables.get("failures", {}))
    yield _counts("parse status", tables.get("attempts", {}))


def _counts(name: str, table: Mapping[str, Row]) -> str:
    rows = [
        [_cell(key), str(row["base"]), str(row["tuned"]), f"{row['tuned'] - row['base']:+d}"]
        for key, row in table.items()
    ]
    return _table((name, "base", "tuned", "change"), rows) if rows else ""


def _several(comparison: Row) -> Iterable[str]:
    comparisons = comparison["comparisons"]
    yield f"### Tool calls: {len(comparisons)} evaluations against {code(comparison['base_name'])}"
    missing = [f"- {code(c['tuned_name'])}: {text}" for c in comparisons for text in left_out(c)]
    yield "\n".join([f"{size(comparisons[0])}.", *missing])
    sections = [(other["tuned_name"], metrics_of(other)) for other in comparisons]
    rows = []
    for name in HEADLINES:
        entries = [(other, section[name]) for other, section in sections if name in section]
        if entries:
            first = f"{entries[0][1]['base']:.3f}"
            rows.append([f"**{name}**", _cell(comparison["base_name"]), first, *[""] * 5])
        for other, entry in entries:
            flips = [str(entry.get(key, "")) for key in ("tuned_only", "base_only")]
            holm = p_value(entry.get("sign_flip_p_holm"))
            numbers = [f"{entry['tuned']:.3f}", f"{entry['difference']:+.3f}"]
            rows.append(["", _cell(other), *numbers, interval(entry["ci95"]), holm, *flips])
    head = ("metric", "evaluation", "value", "difference", "95% interval", "p (Holm)")
    yield _table((*head, "fixed", "broken"), rows, n_words=2)
    yield f"{holm_line(comparisons)}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], n_words: int = 1) -> str:
    """Words to the left, numbers to the right. The cells are Markdown already."""
    rule = ["---"] * n_words + ["--:"] * (len(head) - n_words)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
