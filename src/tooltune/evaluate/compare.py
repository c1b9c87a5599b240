"""Evaluations of the same samples, side by side: paired differences and what they are worth."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.evaluate.comparison_section import PREFIX, Row, compare_pairs
from tooltune.evaluate.comparison_table import render_table
from tooltune.evaluate.evaluation_file import load_evaluation, replace_file
from tooltune.evaluate.paired_tests import holm
from tooltune.evaluate.pairing import Sample, Side, join
from tooltune.evaluate.sets import ALL_SETS, split_sets

__all__ = [
    "compare_evaluations",
    "compare_several",
    "load_evaluation",
    "render_table",
    "write_comparison",
]

_P_VALUES = ("sign_flip_p", "mcnemar_p")


def compare_evaluations(
    base_samples: Sequence[Sample],
    tuned_samples: Sequence[Sample],
    base_name: str,
    tuned_name: str,
    *,
    common: bool = False,
) -> dict[str, Any]:
    """Compare two evaluations sample by sample; returns the object of comparison.json.

    Its top level is about the main set (`main_set`: `held_out`, or `all` where nothing is held
    out), `datasets` holds the same for every other set.

    For each metric, `n` turns say something about it on both sides; `base`, `tuned`, `difference`
    (tuned minus base) and its `ci95`, and the interval of either side, `base_cluster_ci95` and
    `tuned_cluster_ci95`, all three drawn by conversation (a sample's `group`, else its trace); and
    `sign_flip_p`, the p-value of no difference by conversation.

    `accuracy`, `accuracy_normalised` and `abstain_accuracy` also have the ids of the turns
    `fixed` and `broken` and their numbers `tuned_only` and `base_only`, McNemar's exact
    `mcnemar_p` over single turns, Wilson's `base_ci95` and `tuned_ci95`, `design_effect`, and
    `detectable_difference`, the smallest that so many turns would show 4 times out of 5 (None if
    there is none; see `paired_tests.py`). `breakdown`: see `comparison_breakdown.py`.

    Samples of one side alone are an error, or, with `common`, left out and counted: `n_only_base`,
    `n_only_tuned`.

    Raises `UserError` where the two sides are not about the same samples with the same ground
    truth: a difference between different tests is no difference between models.
    """
    sides = [
        Side("the base evaluation", base_samples),
        Side("the tuned evaluation", tuned_samples),
    ]
    joined = join(sides, common=common)
    return _pair(joined.columns[0], joined.columns[1], base_name, tuned_name, joined.left_out)


def compare_several(
    evaluations: Sequence[tuple[str, Sequence[Sample]]], *, common: bool = False
) -> dict[str, Any]:
    """Compare each further evaluation, `(name, samples)`, with the first of three or more.

    `{"base_name", "names", "comparisons"}`: one object of `compare_evaluations` for each further
    evaluation, whose metrics also have `sign_flip_p_holm` (and `mcnemar_p_holm`), adjusted for so
    many comparisons of that metric. With `common`, what all of them hold is compared.

    Raises `UserError` like `compare_evaluations`.
    """
    sides = [Side(f"the evaluation {name}", samples) for name, samples in evaluations]
    joined = join(sides, common=common)
    names = [name for name, _ in evaluations]
    comparisons = [
        _pair(
            joined.columns[0],
            joined.columns[i],
            names[0],
            names[i],
            (joined.left_out[0], joined.left_out[i]),
        )
        for i in range(1, len(names))
    ]
    _adjust(comparisons)
    for dataset in comparisons[0]["datasets"]:
        _adjust([comparison["datasets"][dataset] for comparison in comparisons])
    return {"base_name": names[0], "names": names, "comparisons": comparisons}


def _pair(
    base: Sequence[Sample],
    tuned: Sequence[Sample],
    base_name: str,
    tuned_name: str,
    left_out: Sequence[int],
) -> dict[str, Any]:
    sets = split_sets(zip(base, tuned, strict=True), lambda pair: str(pair[0]["dataset"]))
    main = compare_pairs(sets.main)
    alone = len(sets.others) == 1 and sets.main_name == ALL_SETS  # then the two are the same
    return {
        **main,
        "main_set": sets.main_name,
        "n_only_base": left_out[0],
        "n_only_tuned": left_out[1],
        "base_name": base_name,
        "tuned_name": tuned_name,
        "datasets": {
            name: copy.deepcopy(main) if alone else compare_pairs(pairs)
            for name, pairs in sets.others.items()
        },
    }


def _adjust(sections: Sequence[Row]) -> None:
    """Add Holm's p-values over the same metric of all sections that have it."""
    for key in dict.fromkeys(key for section in sections for key in section):
        if not key.startswith(PREFIX):
            continue
        for name in _P_VALUES:
            entries = [section[key] for section in sections if name in section.get(key, {})]
            for entry, p in zip(entries, holm([entry[name] for entry in entries]), strict=True):
                entry[f"{name}_holm"] = p


def write_comparison(path: str | Path, comparison: Mapping[str, Any]) -> None:
    """Write comparison.json in one step: the file at `path` is whole at any moment.

    Raises `UserError` where the folder cannot be written to.
    """
    text = json.dumps(comparison, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
    write_text(Path(path), text)


def write_text(target: Path, text: str) -> None:
    """Write a file in one step; raises `UserError` where that cannot be done."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, text)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error})",
            fix="choose an output folder that you may write to, with space left",
        ) from None
