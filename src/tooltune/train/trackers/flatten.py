"""Metric lines and configs as the flat names that trackers take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = frozenset({"step", "kind", "epoch", "non_finite"})
_ODD = re.compile(r"[^\w\-. ]")
_LONGEST = 250  # MLflow's limit, and that of its characters above; names are paths without detours


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one line of `metrics.jsonl` by name: `train/loss`, `tool_call/accuracy`.

    Names inside mappings are joined by `/`. Text, lists, truth values and null are left out, and
    so are numbers that are not finite; `KIND/non_finite` then says how many those were, the ones
    included that the line itself could not hold.
    """
    kind = str(record.get("kind", "run"))
    bad = len(record.get("non_finite") or ())
    values: dict[str, float] = {}
    for path, value in _leaves(record):
        if path[0] in _PLAIN and path[0] != "epoch":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        name = "/".join(path)
        if name != "epoch" and not name.startswith(f"{kind}/"):
            name = f"{kind}/{name}"
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            values[_name(name)] = number
        else:
            bad += 1
    return {**values, f"{kind}/non_finite": float(bad)} if bad else values


def flat_config(config: Mapping[str, Any]) -> dict[str, str]:
    """A nested config as text by dotted name: `optimizer.lr: 0.0001`."""
    return {
        _name(".".join(path)): "null" if value is None else str(value)
        for path, value in _leaves(config)
    }


def _leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    for key, item in value.items():
        below = (*path, str(key))
        if isinstance(item, Mapping):
            yield from _leaves(item, below)
        else:
            yield below, item


def _name(text: str) -> str:
    parts = (_ODD.sub("_", part) for part in text.split("/"))
    return "/".join(part if part.strip(".") else "_" for part in parts)[:_LONGEST]
