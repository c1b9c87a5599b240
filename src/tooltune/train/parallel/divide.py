"""Which rank trains on which traces of a step, so that all finish together.

Ranks wait for the slowest at each step. Traces that share a prefix are cheaper on one rank, where
it is computed once, than on two; traces that share nothing are best dealt out by size. Both ways
are tried, and the one whose slowest rank is faster is taken. A pure function of the traces: every
rank finds the same answer without asking. How a step is divided never changes its loss
(invariant 6).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tooltune.render.turns import RenderedTrace
from tooltune.train.batches import prefix_key


def divide(rows: Sequence[RenderedTrace], ranks: int) -> list[list[RenderedTrace]]:
    """One list of traces per rank, some of which may be empty; all together `rows`."""
    if ranks == 1:
        return [list(rows)]
    trained = [row for row in rows if row.trained_turns]
    trained.sort(key=lambda row: prefix_key(row.trained_turns[0]))
    tokens = [_tokens(row) for row in trained]
    shared = [_common_prefix(*pair) for pair in pairwise(trained)]
    runs = _in_runs(tokens, shared, ranks)
    dealt = _by_size(tokens, ranks)
    cost_of_runs = max((_cost(part, tokens, shared) for part in runs), default=0)
    cost_of_dealt = max((_cost(sorted(part), tokens, shared) for part in dealt), default=0)
    parts = runs if cost_of_runs <= cost_of_dealt else dealt
    return [[trained[i] for i in part] for part in parts]


def _tokens(row: RenderedTrace) -> int:
    return max(len(turn.prompt_ids) + len(turn.completion_ids) for turn in row.trained_turns)


def _common_prefix(one: RenderedTrace, other: RenderedTrace) -> int:
    a, b = (np.asarray(row.trained_turns[0].prompt_ids) for row in (one, other))
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def _cost(part: Sequence[int], tokens: Sequence[int], shared: Sequence[int]) -> int:
    """Distinct tokens of traces that are neighbours, and of those that are not, about."""
    together = sum(shared[i] for i, j in pairwise(part) if j == i + 1)
    return sum(tokens[i] for i in part) - together


def _in_runs(tokens: Sequence[int], shared: Sequence[int], ranks: int) -> list[list[int]]:
    """Neighbours stay together: the least limit that `ranks` runs can all keep."""
    low, high = max(tokens, default=0), sum(tokens)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(tokens, shared, middle)) <= ranks:
            high = middle
        else:
            low = middle + 1
    runs = _fill(tokens, shared, low)
    return runs + [[] for _ in range(ranks - len(runs))]


def _fill(tokens: Sequence[int], shared: Sequence[int], limit: int) -> list[list[int]]:
    runs: list[list[int]] = []
    used = 0
    for i, size in enumerate(tokens):
        more = size - (shared[i - 1] if i else 0)
        if runs and used + more <= limit:
            runs[-1].append(i)
            used += more
        else:
            runs.append([i])
            used = size
    return runs


def _by_size(tokens: Sequence[int], ranks: int) -> list[list[int]]:
    """The largest first, each to the rank that has least (Graham, 1969)."""
    loads = [(0, rank) for rank in range(ranks)]
    parts: list[list[int]] = [[] for _ in range(ranks)]
    for i in sorted(range(len(tokens)), key=lambda i: (-tokens[i], i)):
        load, rank = heapq.heappop(loads)
        parts[rank].append(i)
        heapq.heappush(loads, (load + tokens[i], rank))
    return parts
