"""Two evaluations of the same samples, side by side: paired differences and what they are worth."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tooltune.errors import UserError
from tooltune.evaluate.evaluation_file import load_evaluation
from tooltune.evaluate.scores import METRICS, metric_value
from tooltune.evaluate.statistics import cluster_bootstrap_ci, mcnemar_exact, wilson
from tooltune.toolcalls.json_text import json_equal

__all__ = ["compare_evaluations", "load_evaluation", "render_table", "write_comparison"]

Sample = Mapping[str, Any]
Pair = tuple[Sample, Sample]
Scored = Sequence[tuple[float, float, Sample]]
"""A metric's value on either side, and the sample it is of."""

_PREFIX = "tool_call/"
_MAIN = "held_out"


def compare_evaluations(
    base_samples: Sequence[Sample], tuned_samples: Sequence[Sample], base_name: str, tuned_name: str
) -> dict[str, Any]:
    """Compare two evaluations sample by sample; returns the object of comparison.json.

    Its top level is about the `held_out` samples, `datasets` holds the same for every other set.
    For each metric: `base`, `tuned`, `difference` (tuned minus base), `ci95` of the difference
    (bootstrap by conversation: a sample's `group`, else its trace), and `n`, the turns that say
    something about it on both sides. Accuracy also has McNemar's exact p over turns, the
    discordant counts, and Wilson intervals of the two rates.

    Raises `UserError` where the two sides are not about the same samples with the same ground
    truth: a difference between different tests is no difference between models.
    """
    pairs = _join(base_samples, tuned_samples)
    others = sorted({base["dataset"] for base, _ in pairs} - {_MAIN})
    return {
        **_section([pair for pair in pairs if pair[0]["dataset"] == _MAIN]),
        "base_name": base_name,
        "tuned_name": tuned_name,
        "datasets": {
            name: _section([pair for pair in pairs if pair[0]["dataset"] == name])
            for name in others
        },
    }


def _join(base_samples: Sequence[Sample], tuned_samples: Sequence[Sample]) -> list[Pair]:
    base, tuned = _by_key(base_samples, "base"), _by_key(tuned_samples, "tuned")
    for here, there, side in ((base, tuned, "base"), (tuned, base, "tuned")):
        if missing := [key for key in here if key not in there]:
            raise UserError(
                f"{len(missing)} samples are only in the {side} evaluation: {_listed(missing)}",
                fix="evaluate both models on the same data with the same limits",
            )
    pairs = [(base[key], tuned[key]) for key in base]
    differing = [key for key, (a, b) in zip(base, pairs, strict=True) if not _same_task(a, b)]
    if differing:
        raise UserError(
            f"{len(differing)} samples have another ground truth in the tuned evaluation: "
            f"{_listed(differing)}",
            fix="evaluate both models on the same version of the data",
        )
    if not pairs:
        raise UserError("both evaluations are empty", fix="run them again")
    return pairs


def _by_key(samples: Iterable[Sample], side: str) -> dict[tuple[str, str], Sample]:
    keyed: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        key = (sample["dataset"], sample["sample_id"])
        if key in keyed:
            raise UserError(
                f"the {side} evaluation holds sample {_listed([key])} twice",
                fix="run that evaluation again",
            )
        keyed[key] = sample
    return keyed


def _same_task(a: Sample, b: Sample) -> bool:
    return a["kind"] == b["kind"] and json_equal(a["gt_tool_calls"], b["gt_tool_calls"])


def _listed(keys: Sequence[tuple[str, str]], limit: int = 5) -> str:
    names = [name if dataset == _MAIN else f"{dataset}:{name}" for dataset, name in keys[:limit]]
    return ", ".join(names) + (", …" if len(keys) > limit else "")


def _section(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The comparison of one set."""
    section: dict[str, Any] = {}
    for name in METRICS:
        scored = [
            (base_value, tuned_value, base)
            for base, tuned in pairs
            if (base_value := metric_value(name, base)) is not None
            and (tuned_value := metric_value(name, tuned)) is not None
        ]
        if scored:
            section[_PREFIX + name] = _entry(scored)
        if name == "accuracy" and scored:
            section[_PREFIX + name] |= _rates(scored)
        if name == "abstain_accuracy" and (balanced := _balanced(pairs, section)):
            section[_PREFIX + "balanced_accuracy"] = balanced
    return section | {
        "n_samples": len(pairs),
        "n_call_turns": sum(base["kind"] == "call" for base, _ in pairs),
        "n_traces": len({base["example_id"] for base, _ in pairs}),
        "n_groups": len({_cluster(base) for base, _ in pairs}),
    }


def _entry(scored: Scored) -> dict[str, Any]:
    base, tuned = fmean(row[0] for row in scored), fmean(row[1] for row in scored)
    return {
        "base": base,
        "tuned": tuned,
        "difference": tuned - base,
        "ci95": _interval(
            [row[1] - row[0] for row in scored], [_cluster(row[2]) for row in scored], None
        ),
        "n": len(scored),
    }


def _rates(scored: Scored) -> dict[str, Any]:
    n = len(scored)
    base_right, tuned_right = sum(row[0] == 1 for row in scored), sum(row[1] == 1 for row in scored)
    base_only = sum(base > tuned for base, tuned, _ in scored)
    tuned_only = sum(tuned > base for base, tuned, _ in scored)
    return {
        "mcnemar_p": mcnemar_exact(base_only, tuned_only),
        "base_only": base_only,
        "tuned_only": tuned_only,
        "base_ci95": list(wilson(base_right, n)),
        "tuned_ci95": list(wilson(tuned_right, n)),
    }


def _balanced(pairs: Sequence[Pair], section: Mapping[str, Any]) -> dict[str, Any] | None:
    """The mean of the accuracies over turns that should call and turns that should not."""
    parts = [
        section[_PREFIX + n] for n in ("accuracy", "abstain_accuracy") if _PREFIX + n in section
    ]
    if not parts:
        return None
    base, tuned = (fmean(part[side] for part in parts) for side in ("base", "tuned"))
    right = [(bool(a["verdict"]["correct"]), bool(b["verdict"]["correct"])) for a, b in pairs]
    return {
        "base": base,
        "tuned": tuned,
        "difference": tuned - base,
        "ci95": _interval(
            [float(after) - float(before) for before, after in right],
            [_cluster(a) for a, _ in pairs],
            [a["kind"] for a, _ in pairs],
        ),
        "n": len(pairs),
    }


def _interval(
    differences: Sequence[float], clusters: Sequence[str], strata: Sequence[str] | None
) -> list[float]:
    if len(set(clusters)) < 2:
        return [-1.0, 1.0]  # one conversation says nothing about the next
    return list(cluster_bootstrap_ci(differences, clusters, strata=strata))


def _cluster(sample: Sample) -> str:
    return str(sample.get("group") or sample["example_id"])


def write_comparison(path: str | Path, comparison: Mapping[str, Any]) -> None:
    """Write comparison.json in one step: the file at `path` is whole at any moment.

    Raises `UserError` where the folder cannot be written to.
    """
    target = Path(path)
    text = json.dumps(comparison, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    staged = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            staged = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(staged, 0o644)
        os.replace(staged, target)
    except OSError as error:
        if staged is not None:
            Path(staged).unlink(missing_ok=True)
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error})",
            fix="choose an output folder that you may write to, with space left",
        ) from None


def render_table(comparison: Mapping[str, Any]) -> str:
    """The comparison as aligned plain text, one block a set of samples."""
    blocks = [_block("held-out samples", comparison, comparison)]
    for name, section in comparison.get("datasets", {}).items():
        blocks.append(_block(name, section, comparison))
    return "\n\n".join(blocks)


def _block(title: str, section: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    rows = [("metric", "base", "tuned", "difference", "95% interval")]
    for key, entry in section.items():
        if not key.startswith(_PREFIX):
            continue
        low, high = entry["ci95"]
        rows.append(
            (
                key.removeprefix(_PREFIX),
                f"{entry['base']:.3f}",
                f"{entry['tuned']:.3f}",
                f"{entry['difference']:+.3f}",
                f"[{low:+.3f}, {high:+.3f}]",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        f"{title}: {section['n_call_turns']} call turns, {section['n_samples']} turns, "
        f"{section['n_traces']} traces",
        f"base: {names['base_name']}   tuned: {names['tuned_name']}",
        *("  ".join(_aligned(row, widths)).rstrip() for row in rows),
    ]
    accuracy = section.get(f"{_PREFIX}accuracy")
    if accuracy is not None:
        lines.append(
            f"accuracy: {accuracy['tuned_only']} turns fixed, {accuracy['base_only']} broken "
            f"(McNemar exact p = {accuracy['mcnemar_p']:.2g})"
        )
    return "\n".join(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = row
    cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return [first.ljust(widths[0]), *cells]
