"""Which rows of a batch read a common prefix together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

from tooltune.evaluate.engines.order import shared_prefix
from tooltune.evaluate.engines.rows import Ints, KeyValues, Row

# The cost of one more group, and of a token in a row's own columns, in tokens of a shared prefix.
# Own columns are padded to the longest row's, and few queries meet each key.
_GROUP_COST = 48.0
_OWN_COST = 2.0


def cached(row: Row) -> KeyValues:
    """The row's place in the cache that its prompt and draft were read into."""
    assert row.cache is not None, "a row that goes on has its keys and values"
    return row.cache


def columns_of(row: Row) -> Ints:
    columns = cached(row).columns
    assert not isinstance(columns, slice), "rows of a forest lie in any columns"
    return columns


def common_prefix(a: Row, b: Row) -> int:
    """How many tokens two rows have in common in one cache."""
    if cached(a).layers is not cached(b).layers:
        return 0
    return shared_prefix(columns_of(a), columns_of(b))


def group_rows(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Cut rows, like ones beside each other, into groups: (number of rows, length of the prefix).

    The cheapest cut by the cost of what one forward reads; a row alone shares with nobody, and all
    of it counts as its group's prefix.
    """
    after = [common_prefix(a, b) for a, b in pairwise(rows)]
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]  # cost, start and prefix of the last group
    for end in range(1, len(rows) + 1):
        prefix, own = rows[end - 1].length, 0
        choice = (inf, 0, 0)
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                prefix = min(prefix, after[start])
            if prefix == 0:
                break
            own += rows[start].length
            cost = _GROUP_COST + prefix + _OWN_COST * (own - (end - start) * prefix)
            choice = min(choice, (best[start][0] + cost, start, prefix))
        best.append(choice)
    groups: list[tuple[int, int]] = []
    end = len(rows)
    while end:
        _, start, prefix = best[end]
        groups.append((end - start, prefix))
        end = start
    return groups[::-1]
