"""Which rows a mixture takes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.errors import UserError
from tooltune.traces.mix import Share, shares


def takes(totals: list[int], **options: list[float | None]) -> list[int | None]:
    nothing: list[float | None] = [None] * len(totals)
    counts, weights = options.get("counts", nothing), options.get("weights", nothing)
    found = shares(
        [None if count is None else int(count) for count in counts],
        weights,
        totals.__getitem__,
        [f"part {i}" for i in range(len(totals))],
        seed=0,
    )
    return [None if share is None else share.take for share in found]


@given(total=st.integers(0, 200), take=st.integers(0, 200), seed=st.text(max_size=5))
def test_exactly_so_many_rows_are_taken_and_the_same_ones_by_the_same_seed(
    total: int, take: int, seed: str
) -> None:
    take = min(take, total)
    chosen = list(Share(total, take, seed).chosen())
    assert len(chosen) == total
    assert sum(chosen) == take
    assert chosen == list(Share(total, take, seed).chosen())


def test_every_row_is_as_likely_to_be_taken() -> None:
    counts: Counter[int] = Counter()
    for seed in range(3000):
        counts.update(i for i, taken in enumerate(Share(10, 3, str(seed)).chosen()) if taken)
    assert set(counts) == set(range(10))
    assert all(780 < count < 1020 for count in counts.values())  # 900 +- 4.8 sigma


@given(
    totals=st.lists(st.integers(1, 1000), min_size=2, max_size=5),
    weights=st.lists(st.floats(0.01, 100), min_size=5, max_size=5),
)
def test_weights_are_proportions_and_the_scarcest_part_is_used_whole(
    totals: list[int], weights: list[float]
) -> None:
    used = weights[: len(totals)]
    found = [take or 0 for take in takes(totals, weights=list(used))]
    assert all(0 <= take <= total for take, total in zip(found, totals, strict=True))
    assert any(take == total for take, total in zip(found, totals, strict=True))
    unit = min(total / weight for total, weight in zip(totals, used, strict=True))
    for take, weight in zip(found, used, strict=True):
        assert abs(take - unit * weight) <= 0.5


def test_counts_weights_and_whole_parts_stand_side_by_side() -> None:
    found = takes([1000, 100, 50, 7], weights=[0.7, 0.3, None, None], counts=[None, None, 5, None])
    assert found == [233, 100, 5, None]


def test_too_few_rows_are_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(UserError, match="part 1: count asks for 6 rows, and 5 can be used"):
        takes([9, 5], counts=[3, 6])
    with pytest.raises(UserError, match="part 0 has a weight and no row"):
        takes([0, 5], weights=[1, 1])
