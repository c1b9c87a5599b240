"""Evaluations joined sample by sample: a difference between tests is none between models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.errors import UserError
from tooltune.evaluate.samples import HELD_OUT
from tooltune.toolcalls.json_text import json_equal

Sample = Mapping[str, Any]
Key = tuple[str, str, int]
"""A sample's set, its id, and which answer to it this is (0 where there is only one)."""


@dataclass(frozen=True, slots=True)
class Side:
    """An evaluation as one of those compared; `label` is how messages call it."""

    label: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Joined:
    """`columns[i][j]`: what side i holds of sample j. `left_out[i]`: samples of side i alone."""

    columns: tuple[list[Sample], ...]
    left_out: tuple[int, ...]


def join(sides: Sequence[Side], *, common: bool = False) -> Joined:
    """The samples that all of two or more sides hold, in the order of the first.

    Raises `UserError` where a side holds a sample twice, where samples have another ground truth
    than on the first side, where nothing is shared, and, unless `common` allows it, where the
    sides do not hold the same samples.
    """
    keyed = [_by_key(side) for side in sides]
    if not any(keyed):
        both = "both" if len(sides) == 2 else "all"
        raise UserError(f"{both} evaluations are empty", fix="run them again")
    shared = [key for key in keyed[0] if all(key in other for other in keyed[1:])]
    alone = [[key for key in side if not _in_all(key, keyed)] for side in keyed]
    if any(alone) and not (common and shared):
        raise _other_samples(sides, alone, len(shared))
    for side, samples in zip(sides[1:], keyed[1:], strict=True):
        changed = [key for key in shared if not _same_task(keyed[0][key], samples[key])]
        if changed:
            raise UserError(
                f"{len(changed)} samples have another ground truth in {side.label}: "
                f"{_listed(changed)}",
                fix="evaluate both models on the same version of the data",
            )
    return Joined(
        columns=tuple([side[key] for key in shared] for side in keyed),
        left_out=tuple(map(len, alone)),
    )


def sample_key(sample: Sample) -> Key:
    return sample["dataset"], sample["sample_id"], sample.get("repeat") or 0


def _by_key(side: Side) -> dict[Key, Sample]:
    keyed: dict[Key, Sample] = {}
    for sample in side.samples:
        key = sample_key(sample)
        if key in keyed:
            raise UserError(
                f"{side.label} holds sample {_listed([key])} twice",
                fix="run that evaluation again",
            )
        keyed[key] = sample
    return keyed


def _in_all(key: Key, keyed: Iterable[Mapping[Key, Sample]]) -> bool:
    return all(key in side for side in keyed)


def _other_samples(sides: Sequence[Side], alone: Sequence[Sequence[Key]], shared: int) -> UserError:
    where = "are only in" if len(sides) == 2 else "are not in every evaluation but are in"
    told = [
        f"{len(keys)} samples {where} {side.label}: {_listed(keys)}"
        for side, keys in zip(sides, alone, strict=True)
        if keys
    ]
    fix = "evaluate the models on the same data with the same limits"
    if shared:
        fix += f", or give --common to compare only the {shared} samples that all have"
    else:
        told.append("they have no sample in common")
    return UserError("; ".join(told), fix=fix)


def _same_task(a: Sample, b: Sample) -> bool:
    """Whether two samples ask for the same; the alternatives only where both sides name them."""
    if a["kind"] != b["kind"] or not json_equal(a["gt_tool_calls"], b["gt_tool_calls"]):
        return False
    full, other = a.get("ground_truth"), b.get("ground_truth")
    return full is None or other is None or json_equal(full, other)


def _listed(keys: Sequence[Key], limit: int = 5) -> str:
    return ", ".join(map(key_text, keys[:limit])) + (", …" if len(keys) > limit else "")


def key_text(key: Key) -> str:
    """`t1/3`; `unseen_tools:t1/3` of another set than the main one, `t1/3#2` of a third answer."""
    dataset, name, repeat = key
    text = name if dataset == HELD_OUT else f"{dataset}:{name}"
    return f"{text}#{repeat}" if repeat else text
