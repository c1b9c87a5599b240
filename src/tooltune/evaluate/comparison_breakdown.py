"""Where two evaluations differ: by tool, place in the dialogue, class of failure, parse status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.evaluate.breakdown import breakdown

Sample = Mapping[str, Any]
Row = dict[str, Any]

_RATES = ("by_tool", "by_turn", "by_calls", "by_seen_tools")
_SHARES = ("failures", "abstain")


def compare_breakdowns(pairs: Sequence[tuple[Sample, Sample]]) -> Row:
    """The `breakdown` of both sides of one set (see `breakdown.py`), row beside row.

    Rows of `by_tool`, `by_turn`, `by_calls` and `by_seen_tools`: `n`, the accuracies `base` and
    `tuned` with Wilson's intervals `base_ci95` and `tuned_ci95`, `difference`, and the numbers of
    turns `base_correct` and `tuned_correct`; `by_tool` also has those that were `fixed` and
    `broken`. Rows of `failures` (of call turns) and `abstain` (of the others): turns `base` and
    `tuned`, and their shares `base_share` and `tuned_share`. `attempts`: parsed calls by status on
    either side. `malformed_turns`: turns, on either side, with an attempt that does not parse, and
    how many of the wrong call turns have one. Empty tables are absent.
    """
    base = breakdown([_answered(tuned, base) for base, tuned in pairs])
    tuned = breakdown([sample for _, sample in pairs])
    tables: Row = {name: _rates(base[name], tuned[name]) for name in _RATES if name in tuned}
    for name, flipped in (("fixed", _flipped(pairs, 1)), ("broken", _flipped(pairs, 0))):
        for tool, row in tables.get("by_tool", {}).items():
            row[name] = flipped.get(tool, {"n": 0})["n"]
    for name in _SHARES:
        tables[name] = _shares(base.get(name, {}), tuned.get(name, {}))
    attempts = base.get("attempts", {}), tuned.get("attempts", {})
    tables["attempts"] = {
        status: {side: counts.get(status, 0) for side, counts in zip(_SIDES, attempts, strict=True)}
        for status in dict.fromkeys([*attempts[0], *attempts[1]])
    }
    tables["malformed_turns"] = {
        side: _malformed([pair[i] for pair in pairs]) for i, side in enumerate(_SIDES)
    }
    return {name: table for name, table in tables.items() if table}


_SIDES = ("base", "tuned")


def _answered(question: Sample, answer: Sample) -> Row:
    """One side's answer to the sample as the other side wrote it, so that both share the rows."""
    said = {key: answer[key] for key in ("verdict", "calls", "finish_reason") if key in answer}
    return {**question, "calls": (), "finish_reason": None, **said}


def _flipped(pairs: Sequence[tuple[Sample, Sample]], right: int) -> Row:
    """By tool, the call turns that only side `right` (0 base, 1 tuned) gets right."""
    rows = [
        tuned
        for base, tuned in pairs
        if base["verdict"]["correct"] != tuned["verdict"]["correct"]
        and (base, tuned)[right]["verdict"]["correct"]
    ]
    found: Row = breakdown(rows).get("by_tool", {})
    return found


def _rates(base: Mapping[str, Row], tuned: Mapping[str, Row]) -> Row:
    return {
        key: {
            "n": after["n"],
            "base": base[key]["accuracy"],
            "tuned": after["accuracy"],
            "difference": after["accuracy"] - base[key]["accuracy"],
            "base_ci95": base[key]["ci95"],
            "tuned_ci95": after["ci95"],
            "base_correct": base[key]["correct"],
            "tuned_correct": after["correct"],
        }
        for key, after in tuned.items()
    }


def _shares(base: Mapping[str, Row], tuned: Mapping[str, Row]) -> Row:
    nothing = {"n": 0, "share": 0.0}
    rows: Row = {}
    for key in dict.fromkeys([*base, *tuned]):
        before, after = base.get(key, nothing), tuned.get(key, nothing)
        rows[key] = {
            "base": before["n"],
            "tuned": after["n"],
            "base_share": before["share"],
            "tuned_share": after["share"],
        }
    return rows


def _malformed(samples: Sequence[Sample]) -> dict[str, int]:
    """Turns with an attempt that does not parse; wrong call turns, and those of them with one."""
    unread = [bool(sample["verdict"]["scores"].get("malformed")) for sample in samples]
    wrong = [s["kind"] == "call" and not s["verdict"]["correct"] for s in samples]
    return {
        "turns": sum(unread),
        "wrong_call_turns": sum(wrong),
        "wrong_and_malformed": sum(a and b for a, b in zip(unread, wrong, strict=True)),
    }
