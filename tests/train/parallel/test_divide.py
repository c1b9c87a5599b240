from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tooltune.train.parallel.divide import divide


def row(prompt: list[int], completion: int = 3, targets: int = 3) -> Any:
    turn = SimpleNamespace(
        prompt_ids=np.array(prompt), completion_ids=np.zeros(completion), n_targets=targets
    )
    trained = (turn,) if targets else ()
    return SimpleNamespace(turns=(turn,), trained_turns=trained)


rows = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=30).map(row), max_size=12)


@given(rows, st.integers(1, 5))
def test_every_trace_goes_to_one_rank(given_rows: list[Any], ranks: int) -> None:
    parts = divide(given_rows, ranks)
    assert len(parts) == ranks
    assert sorted(id(r) for part in parts for r in part) == sorted(map(id, given_rows))


@given(rows, st.integers(2, 5))
def test_it_depends_on_the_traces_and_not_on_their_order(given_rows: list[Any], ranks: int) -> None:
    def sizes(some: list[Any]) -> list[list[int]]:
        return [sorted(len(r.turns[0].prompt_ids) for r in part) for part in divide(some, ranks)]

    assert sorted(sizes(given_rows)) == sorted(sizes(given_rows[::-1]))


@given(rows, st.integers(2, 5))
def test_no_rank_has_more_than_twice_a_fair_share(given_rows: list[Any], ranks: int) -> None:
    def tokens(some: list[Any]) -> int:
        return sum(len(r.turns[0].prompt_ids) + 3 for r in some)

    largest = max((tokens([r]) for r in given_rows), default=0)
    for part in divide(given_rows, ranks):
        assert tokens(part) <= tokens(given_rows) / ranks + largest or _shares(part)


def _shares(part: list[Any]) -> bool:
    """Whether some traces of a part begin alike: then it is cheaper than its tokens."""
    firsts = [tuple(r.turns[0].prompt_ids[:1]) for r in part]
    return len(set(firsts)) < len(firsts)


def test_traces_that_share_a_long_prefix_stay_together() -> None:
    one, other = [1] * 500, [2] * 500
    parts = divide([row([*one, 3]), row([*other, 3]), row([*one, 4]), row([*other, 4])], 2)
    assert [{int(r.turns[0].prompt_ids[0]) for r in part} for part in parts] == [{1}, {2}]


def test_traces_that_share_nothing_are_dealt_out_by_size() -> None:
    sizes = [100, 90, 60, 50]
    parts = divide([row([i] * size) for i, size in enumerate(sizes)], 2)
    assert sorted(sum(len(r.turns[0].prompt_ids) for r in part) for part in parts) == [150, 150]


def test_a_trace_without_targets_costs_nobody_anything() -> None:
    parts = divide([row([1, 2]), row([3] * 50, targets=0)], 2)
    assert sum(map(len, parts)) == 1
