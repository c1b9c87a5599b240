"""The numbers of `comparison.json` in words and table rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

from tooltune.report.files import Evaluation
from tooltune.report.numbers import (
    DASH,
    bounds,
    count,
    interval,
    number,
    p_value,
    percent,
    plain,
    points,
    signed,
    whole,
)
from tooltune.report.samples import main_accuracy, main_samples

# key: (label, what it means). The order is the order of the table.
METRICS: dict[str, tuple[str, str]] = {
    "accuracy": ("Accuracy", "the whole turn right: every call, every argument, no extra call"),
    "accuracy_normalised": (
        "Accuracy by meaning",
        "the same, arguments compared by what they mean",
    ),
    "balanced_accuracy": ("Balanced accuracy", "mean of accuracy and abstain accuracy"),
    "abstain_accuracy": ("Abstain accuracy", "turns without a call where none was wanted"),
    "abstain_called_rate": ("Called needlessly", "such turns that made a call; lower is better"),
    "abstain_malformed_rate": (
        "Garbage instead of text",
        "such turns with nothing but attempts that do not parse; lower is better",
    ),
    "has_call": ("Makes a call", "turns with any attempt at a call"),
    "name_correct": ("Right tool", "calls that name the right tool"),
    "args_json_valid": ("Valid JSON", "calls whose arguments parse"),
    "args_exact_match": ("Arguments exact", "calls whose arguments all agree"),
    "args_normalised_match": ("Arguments by meaning", "calls whose arguments all mean the same"),
    "args_field_recall": ("Argument recall", "expected arguments that are there, by name"),
    "args_field_precision": ("Argument precision", "given arguments that were expected, by name"),
    "call_precision": ("Call precision", "calls made that were expected and right"),
    "call_recall": ("Call recall", "expected calls that were made right"),
    "call_f1": ("Call F1", "harmonic mean of call precision and recall"),
    "schema_valid": ("Fits the schema", "calls that satisfy the tool's own JSON schema"),
    "malformed_rate": ("Malformed", "turns with an attempt that does not parse; lower is better"),
    "teacher_forced_exact": (
        "Teacher-forced exact",
        "turns whose every token is the most likely one after the true ones",
    ),
    "loss": ("Loss", "mean negative log-likelihood of the targets; lower is better"),
    "val_loss": ("Validation loss", "mean negative log-likelihood; lower is better"),
}
_LOWER_IS_BETTER = frozenset(
    {"malformed_rate", "abstain_called_rate", "abstain_malformed_rate", "loss", "val_loss"}
)
_NO_RATE = frozenset({"loss", "val_loss"})


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table. `base` and `tuned` in [0, 1] also place the two dots of its plot.

    `trend` is `"better"`, `"worse"` or `"unclear"`: what the interval of the difference shows.
    """

    key: str
    label: str
    meaning: str
    base: str
    tuned: str
    difference: str
    interval: str
    n: str
    trend: str
    base_at: float | None
    tuned_at: float | None


@dataclass(frozen=True, slots=True)
class MetricTable:
    """Rates of one data set, with intervals, and its plain counts (`label`, `base`, `tuned`)."""

    dataset: str
    rows: tuple[MetricRow, ...]
    counts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A point with its interval on the axis from 0 to 1."""

    at: float
    low: float
    high: float
    text: str
    interval: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The big numbers. `None` where the files do not hold them; sentences are complete."""

    base: Span | None
    tuned: Span | None
    difference: str | None
    interval: str | None
    trend: str
    sentences: tuple[str, ...]


def headline(comparison: Mapping[str, Any], flips: Mapping[str, int]) -> Headline:
    """The headline of a comparison object; `flips` counts samples where it has no counts."""
    entry = _entry(comparison, "accuracy")
    sentences = [
        text
        for text in (
            _verdict(entry),
            _basis(comparison),
            _flips_told(entry, flips),
            _detectable(entry),
        )
        if text
    ]
    return Headline(
        base=_span(entry, "base"),
        tuned=_span(entry, "tuned"),
        difference=points(entry.get("difference")),
        interval=interval(entry.get("ci95")),
        trend=_trend("accuracy", entry),
        sentences=tuple(sentences),
    )


def accuracy_span(comparison: Mapping[str, Any], side: str) -> Span | None:
    """The accuracy of the side `base` or `tuned` with its interval, `None` where it is unknown."""
    return _span(_entry(comparison, "accuracy"), side)


def lone_headline(evaluation: Evaluation | None) -> Headline:
    """The headline of one evaluation: the accuracy of its main set with Wilson's interval."""
    metrics = evaluation.metrics if evaluation else {}
    right, n = main_accuracy(evaluation)
    entry: dict[str, Any] = {"tuned": right / n if n else metrics.get("tool_call/accuracy")}
    if n:
        low, high = binomtest(right, n).proportion_ci(method="wilson")
        entry["tuned_ci95"] = [float(low), float(high)]
    traces, turns = metrics.get("n_traces"), len(main_samples(evaluation))
    basis = _basis({"n_traces": traces, "n_call_turns": n, "n_samples": turns}) if n else None
    return Headline(
        base=None,
        tuned=_span(entry, "tuned"),
        difference=None,
        interval=None,
        trend="unclear",
        sentences=(basis,) if basis else (),
    )


def metric_tables(
    comparison: Mapping[str, Any], measured: Mapping[str, Any]
) -> tuple[MetricTable, ...]:
    """The main data set's table first, then one for each extra data set.

    `measured` is what `comparison_from_metrics` made of the evaluations' own metrics: it has the
    counts of scored and skipped turns, which a comparison lacks.
    """
    extras, counted = _datasets(comparison), _datasets(measured)
    tables = [_table("", comparison, measured)]
    tables.extend(_table(name, extras[name], counted.get(name, {})) for name in extras)
    return tuple(table for table in tables if table.rows or table.counts)


def comparison_from_metrics(
    base: Mapping[str, Any] | None, tuned: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A comparison without intervals from two metrics.json objects, for a run that has no other.

    Keys of three parts (`tool_call/unseen_tools/accuracy`) go to their data set.
    """
    base, tuned = base or {}, tuned or {}
    result: dict[str, Any] = {
        "base_name": base.get("model"),
        "tuned_name": tuned.get("model"),
        "n_samples": tuned.get("n_samples", base.get("n_samples")),
        "n_traces": tuned.get("n_traces", base.get("n_traces")),
        "datasets": {},
    }
    for key in dict.fromkeys([*base, *tuned]):
        parts = key.split("/")
        if len(parts) not in (2, 3):
            continue
        a, b = number(base.get(key)), number(tuned.get(key))
        entry = {"base": a, "tuned": b, "difference": None if a is None or b is None else b - a}
        home = result if len(parts) == 2 else result["datasets"].setdefault(parts[1], {})
        home[f"{parts[0]}/{parts[-1]}"] = entry
    return result


def _entry(comparison: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _entries(comparison).get(name, {})


def _entries(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metrics by bare name. Keys of three parts belong to an extra data set, listed apart."""
    return {
        key.split("/")[-1]: value
        for key, value in comparison.items()
        if isinstance(value, Mapping)
        and ("base" in value or "tuned" in value)
        and key.count("/") < 2
    }


def _datasets(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    datasets = comparison.get("datasets")
    if not isinstance(datasets, Mapping):
        return {}
    return {str(name): part for name, part in datasets.items() if isinstance(part, Mapping)}


def _table(dataset: str, comparison: Mapping[str, Any], measured: Mapping[str, Any]) -> MetricTable:
    entries = _entries(comparison)
    counts = {n: e for n, e in (_entries(measured) | entries).items() if n.startswith("_")}
    order = {key: place for place, key in enumerate(METRICS)}
    names = sorted(entries, key=lambda name: order.get(name, len(order)))
    return MetricTable(
        dataset,
        tuple(_row(name, entries[name]) for name in names if not name.startswith("_")),
        tuple(
            (name.lstrip("_"), whole(entry.get("base")), whole(entry.get("tuned")))
            for name, entry in counts.items()
        ),
    )


def _row(name: str, entry: Mapping[str, Any]) -> MetricRow:
    label, meaning = METRICS.get(name, (name, ""))
    rate = name not in _NO_RATE
    digits = 1 if rate else 3
    show = percent if rate else plain
    difference = number(entry.get("difference"))
    change = None if difference is None else signed(difference * (100 if rate else 1), digits)
    base, tuned = number(entry.get("base")), number(entry.get("tuned"))
    return MetricRow(
        key=name,
        label=label,
        meaning=meaning,
        base=show(base) or DASH,
        tuned=show(tuned) or DASH,
        difference=change or DASH,
        interval=interval(entry.get("ci95"), scale=100 if rate else 1, digits=digits) or "",
        n=whole(entry["n"]) if "n" in entry else "",
        trend=_trend(name, entry),
        base_at=_clamp(base) if rate and base is not None else None,
        tuned_at=_clamp(tuned) if rate and tuned is not None else None,
    )


def _trend(name: str, entry: Mapping[str, Any]) -> str:
    span = bounds(entry.get("ci95"))
    if span is None or span[0] <= 0 <= span[1]:
        return "unclear"
    return "better" if (span[0] > 0) != (name in _LOWER_IS_BETTER) else "worse"


def _span(entry: Mapping[str, Any], side: str) -> Span | None:
    at = number(entry.get(side))
    if at is None:
        return None
    span = bounds(entry.get(f"{side}_ci95"))
    low, high = span or (at, at)
    told = f"{low * 100:.1f} to {high * 100:.1f}%" if span else ""
    return Span(_clamp(at), _clamp(low), _clamp(high), percent(at) or DASH, told)


def _verdict(entry: Mapping[str, Any]) -> str | None:
    if bounds(entry.get("ci95")) is None:
        return None
    return {
        "better": "The tuned model calls tools right more often: the interval excludes 0.",
        "worse": "The tuned model calls tools right less often: the interval excludes 0.",
        "unclear": "No difference is shown: the interval includes 0.",
    }[_trend("accuracy", entry)]


def _basis(comparison: Mapping[str, Any]) -> str | None:
    keys = ("n_traces", "n_call_turns", "n_samples")
    traces, calls, turns = (comparison.get(key) for key in keys)
    if not (isinstance(traces, int) and isinstance(calls, int) and isinstance(turns, int)):
        return None
    others = f" and {turns - calls:,} that should not" if turns > calls else ""
    return (
        f"Measured on {count(traces, 'trace')}: "
        f"{count(calls, 'turn')} that should call a tool{others}."
    )


def _flips_told(entry: Mapping[str, Any], flips: Mapping[str, int]) -> str | None:
    """How many turns changed, and whether chance would do that: by conversation, where known."""
    fixed = entry.get("tuned_only", flips.get("fixed", 0))
    broken = entry.get("base_only", flips.get("broken", 0))
    if not isinstance(fixed, int) or not isinstance(broken, int):
        return None
    told = f"Of the turns that should call, tuning fixed {fixed:,} and broke {broken:,}"
    by_turn, by_conversation = number(entry.get("mcnemar_p")), number(entry.get("sign_flip_p"))
    tests = []
    if by_conversation is not None:
        tests.append(f"sign-flip test by conversation, {p_value(by_conversation)}")
    if by_turn is not None:
        tests.append(f"exact McNemar test over turns, {p_value(by_turn)}")
    p = by_turn if by_conversation is None else by_conversation
    if p is None:
        return f"{told}."
    if p < 0.001:
        chance = "chance alone would almost never split them so unevenly"
    elif p < 0.05:
        chance = "chance alone would seldom split them so unevenly"
    else:
        chance = "chance alone could well have split them so"
    return f"{told}; {chance} ({'; '.join(tests)})."


def _detectable(entry: Mapping[str, Any]) -> str | None:
    """Where nothing is shown: what so many turns could have shown."""
    least = number(entry.get("detectable_difference"))
    if least is None or bounds(entry.get("ci95")) is None or _trend("accuracy", entry) != "unclear":
        return None
    return f"So many turns would show a difference of {least * 100:.1f} points 4 times out of 5."


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))
