"""Hold out whole conversation groups, and refuse evaluation rows that were trained on (trap 15)."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from tooltune.errors import UserError
from tooltune.traces.identity import Keyed, Placed, key_of
from tooltune.traces.types import Trace

Item = TypeVar("Item", bound=Placed)


def split_traces(
    traces: Iterable[Item], fraction: float, seed: int = 0
) -> tuple[list[Item], list[Item]]:
    """Split traces, or keys of them, into (train, held out) by whole groups, in their order.

    Groups are taken in the order of the SHA-256 of seed and group, until `fraction` of the traces
    is held out; one that would leave the share further from it is passed over. The outcome does
    not depend on the order of the traces. Each side has at least one group.

    Raises `UserError` where `fraction` is not inside (0, 1) or there are fewer than two groups.
    """
    traces = list(traces)
    if not 0 < fraction < 1:
        raise UserError(
            f"the held-out fraction is {fraction}", fix="give a fraction between 0 and 1, as 0.1"
        )
    sizes = Counter(trace.group for trace in traces)
    if len(sizes) < 2:
        raise UserError(
            f"{len(traces)} traces of {len(sizes)} group cannot be split: copies, traces with the "
            "same user messages and calls, and those of one session stay together",
            fix="add traces, name the column that tells conversations apart (group_by), or name a "
            "validation data set of its own",
        )
    held = _held_groups(sizes, fraction * len(traces), seed)
    train = [trace for trace in traces if trace.group not in held]
    return train, [trace for trace in traces if trace.group in held]


def _held_groups(sizes: Counter[str], target: float, seed: int) -> set[str]:
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    held: set[str] = set()
    count = 0
    for group in order:
        nearer = abs(count + sizes[group] - target) < abs(count - target)
        if nearer and len(held) < len(order) - 1:
            held.add(group)
            count += sizes[group]
    return held or {min(order, key=lambda group: sizes[group])}


@dataclass(frozen=True, slots=True)
class Overlap:
    """A held-out trace and the first training trace that equals it.

    `kind` is "exact" (same messages and tools) or "normalised" (same `identity.fingerprint`).
    """

    train: Placed
    held_out: Placed
    kind: Literal["exact", "normalised"]

    def __str__(self) -> str:
        return f"{place_of(self.held_out)} = {place_of(self.train)} ({self.kind})"


def overlaps(train: Iterable[Trace | Keyed], held_out: Iterable[Trace | Keyed]) -> list[Overlap]:
    """The held-out traces that are training traces too, in held-out order, each once."""
    exact: dict[str, Placed] = {}
    normalised: dict[str, Placed] = {}
    for item in train:
        key = key_of(item)
        exact.setdefault(key.content_id, item)
        if key.fingerprint is not None:
            normalised.setdefault(key.fingerprint, item)
    found: list[Overlap] = []
    for item in held_out:
        key = key_of(item)
        if (same := exact.get(key.content_id)) is not None:
            found.append(Overlap(same, item, "exact"))
        elif (alike := normalised.get(key.fingerprint or "")) is not None:
            found.append(Overlap(alike, item, "normalised"))
    return found


def check_overlap(
    train: Iterable[Trace | Keyed], held_out: Iterable[Trace | Keyed], *, allow: bool = False
) -> list[Overlap]:
    """Raise `UserError` naming the first overlapping rows where the two sets share a trace.

    Returns the overlaps: none, unless they are allowed; then the run must record them.
    """
    held_out = list(held_out)
    found = overlaps(train, held_out)
    if allow or not found:
        return found
    rows = "\n".join(f"  {overlap}" for overlap in found[:5])
    more = f"\n  and {len(found) - 5} more" if len(found) > 5 else ""
    raise UserError(
        f"{len(found)} of {len(held_out)} held-out traces are training traces too, so scores on "
        f"them would measure memory (held out = trained on):\n{rows}{more}",
        fix="remove these rows from one of the two, or let one data set be split by group; "
        "dataset.allow_overlap: true evaluates on them all the same and lists them in split.json",
    )


def place_of(trace: Placed) -> str:
    """Where a trace was read, for people."""
    return str(trace.source) if trace.source is not None else f"trace {trace.id}"


def write_split(
    path: str | Path,
    train: Sequence[Placed],
    held_out: Sequence[Placed],
    *,
    allowed: Sequence[Overlap] = (),
) -> None:
    """Write `{"held_out": [trace ids], "n_train": ..., "n_held_out": ...}`, whole or not at all.

    `allowed` overlaps are written too: `{"allowed_overlaps": [{"train": id, "held_out": id,
    "kind": ...}]}`.
    """
    record: dict[str, object] = {
        "n_train": len(train),
        "n_held_out": len(held_out),
        "held_out": [trace.id for trace in held_out],
    }
    if allowed:
        record["allowed_overlaps"] = [
            {"train": one.train.id, "held_out": one.held_out.id, "kind": one.kind}
            for one in allowed
        ]
    path = Path(path)
    staged = path.with_name(path.name + ".part")
    staged.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(staged, path)


def read_split(path: str | Path) -> tuple[str, ...]:
    """The held-out trace ids that `write_split` wrote. Raises `UserError` for another file."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        return tuple(str(trace_id) for trace_id in record["held_out"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no split that can be read ({type(error).__name__}: {error})",
            fix="give the split.json of a run",
        ) from None


def apply_split(
    traces: Iterable[Item], held_out_ids: Iterable[str]
) -> tuple[list[Item], list[Item]]:
    """Split traces, or keys of them, into (train, held out) by the ids of an earlier split.

    Raises `UserError` where a held-out id is not among the traces: it is other data.
    """
    traces, held = list(traces), set(held_out_ids)
    missing = held - {trace.id for trace in traces}
    if missing:
        raise UserError(
            f"{len(missing)} held-out traces of the split are not in the data, first "
            f"{min(missing)}",
            fix="use the data that the split was made from, or make a new split",
        )
    train = [trace for trace in traces if trace.id not in held]
    return train, [trace for trace in traces if trace.id in held]
