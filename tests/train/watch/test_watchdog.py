"""Dead and hung ranks: named, and the run ended within the limit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranks import _CONTEXT, free_port
from tooltune.train.parallel.world import World, join_world
from tooltune.train.watch.liveness import Report, verdict
from tooltune.train.watch.watchdog import Watchdog

LIMIT = 3.0
SLACK = 8.0  # seconds beyond the limit that a loaded machine may need

GOING = Report(step=5, doing="training", still=0.0, patient=False)
STILL = replace(GOING, still=11.0)


def heard(**silences: float) -> dict[int, float]:
    return {int(rank[1:]): seconds for rank, seconds in silences.items()}


# --- the verdict ------------------------------------------------------------------------------


def test_a_rank_that_is_not_heard_of_is_dead() -> None:
    found = verdict({0: STILL, 1: replace(STILL, step=4)}, heard(r0=0, r1=10.5), 10)
    assert found is not None
    assert "rank 1 gives no sign of life for 10 s" in found
    assert "step 4" in found
    assert "rank 0" not in found


def test_a_rank_that_never_spoke_is_named() -> None:
    found = verdict({0: GOING, 1: None}, heard(r0=0, r1=10.5), 10)
    assert found is not None
    assert "rank 1 never gave a sign of life" in found
    assert verdict({0: STILL, 1: None}, heard(r0=0, r1=9), 10) is None, "it may be starting"


def test_a_rank_whose_step_is_behind_hangs() -> None:
    found = verdict({0: STILL, 1: replace(STILL, step=4)}, heard(r0=0, r1=0), 10)
    assert found is not None
    assert found.startswith("rank 1 hangs while the others wait")


def test_in_the_same_step_the_one_that_waits_for_nobody_hangs() -> None:
    reports = {0: replace(STILL, meeting=True), 1: STILL, 2: replace(STILL, meeting=True)}
    found = verdict(reports, heard(r0=0, r1=0, r2=0), 10)
    assert found is not None
    assert found.startswith("rank 1 hangs")


def test_nobody_is_blamed_where_all_are_alike() -> None:
    found = verdict({0: STILL, 1: STILL}, heard(r0=0, r1=0), 10)
    assert found is not None
    assert "no rank is clearly behind" in found


def test_all_is_well_while_one_rank_goes_on_or_needs_unknown_time() -> None:
    for other in (GOING, replace(STILL, patient=True)):
        assert verdict({0: STILL, 1: other}, heard(r0=0, r1=0), 10) is None


REPORTS = st.builds(
    Report,
    step=st.integers(0, 3),
    doing=st.just("x"),
    still=st.floats(0, 30),
    patient=st.booleans(),
    meeting=st.booleans(),
)


@given(st.lists(st.tuples(REPORTS, st.floats(0, 30)), min_size=2, max_size=5))
def test_there_is_a_verdict_exactly_when_a_rank_is_unheard_or_nothing_goes_on(
    ranks: list[tuple[Report, float]],
) -> None:
    reports = dict(enumerate(report for report, _ in ranks))
    unheard = dict(enumerate(silence for _, silence in ranks))
    dead = any(silence > 10 for silence in unheard.values())
    goes_on = any(report.patient or report.still + silence <= 10 for report, silence in ranks)
    found = verdict(reports, unheard, 10)
    assert (found is not None) == (dead or not goes_on)


@given(REPORTS)
def test_a_report_survives_the_store(report: Report) -> None:
    assert Report.from_json(report.to_json(7).encode()) == report
    assert report.to_json(7) != report.to_json(8)


# --- two processes ----------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., list[BaseProcess]]]:
    """Start `job(world, watchdog, *arguments)` on two ranks, which watch each other."""
    started: list[BaseProcess] = []

    def start_two(job: Callable[..., None], *arguments: Any) -> list[BaseProcess]:
        port = free_port()
        for rank in range(2):
            target = (job, rank, port, tmp_path, arguments)
            process = _CONTEXT.Process(target=_watched, args=target)
            process.start()
            started.append(process)
        return started

    yield start_two
    for process in started:
        if process.is_alive():
            process.kill()
        process.join(10)


def _watched(
    job: Callable[..., None], rank: int, port: int, directory: Path, arguments: tuple[Any, ...]
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    errors = os.open(directory / f"stderr.{rank}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(errors, 2)
    with join_world(timeout_seconds=600) as world, Watchdog(world, LIMIT, directory) as watchdog:
        world.barrier()
        (directory / f"started.{rank}").touch()
        job(world, watchdog, *arguments)


def step_by_step(world: World, watchdog: Watchdog, sleeper: int | None) -> None:
    for step in range(10**6):
        watchdog.beat("training", step=step)
        if world.rank == sleeper and step == 5:
            sleep_for_ever()
        time.sleep(0.05)
        world.sum(1.0)


def sleep_for_ever() -> None:
    while True:
        time.sleep(1)


def seconds_until_the_end(process: BaseProcess) -> float:
    began = time.monotonic()
    process.join(LIMIT + SLACK + 30)
    assert process.exitcode is not None, "it still waits"
    return time.monotonic() - began


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("sleeper", [0, 1])
def test_a_rank_that_hangs_ends_the_run_and_is_named(
    start: Callable[..., list[BaseProcess]], tmp_path: Path, sleeper: int
) -> None:
    ranks = start(step_by_step, sleeper)
    wait_for(tmp_path / "started.0", tmp_path / "started.1")
    assert seconds_until_the_end(ranks[1 - sleeper]) < LIMIT + SLACK
    assert seconds_until_the_end(ranks[sleeper]) < SLACK
    assert [process.exitcode for process in ranks] == [1, 1]
    said = [(tmp_path / f"hang.rank_{rank}.txt") for rank in range(2)]
    texts = [path.read_text() for path in said if path.exists()]
    assert any(f": rank {sleeper} hangs while the others wait" in text for text in texts)
    assert any("sleep_for_ever" in text for text in texts)
    assert any("step 5" in text for text in texts)


def test_a_rank_that_is_stopped_ends_the_run_and_is_named(
    start: Callable[..., list[BaseProcess]], tmp_path: Path
) -> None:
    ranks = start(step_by_step, None)
    wait_for(tmp_path / "started.0", tmp_path / "started.1")
    time.sleep(1)
    assert ranks[1].pid is not None
    os.kill(ranks[1].pid, signal.SIGSTOP)
    assert seconds_until_the_end(ranks[0]) < LIMIT + SLACK
    assert ranks[0].exitcode == 1
    assert "rank 1 gives no sign of life" in (tmp_path / "hang.rank_0.txt").read_text()


def test_where_the_keeper_of_the_store_is_stopped_it_is_named(
    start: Callable[..., list[BaseProcess]], tmp_path: Path
) -> None:
    ranks = start(step_by_step, None)
    wait_for(tmp_path / "started.0", tmp_path / "started.1")
    time.sleep(1)
    assert ranks[0].pid is not None
    os.kill(ranks[0].pid, signal.SIGSTOP)
    assert seconds_until_the_end(ranks[1]) < LIMIT + SLACK
    assert ranks[1].exitcode == 1
    assert "rank 0 " in (tmp_path / "hang.rank_1.txt").read_text()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_ends_the_run_and_is_named(
    start: Callable[..., list[BaseProcess]], tmp_path: Path, victim: int
) -> None:
    ranks = start(step_by_step, None)
    wait_for(tmp_path / "started.0", tmp_path / "started.1")
    time.sleep(1)
    ranks[victim].kill()
    other = 1 - victim
    assert seconds_until_the_end(ranks[other]) < LIMIT + SLACK
    assert ranks[other].exitcode == 1
    hang = tmp_path / f"hang.rank_{other}.txt"
    said = (tmp_path / f"stderr.{other}").read_text() + (hang.read_text() if hang.exists() else "")
    assert f"rank {victim}" in said


def in_long_phases(world: World, watchdog: Watchdog) -> None:
    with watchdog.phase("compiling", limited=False):
        if world.rank == 0:
            time.sleep(2 * LIMIT)
        world.barrier()
    with watchdog.phase("evaluating"):
        if world.rank == 1:
            for _ in range(20):  # the other only waits, for longer than the limit
                time.sleep(LIMIT / 10)
                watchdog.beat()
        world.barrier()


def test_long_phases_that_go_on_are_left_alone(
    start: Callable[..., list[BaseProcess]], tmp_path: Path
) -> None:
    ranks = start(in_long_phases)
    for process in ranks:
        process.join(60)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert not list(tmp_path.glob("hang.*"))


def test_one_process_is_not_watched() -> None:
    with Watchdog(World.alone(), 0.01) as watchdog, watchdog.phase("training"):
        time.sleep(0.1)
        watchdog.beat(step=1)
