"""Signals that ask a run to stop are remembered, agreed on, and handed back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ranks import results_of
from tooltune.exits import EXIT_INTERRUPTED, EXIT_PREEMPTED
from tooltune.train.parallel.world import World
from tooltune.train.watch.signals import Preempted, StopRequests, leave_together

SCHEDULERS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers_are_given_back() -> Iterator[None]:
    # A shell's background job, as these tests may be, ignores Ctrl-C.
    original = signal.signal(signal.SIGINT, signal.default_int_handler)
    watched = (*SCHEDULERS, signal.SIGINT)
    before = [signal.getsignal(number) for number in watched]
    yield
    assert [signal.getsignal(number) for number in watched] == before
    signal.signal(signal.SIGINT, original)


@pytest.mark.parametrize("number", [*SCHEDULERS, signal.SIGINT])
def test_a_deferred_request_is_only_remembered(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with StopRequests() as stop:
        stop.defer()
        assert stop.requested is None
        stop.raise_if_requested()
        signal.raise_signal(number)
        assert stop.requested == number.name
        assert stop.agreed(World.alone()) == number.name
        with pytest.raises(Preempted, match=number.name):
            stop.raise_if_requested()
    assert number.name in capfd.readouterr().err


@pytest.mark.parametrize("number", SCHEDULERS)
def test_before_there_is_anything_to_save_a_request_ends_the_run_at_once(
    number: signal.Signals,
) -> None:
    with pytest.raises(Preempted), StopRequests():
        signal.raise_signal(number)


def test_ctrl_c_before_there_is_anything_to_save_is_the_usual_one() -> None:
    with pytest.raises(KeyboardInterrupt), StopRequests():
        signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_does_not_wait_for_the_step() -> None:
    with StopRequests(tell=False) as stop:
        stop.defer()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_a_launcher_says_again_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    """torchrun ends the ranks that are left with SIGTERM, whatever was asked for before."""
    with StopRequests() as stop:
        stop.defer()
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.requested == "SIGUSR1"
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_an_ignored_signal_stays_ignored() -> None:
    """As nohup and a shell's background jobs have it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequests(tell=False) as stop:
            stop.defer()
            signal.raise_signal(signal.SIGINT)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_of_the_main_thread_nothing_is_handled() -> None:
    handlers: list[Any] = []

    def work() -> None:
        with StopRequests() as stop:
            handlers.extend((signal.getsignal(signal.SIGTERM), stop.requested))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before, None]


def test_a_scheduler_may_start_the_job_again_and_a_person_need_not() -> None:
    assert Preempted("SIGTERM").exit_code == Preempted("SIGUSR1").exit_code == EXIT_PREEMPTED
    assert Preempted("SIGINT").exit_code == EXIT_INTERRUPTED
    assert not isinstance(Preempted("SIGTERM"), Exception)


def ask_rank_1(world: World) -> tuple[str | None, str | None, str | None]:
    with StopRequests(tell=False) as stop:
        stop.defer()
        before = stop.agreed(world)
        if world.rank == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return before, stop.requested, stop.agreed(world)


def test_all_ranks_learn_of_a_signal_that_one_got() -> None:
    one, two = results_of(ask_rank_1, 2)
    assert one == (None, None, "SIGUSR1")
    assert two == (None, "SIGUSR1", "SIGUSR1")


def leave(world: World) -> str | None:
    leave_together(None, world)
    try:
        leave_together(Preempted("SIGINT") if world.rank == 1 else None, world)
    except Preempted as request:
        return request.signal_name
    return None


def test_ranks_leave_together_where_one_was_asked_to() -> None:
    assert results_of(leave, 2) == ["SIGINT", "SIGINT"]
