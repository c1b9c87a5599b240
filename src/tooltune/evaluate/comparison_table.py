"""A comparison as text for a terminal: aligned, at most 100 columns wide where names allow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tooltune.evaluate.comparison_words import (
    HEADLINES,
    flat,
    holm_line,
    interval,
    left_out,
    metrics_of,
    other_sets,
    p_value,
    title,
    tool_changes,
    verdict_lines,
)

Row = Mapping[str, Any]
Cells = Sequence[str]

_MOST_TOOLS = 10
_NAME_WIDTH = 36


def render_table(comparison: Row) -> str:
    """The comparison of two evaluations, or of several, as aligned plain text."""
    if "comparisons" in comparison:
        return _several(comparison)
    blocks = [
        _metrics(comparison),
        _tests(comparison),
        _sets(other_sets(comparison)),
        *_breakdown(comparison.get("breakdown", {})),
    ]
    return "\n\n".join(block for block in blocks if block)


def _metrics(comparison: Row) -> str:
    rows: list[Cells] = [("metric", "base", "tuned", "difference", "95% interval", "p", "n")]
    for name, entry in metrics_of(comparison).items():
        rows.append((name, *_numbers(entry), str(entry["n"])))
    lines = [
        title(comparison),
        f"base: {flat(comparison['base_name'])}   tuned: {flat(comparison['tuned_name'])}",
        *left_out(comparison),
        *_aligned(rows),
    ]
    return "\n".join(lines)


def _numbers(entry: Row) -> Cells:
    return (
        f"{entry['base']:.3f}",
        f"{entry['tuned']:.3f}",
        f"{entry['difference']:+.3f}",
        interval(entry["ci95"]),
        p_value(entry.get("sign_flip_p")),
    )


def _tests(comparison: Row) -> str:
    """Flips of the headline, the two tests of them, which to believe, and what could be seen."""
    entries = {name: e for name, e in metrics_of(comparison).items() if "mcnemar_p" in e}
    if not entries:
        return ""
    rows: list[Cells] = [("turns", "fixed", "broken", "sign-flip p", "McNemar exact p")]
    for name, entry in entries.items():
        tests = p_value(entry.get("sign_flip_p")), p_value(entry["mcnemar_p"])
        rows.append((name, str(entry["tuned_only"]), str(entry["base_only"]), *tests))
    return "\n".join([*_aligned(rows), *verdict_lines(comparison)])


def _sets(datasets: Mapping[str, Row]) -> str:
    """The headline metrics of the other sets, one row each."""
    rows: list[Cells] = [("set", "metric", "base", "tuned", "difference", "95% interval", "p", "n")]
    for dataset, section in datasets.items():
        for name, entry in metrics_of(section).items():
            if name in ("accuracy", "abstain_accuracy"):
                rows.append((_cut(dataset), name, *_numbers(entry), str(entry["n"])))
    return "\n".join(_aligned(rows, n_words=2)) if len(rows) > 1 else ""


def _breakdown(tables: Row) -> Iterable[str]:
    yield _counts("wrong turns that should call", tables.get("failures", {}))
    yield _counts("turns that should not call", tables.get("abstain", {}))
    yield _counts("parse status of attempts", tables.get("attempts", {}))
    yield _parsed(tables.get("malformed_turns"))
    changes = tool_changes(tables.get("by_tool", {}))
    rows: list[Cells] = [("tool", "base", "tuned", "fixed", "broken", "n")]
    for tool, row in changes[:_MOST_TOOLS]:
        cells = (f"{row['base']:.3f}", f"{row['tuned']:.3f}", row["fixed"], row["broken"], row["n"])
        rows.append((_cut(tool), *map(str, cells)))
    lines = _aligned(rows) if changes else []
    if len(changes) > _MOST_TOOLS:
        lines.append(f"… and {len(changes) - _MOST_TOOLS} more tools, all in comparison.json")
    yield "\n".join(lines)


def _counts(name: str, table: Mapping[str, Row]) -> str:
    rows: list[Cells] = [(name, "base", "tuned", "change")]
    for key, row in table.items():
        change = row["tuned"] - row["base"]
        rows.append((_cut(key), str(row["base"]), str(row["tuned"]), f"{change:+d}"))
    return "\n".join(_aligned(rows)) if table else ""


def _parsed(malformed: Mapping[str, Row] | None) -> str:
    """Is it the parser or the model: how many wrong turns hold something that did not parse."""
    if malformed is None:
        return ""
    told = [
        f"{side} {row['wrong_and_malformed']} of {row['wrong_call_turns']}"
        for side, row in malformed.items()
    ]
    return f"wrong turns with an attempt that does not parse: {', '.join(told)}"


def _several(comparison: Row) -> str:
    comparisons = comparison["comparisons"]
    lines = [title(comparisons[0]), f"base: {flat(comparison['base_name'])}"]
    for i, other in enumerate(comparisons, start=2):
        lines.append(f"  ({i}): {flat(other['tuned_name'])}")
        lines += [f"    {text}" for text in left_out(other)]
    blocks = ["\n".join(lines)]
    sections = [metrics_of(other) for other in comparisons]
    rows: list[Cells] = [
        ("metric", "", "value", "difference", "95% interval", "p", "p (Holm)", "fixed", "broken")
    ]
    for name in HEADLINES:
        entries = [(i, section.get(name)) for i, section in enumerate(sections, start=2)]
        known = [(i, entry) for i, entry in entries if entry is not None]
        if known:
            rows.append((name, "base", f"{known[0][1]['base']:.3f}", *[""] * 6))
        for i, entry in known:
            flips = [str(entry.get(key, "")) for key in ("tuned_only", "base_only")]
            holm = p_value(entry.get("sign_flip_p_holm"))
            rows.append(("", f"({i})", *_numbers(entry)[1:], holm, *flips))
    blocks.append("\n".join(_aligned(rows, n_words=2)))
    blocks.append(holm_line(comparisons))
    return "\n\n".join(blocks)


def _aligned(rows: Sequence[Cells], n_words: int = 1) -> list[str]:
    """Columns of equal width; the first `n_words` to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < n_words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cut(name: str) -> str:
    name = flat(name)
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
