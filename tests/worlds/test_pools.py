"""Values belong to one side each, and every side has enough of them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.worlds import pools
from tooltune.worlds.pools import Draw, Side, clock, minutes_of, side_of

SIDES: tuple[Side, ...] = ("train", "held_out", "unseen_tools")
POOLS = ("FIRST_NAMES", "LAST_NAMES", "CITIES", "TOPICS", "ITEMS", "ROOMS", "DOORS", "STREETS")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", POOLS)
def test_every_side_has_its_part_of_every_pool(name: str, side: Side) -> None:
    pool = getattr(pools, name)
    assert len(set(pool)) == len(pool)
    assert len([value for value in pool if side_of(value) == side]) >= 3


@settings(max_examples=30, deadline=None)
@given(st.integers(), st.sampled_from(SIDES))
def test_what_is_drawn_is_of_the_drawing_side_and_is_recorded(seed: int, side: Side) -> None:
    draw = Draw(Random(seed), side)
    codes = [draw.date(), draw.time(), draw.city(), str(draw.amount()), draw.code("acc-###")]
    for value in codes:
        assert side_of(value) == side
        assert value in draw.drawn
    assert all(side_of(part) == side for part in draw.person().split())


def test_codes_follow_their_pattern() -> None:
    draw = Draw(Random(0), "train")
    assert {len(draw.code("ev-##")) for _ in range(50)} == {5}
    first, _, last = draw.code("acc-###").partition("-")
    assert first == "acc"
    assert last.isdigit()


@given(st.integers(0, 1439))
@settings(max_examples=30, deadline=None)
def test_minutes_and_clock_are_inverse(minutes: int) -> None:
    assert minutes_of(clock(minutes)) == minutes


@pytest.mark.parametrize("text", ["24:00", "9:30", "12:60", "noon", "12:00:00", ""])
def test_a_time_in_another_format_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        minutes_of(text)
