"""From records to metrics, and the files of both. Needs no model, and does not import torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from tooltune.evaluate.breakdown import breakdown
from tooltune.evaluate.evaluation_file import (
    Record,
    conversation_of,
    json_lines,
    replace_file,
)
from tooltune.evaluate.repeats import repeated_rates
from tooltune.evaluate.scores import METRICS, aggregate, metric_value
from tooltune.evaluate.sets import split_sets
from tooltune.evaluate.statistics import mean_intervals


def summarise(records: Sequence[Record], *, prefix: str = "tool_call") -> dict[str, float]:
    """Metrics of the main set (see `split_sets`) under `prefix/…`, others under `prefix/SET/…`.

    Where samples have several answers, also `pass@k` and `pass^k` of the turns that should call.
    """
    sets = split_sets(records, itemgetter("dataset"))
    metrics = _set_metrics(sets.main, prefix)
    for name, members in sets.others.items():
        metrics |= _set_metrics(members, f"{prefix}/{name}")
    return metrics


def _set_metrics(records: Sequence[Record], prefix: str) -> dict[str, float]:
    metrics = aggregate(records, prefix=prefix)
    if not any(record.get("repeat") for record in records):
        return metrics
    answers: dict[str, list[bool]] = {}
    clusters: dict[str, str] = {}
    for record in records:
        if record["kind"] == "call":
            key = f"{record['dataset']}:{record['sample_id']}"
            answers.setdefault(key, []).append(record["verdict"]["correct"])
            clusters[key] = conversation_of(record)
    rates = repeated_rates(answers, clusters)
    return metrics | {f"{prefix}/{name}": rate.value for name, rate in rates.items()}


def evaluation_metrics(
    records: Sequence[Record],
    *,
    model_name: str,
    prefix: str = "tool_call",
    n_excluded: int = 0,
) -> dict[str, Any]:
    """The object of metrics.json: who was scored on how much, and every metric.

    The same outputs give the same object, however often their generation was interrupted: what
    differs from run to run (seconds, outputs reused) stands in generation.json.

    `n_samples`, `n_traces` and `breakdown` (see `breakdown.py`) are of the main set. `repeats`:
    most answers to one sample. `n_excluded`: samples that could not be judged.
    `generated_tokens` and `ties` (see `Generation`): of all answers. `ci95`: intervals of the main
    set's means, by conversation (see `mean_intervals`).
    """
    main = split_sets(records, itemgetter("dataset")).main
    return {
        "model": model_name,
        "n_samples": len({(r["dataset"], r["sample_id"]) for r in main}),
        "n_traces": len({r["example_id"] for r in main}),
        "n_excluded": n_excluded,
        "repeats": 1 + max((r.get("repeat", 0) for r in records), default=0),
        "generated_tokens": sum(r.get("tokens") or 0 for r in records),
        "ties": sum(r.get("ties") or 0 for r in records),
        **summarise(records, prefix=prefix),
        "ci95": _intervals(main, prefix),
        "breakdown": breakdown(main),
    }


def _intervals(records: Sequence[Record], prefix: str) -> dict[str, list[float]]:
    values = {name: [metric_value(name, record) for record in records] for name in METRICS}
    intervals = mean_intervals(values, [conversation_of(record) for record in records])
    return {f"{prefix}/{name}": list(interval) for name, interval in intervals.items()}


def write_evaluation(
    directory: Path,
    records: Sequence[Record],
    *,
    model_name: str,
    prefix: str = "tool_call",
    excluded: Sequence[Record] = (),
) -> dict[str, Any]:
    """Write `samples.jsonl` and `metrics.json` (each replaced in one step); return the metrics.

    `excluded.jsonl` lists the samples that could not be judged, where there are any.
    """
    directory.mkdir(parents=True, exist_ok=True)
    metrics = evaluation_metrics(
        records, model_name=model_name, prefix=prefix, n_excluded=len(excluded)
    )
    if excluded:
        replace_file(directory / "excluded.jsonl", json_lines(excluded))
    else:
        (directory / "excluded.jsonl").unlink(missing_ok=True)
    replace_file(directory / "samples.jsonl", json_lines(records))
    replace_file(directory / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return metrics
