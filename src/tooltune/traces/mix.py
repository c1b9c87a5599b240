"""Mixing sources: how many rows of each, and which. Deterministic by seed, in O(1) memory.

A part with `count` gives that many of its rows. Parts with `weight` give rows in the proportion
of their weights, as many as there can be when no row is taken twice: the part that is scarcest for
its weight is used whole (0.7 of 1,000 rows and 0.3 of 100 rows: 233 and 100). A part with neither
is used whole. Only rows that can be read and pass `where` are counted and sampled.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tooltune.errors import UserError


@dataclass(frozen=True, slots=True)
class Share:
    """What one part gives: `take` of `total` rows, chosen at random but kept in order."""

    total: int
    take: int
    seed: str

    def chosen(self) -> Iterator[bool]:
        """For each of `total` rows whether it is taken; every choice of `take` is as likely.

        Selection sampling: Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S.
        """
        numbers = random.Random(self.seed)
        left = self.take
        for rest in range(self.total, 0, -1):
            taken = numbers.random() * rest < left
            left -= taken
            yield taken


def shares(
    counts: Sequence[int | None],
    weights: Sequence[float | None],
    totals: Callable[[int], int],
    names: Sequence[str],
    seed: int,
) -> list[Share | None]:
    """What each part gives, `None` where that is all of it.

    `totals(i)` counts the rows of part i that can be taken; it is called once for each part with a
    count or a weight. `names` are for errors. Raises `UserError` where a part has too few rows.
    """
    weighted = [i for i, weight in enumerate(weights) if weight is not None]
    known = {i: totals(i) for i, count in enumerate(counts) if count is not None or i in weighted}
    for i in weighted:
        if not known[i]:
            raise UserError(
                f"{names[i]} has a weight and no row that can be used",
                fix="check its rows and its `where`, or take it out of the mixture",
            )
    unit = min((known[i] / (weights[i] or 1.0) for i in weighted), default=0.0)
    found: list[Share | None] = []
    for i, (count, weight) in enumerate(zip(counts, weights, strict=True)):
        if i not in known:
            found.append(None)
            continue
        take = min(known[i], round(unit * weight)) if weight is not None else count or 0
        if take > known[i]:
            raise UserError(
                f"{names[i]}: count asks for {take} rows, and {known[i]} can be used",
                fix=f"count: {known[i]}, or leave it out to take all",
            )
        found.append(Share(known[i], take, f"{seed}:{i}"))
    return found
