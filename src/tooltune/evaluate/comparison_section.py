"""The paired comparison of two evaluations on one set of samples: every metric, and its worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tooltune.evaluate.comparison_breakdown import compare_breakdowns
from tooltune.evaluate.evaluation_file import conversation_of
from tooltune.evaluate.paired_tests import (
    design_effect,
    detectable_difference,
    find_flips,
    sign_flip_p,
    sign_flip_p_values,
)
from tooltune.evaluate.pairing import Sample, key_text, sample_key
from tooltune.evaluate.samples import HELD_OUT
from tooltune.evaluate.scores import METRICS, metric_value
from tooltune.evaluate.statistics import (
    cluster_bootstrap_ci,
    mcnemar_exact,
    mean_intervals,
    wilson,
)

Pair = tuple[Sample, Sample]
Values = list[float | None]
Row = dict[str, Any]

PREFIX = "tool_call/"

VERDICTS = ("accuracy", "accuracy_normalised", "abstain_accuracy")
"""The metrics that are right or wrong for each turn, and so have flips."""


def compare_pairs(pairs: Sequence[Pair]) -> Row:
    """What `compare_evaluations` says of one set; `pairs` are (base, tuned), one per sample."""
    paired = {name: _paired(name, pairs) for name in METRICS}
    columns = {name: sides for name, sides in paired.items() if set(sides[0]) - {None}}
    clusters = [conversation_of(base) for base, _ in pairs]
    differences = {name: _differences(*sides) for name, sides in columns.items()}
    intervals = _intervals(columns, differences, clusters)
    p_values = sign_flip_p_values(differences, clusters)
    section: Row = {}
    for name in METRICS:
        if name in columns:
            section[PREFIX + name] = _entry(*columns[name]) | intervals[name]
            section[PREFIX + name]["sign_flip_p"] = p_values[name]
        if name in columns and name in VERDICTS:
            section[PREFIX + name] |= _verdicts(*columns[name], pairs, clusters)
        if name == "abstain_accuracy" and (balanced := _balanced(pairs, section, clusters)):
            section[PREFIX + "balanced_accuracy"] = balanced
    return section | {
        "n_samples": len(pairs),
        "n_call_turns": sum(base["kind"] == "call" for base, _ in pairs),
        "n_traces": len({base["example_id"] for base, _ in pairs}),
        "n_groups": len(set(clusters)),
        "breakdown": compare_breakdowns(pairs),
    }


def _paired(name: str, pairs: Sequence[Pair]) -> tuple[Values, Values]:
    """A metric's values on either side, `None` on both where one side says nothing about it."""
    before: Values = []
    after: Values = []
    for base, tuned in pairs:
        a, b = metric_value(name, base), metric_value(name, tuned)
        said = a is not None and b is not None
        before.append(a if said else None)
        after.append(b if said else None)
    return before, after


def _differences(before: Values, after: Values) -> Values:
    return [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]


def _entry(before: Values, after: Values) -> Row:
    a, b = ([value for value in side if value is not None] for side in (before, after))
    base, tuned = fmean(a), fmean(b)
    return {"base": base, "tuned": tuned, "difference": tuned - base, "n": len(a)}


def _intervals(
    columns: Mapping[str, tuple[Values, Values]],
    differences: Mapping[str, Values],
    clusters: Sequence[str],
) -> dict[str, Row]:
    """Of each metric: `ci95` of the difference, and `base_cluster_ci95`, `tuned_cluster_ci95`.

    All from the same draws of conversations. A difference, from -1 to 1, is drawn as the rate
    `(1 + difference) / 2`, so that `mean_intervals` knows where it would claim certainty; where no
    turn differs at all, the interval is that of how many conversations still might.
    """
    rates: dict[str, Values] = {}
    for name, (before, after) in columns.items():
        rates |= {f"{name}/base": before, f"{name}/tuned": after}
        rates[name] = [None if d is None else (1 + d) / 2 for d in differences[name]]
    drawn = mean_intervals(rates, clusters)
    result: dict[str, Row] = {}
    for name in columns:
        speaking = {c for c, value in zip(clusters, rates[name], strict=True) if value is not None}
        if name not in drawn:
            low, high = -1.0, 1.0  # one conversation says nothing about the next
        elif all(value in (None, 0.5) for value in rates[name]):
            high = wilson(0, len(speaking))[1]
            low = -high
        else:
            low, high = (round(2 * end - 1, 9) for end in drawn[name])
        result[name] = {"ci95": [low, high]} | {
            f"{side}_cluster_ci95": list(drawn.get(f"{name}/{side}", (0.0, 1.0)))
            for side in ("base", "tuned")
        }
    return result


def _verdicts(before: Values, after: Values, pairs: Sequence[Pair], clusters: Sequence[str]) -> Row:
    """The flips of a metric that is right or wrong for each turn, McNemar's test, Wilson's rates.

    `detectable_difference` takes conversations for no more telling than as many single turns,
    whatever few flips happen to say: `design_effect` counts where it is above 1.
    """
    kept = [i for i, value in enumerate(before) if value is not None]
    right = [(before[i] == 1, after[i] == 1) for i in kept]
    several = len({pairs[i][0]["dataset"] for i in kept}) > 1
    flips = find_flips(
        (_name(pairs[i][0], several), *verdict) for i, verdict in zip(kept, right, strict=True)
    )
    effect = design_effect([b - a for a, b in right], [clusters[i] for i in kept])
    discordant = len(flips.fixed) + len(flips.broken)
    n = len(kept)
    return {
        "mcnemar_p": mcnemar_exact(len(flips.broken), len(flips.fixed)),
        "base_only": len(flips.broken),
        "tuned_only": len(flips.fixed),
        "base_ci95": list(wilson(sum(a for a, _ in right), n)),
        "tuned_ci95": list(wilson(sum(b for _, b in right), n)),
        "design_effect": effect,
        "detectable_difference": detectable_difference(
            n, discordant / n, design_effect=max(1.0, effect)
        ),
        "most_turns_of_a_conversation": _largest([clusters[i] for i in kept]),
        "fixed": list(flips.fixed),
        "broken": list(flips.broken),
    }


def _name(sample: Sample, several: bool) -> str:
    """A sample's id, with its set where it stands among samples of several."""
    if several:
        return key_text(sample_key(sample))
    return key_text((HELD_OUT, *sample_key(sample)[1:]))


def _largest(clusters: Sequence[str]) -> int:
    counts: dict[str, int] = {}
    for cluster in clusters:
        counts[cluster] = counts.get(cluster, 0) + 1
    return max(counts.values(), default=0)


def _balanced(
    pairs: Sequence[Pair], section: Mapping[str, Any], clusters: Sequence[str]
) -> Row | None:
    """The mean of the accuracies over turns that should call and turns that should not."""
    parts = [section[PREFIX + n] for n in ("accuracy", "abstain_accuracy") if PREFIX + n in section]
    if not parts:
        return None
    base, tuned = (fmean(part[side] for part in parts) for side in ("base", "tuned"))
    differences = [
        float(b["verdict"]["correct"]) - float(a["verdict"]["correct"]) for a, b in pairs
    ]
    kinds = [a["kind"] for a, _ in pairs] if len(parts) > 1 else None
    entry = {"base": base, "tuned": tuned, "difference": tuned - base}
    if kinds is None:
        return entry | {name: parts[0][name] for name in ("ci95", "n", "sign_flip_p")}
    if len(set(clusters)) < 2:
        interval = [-1.0, 1.0]
    else:
        interval = list(cluster_bootstrap_ci(differences, clusters, strata=kinds))
        if interval[0] == interval[1]:  # nothing to draw: certainty would be claimed
            interval = [fmean(part["ci95"][end] for part in parts) for end in (0, 1)]
    return entry | {
        "ci95": interval,
        "n": len(pairs),
        "sign_flip_p": sign_flip_p(differences, clusters, strata=kinds),
    }
