"""From the samples of an evaluation to its metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from tooltune.toolcalls.score import SAMPLE_METRICS

Sample = Mapping[str, Any]

CALL_SCORES = (
    *SAMPLE_METRICS,
    "args_normalised_match",
    "call_precision",
    "call_recall",
    "call_f1",
)


def aggregate(samples: Sequence[Sample], prefix: str = "tool_call") -> dict[str, float]:
    """The metrics of one set of samples (records of samples.jsonl), keyed `PREFIX/NAME`.

    All but the counts lie in [0, 1]; a metric that no sample speaks about is absent, never 0.

    `accuracy`: share of *all* turns that should call, skipped ones counted as wrong, whose verdict
    is correct; `accuracy_normalised`: the same with arguments compared by what they mean
    (`toolcalls/normalise.py`); `abstain_accuracy`: the first of the turns that should not call;
    `abstain_called_rate` and `abstain_malformed_rate`: share of *all* of those that made a
    well-formed call, or only attempts that are none; `balanced_accuracy`: the mean of those of
    `accuracy` and `abstain_accuracy` that exist.

    `_count` and `_skipped` are the call turns scored and skipped, together the denominator of
    `accuracy`; `_skip_REASON` splits the latter; `_abstain_count` and `_abstain_skipped`
    count the others, where there are any.

    The other metrics are means over the samples that `metric_value` gives a value for.
    """
    metrics: dict[str, float] = {}
    for name in METRICS:
        values = [value for sample in samples if (value := metric_value(name, sample)) is not None]
        if values:
            metrics[name] = fmean(values)
    kinds = [metrics[key] for key in ("accuracy", "abstain_accuracy") if key in metrics]
    if kinds:
        metrics["balanced_accuracy"] = fmean(kinds)
    metrics |= _counts(samples)
    return {f"{prefix}/{name}": float(value) for name, value in metrics.items()}


def metric_value(name: str, sample: Sample) -> float | None:
    """What `sample` contributes to metric `name` of `METRICS`; `None` where it says nothing."""
    return METRICS[name](sample)


def _correct(kind: str) -> Callable[[Sample], float | None]:
    def value(sample: Sample) -> float | None:
        return float(sample["verdict"]["correct"]) if sample["kind"] == kind else None

    return value


def _correct_normalised(sample: Sample) -> float | None:
    """Of samples that an earlier version wrote, skipped or not, nothing is known."""
    verdict = sample["verdict"]
    known = sample["kind"] == "call" and "correct_normalised" in verdict
    return float(verdict["correct_normalised"]) if known else None


def _abstain_outcome(outcome: str) -> Callable[[Sample], float | None]:
    def value(sample: Sample) -> float | None:
        if sample["kind"] == "call":
            return None
        return float(sample["verdict"]["outcome"] == outcome)

    return value


def _call_score(name: str) -> Callable[[Sample], float | None]:
    """A score of the call turns that were scored (the reference, too, leaves skipped ones out)."""

    def value(sample: Sample) -> float | None:
        if sample["kind"] != "call" or is_skipped(sample):
            return None
        return _number(sample["verdict"]["scores"].get(name))

    return value


def _turn_score(name: str) -> Callable[[Sample], float | None]:
    """A score of whatever turn was scored and has it."""

    def value(sample: Sample) -> float | None:
        return None if is_skipped(sample) else _number(sample["verdict"]["scores"].get(name))

    return value


def _teacher_forced_exact(sample: Sample) -> float | None:
    return _number(sample.get("teacher_forced_exact")) if sample["kind"] == "call" else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


METRICS: dict[str, Callable[[Sample], float | None]] = {
    "accuracy": _correct("call"),
    "accuracy_normalised": _correct_normalised,
    "abstain_accuracy": _correct("abstain"),
    "abstain_called_rate": _abstain_outcome("call"),
    "abstain_malformed_rate": _abstain_outcome("malformed"),
    **{name: _call_score(name) for name in CALL_SCORES},
    "malformed_rate": _turn_score("malformed"),
    "schema_valid": _turn_score("schema_valid"),
    "teacher_forced_exact": _teacher_forced_exact,
}
"""The metrics that are means over samples. `malformed_rate`: share of all scored turns, of either
kind, with an attempt that is no well-formed call. `args_normalised_match`: `args_exact_match` with
arguments compared by what they mean. `schema_valid`: share, of the scored turns that
made well-formed calls, whose calls all satisfy their tools' schemas."""


def is_skipped(sample: Sample) -> bool:
    """Whether nothing was generated for `sample`."""
    return bool(sample["verdict"]["outcome"] == "skipped")


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    calls = [sample for sample in samples if sample["kind"] == "call"]
    others = [sample for sample in samples if sample["kind"] != "call"]
    reasons = Counter(sample["skip_reason"] for sample in calls if is_skipped(sample))
    skipped = reasons.total()
    counts = {"_count": len(calls) - skipped, "_skipped": skipped}
    counts |= {f"_skip_{reason or 'unknown'}": n for reason, n in sorted(reasons.items(), key=str)}
    if others:
        abstain_skipped = sum(map(is_skipped, others))
        counts["_abstain_count"] = len(others) - abstain_skipped
        counts["_abstain_skipped"] = abstain_skipped
    return counts
