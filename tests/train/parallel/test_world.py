from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.ranks import results_of, run_ranks
from tooltune.errors import UserError
from tooltune.train.parallel.world import RankFailure, World


def _meetings(world: World) -> tuple[object, ...]:
    return (
        world.sum(1.0, float(world.rank)),
        world.max(float(world.rank), -1.0),
        world.gather({"rank": world.rank}),
        world.broadcast(f"from {world.rank}"),
        world.lead(lambda: f"led by {world.rank}", "leading"),
    )


def test_ranks_add_gather_and_hear_rank_0() -> None:
    first, second = results_of(_meetings, 2)
    assert first == (
        [2.0, 1.0],
        [1.0, -1.0],
        [{"rank": 0}, {"rank": 1}],
        "from 0",
        "led by 0",
    )
    assert second == ([2.0, 1.0], [1.0, -1.0], None, "from 0", "led by 0")


def test_a_single_process_meets_nobody() -> None:
    world = World.alone()
    assert _meetings(world) == ([1.0, 0.0], [0.0, -1.0], [{"rank": 0}], "from 0", "led by 0")
    world.barrier()
    world.agree(None, "doing nothing")


def _one_fails(world: World, kind: str) -> None:
    error: Exception | None = None
    if world.rank == 1:
        error = UserError("the disk is full", fix="make room") if kind == "user" else OSError("x")
    world.agree(error, "saving")


@pytest.mark.parametrize("kind", ["user", "other"])
def test_what_one_rank_meets_ends_all_of_them_and_names_it(kind: str) -> None:
    first, second = run_ranks(_one_fails, 2, kind)
    if kind == "user":
        assert isinstance(first, UserError)
        assert isinstance(second, UserError)
        assert "the disk is full (rank 1)" in str(first)
        assert first.fix == "make room"
    else:
        assert isinstance(first, RankFailure)
        assert isinstance(second, OSError)
        assert "rank 1 failed saving: OSError: x" in str(first)


def _lead_that_fails(world: World) -> None:
    def do() -> None:
        raise UserError("no such folder")

    world.lead(do, "opening")


def test_a_failure_of_the_leading_rank_is_everybodys() -> None:
    for result in run_ranks(_lead_that_fails, 2):
        assert isinstance(result, UserError)
        assert "no such folder" in str(result)


def _prepare(world: World, place: str) -> list[str]:
    """Rank 0 takes longer than a collective may, and leaves a file."""

    def do() -> list[str]:
        path = Path(place) / "prepared"
        seen = [entry.name for entry in Path(place).iterdir()]
        if world.is_main:
            time.sleep(3)
            path.write_text("")
        return seen

    return world.main_first(do)


def test_the_others_wait_for_rank_0_longer_than_any_time_limit(tmp_path: Path) -> None:
    first, second = run_ranks(_prepare, 2, str(tmp_path), limit=1)
    assert first == []
    assert second == ["prepared"]


def _prepare_badly(world: World, failing: int) -> None:
    def do() -> int:
        if world.rank == failing:
            raise UserError("this row is no row")
        return 1

    world.main_first(do)


@pytest.mark.parametrize("failing", [0, 1])
def test_preparing_fails_on_all_ranks_or_on_none(failing: int) -> None:
    for result in run_ranks(_prepare_badly, 2, failing):
        assert isinstance(result, UserError)
        assert "this row is no row" in str(result)
