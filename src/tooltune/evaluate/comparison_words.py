"""Numbers of a comparison in the words that its text and Markdown tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.evaluate.comparison_section import PREFIX
from tooltune.evaluate.sets import ALL_SETS

Row = Mapping[str, Any]

HEADLINES = (
    "accuracy",
    "accuracy_normalised",
    "abstain_accuracy",
    "balanced_accuracy",
    "call_f1",
    "malformed_rate",
)
"""The metrics that stand first, in this order."""

SIGNIFICANT = 0.05
"""The p-value under which a difference is believed."""


def metrics_of(section: Row) -> dict[str, Row]:
    """The metrics of a section by bare name, those of `HEADLINES` first."""
    names = [key.removeprefix(PREFIX) for key in section if key.startswith(PREFIX)]
    first = [name for name in HEADLINES if name in names]
    return {name: section[PREFIX + name] for name in dict.fromkeys([*first, *names])}


def title(section: Row) -> str:
    sets = section.get("datasets", {})
    named = "all samples" if section.get("main_set") == ALL_SETS else "held-out samples"
    if sets and not other_sets(section):
        named = flat(next(iter(sets)))
    return f"{named}: {size(section)}"


def other_sets(comparison: Row) -> Mapping[str, Row]:
    """The sets that say something which the main section does not: not the only one there is."""
    sets: Mapping[str, Row] = comparison.get("datasets", {})
    return {} if comparison.get("main_set") == ALL_SETS and len(sets) == 1 else sets


def flat(name: str) -> str:
    """A name that others chose, on one line."""
    return " ".join(name.split())


def size(section: Row) -> str:
    calls, turns = section["n_call_turns"], section["n_samples"]
    return f"{calls:,} call turns, {turns:,} turns, {section['n_traces']:,} traces"


def left_out(comparison: Row) -> list[str]:
    """What only one side holds, where that was left out."""
    counts = [comparison.get(f"n_only_{side}", 0) for side in ("base", "tuned")]
    if not any(counts):
        return []
    return [
        f"only the samples that all have are compared: {counts[0]:,} of base and {counts[1]:,} of "
        "tuned are left out"
    ]


def interval(ends: Sequence[float], sign: str = "+") -> str:
    low, high = ends
    return f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def p_value(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def verdict_lines(section: Row) -> list[str]:
    """Which of the two tests to believe, and what difference so many turns would not show."""
    metrics = metrics_of(section)
    entry = metrics.get("accuracy") or metrics.get("abstain_accuracy") or {}
    return [line for line in (_which_test(entry), _power(entry)) if line]


def _which_test(entry: Row) -> str | None:
    most = entry.get("most_turns_of_a_conversation")
    if most is None:
        return None
    if most < 2:
        return "either test may be believed: no conversation has two of these turns"
    return (
        "believe the sign-flip test: McNemar's takes turns of one conversation for independent "
        f"(up to {most})"
    )


def _power(entry: Row) -> str | None:
    """Nothing where a difference was seen: then nobody asks which one would have been missed."""
    if "detectable_difference" not in entry or entry["sign_flip_p"] < SIGNIFICANT:
        return None
    turns = f"with {entry['n']:,} turns" if entry["n"] != 1 else "with 1 turn"
    least = entry["detectable_difference"]
    if least is None:
        return f"{turns} no difference whatever could be told from chance"
    return f"{turns} a difference under {least:.2f} would not be seen (4 times out of 5)"


def holm_line(comparisons: Sequence[Row]) -> str:
    return (
        f"p (Holm) is adjusted for {len(comparisons)} comparisons with base: believe that one, by "
        "conversation"
    )


def tool_changes(by_tool: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """The tools whose turns changed, those with the most turns gained or lost first."""
    changed = [(tool, row) for tool, row in by_tool.items() if row["fixed"] or row["broken"]]

    def least(item: tuple[str, Row]) -> tuple[int, int, str]:
        tool, row = item
        return -abs(row["fixed"] - row["broken"]), -(row["fixed"] + row["broken"]), tool

    return sorted(changed, key=least)
