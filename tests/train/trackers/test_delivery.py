from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.trackers.service import Service
from tooltune.train.log import RunLog
from tooltune.train.trackers.delivery import Delivery
from tooltune.train.trackers.flatten import scalars
from tooltune.train.trackers.open import Trackers
from tooltune.train.trackers.protocol import RunFacts, Started

ATTEMPTS = 3


def delivery(
    directory: Path, service: Service, *, resumed: int | None = None, wait: float = 0.001
) -> Delivery:
    run = RunFacts(directory / "trackers" / "svc", "project", "run", {}, resumed)
    return Delivery("svc", service, run, attempts=ATTEMPTS, first_wait=wait)


def opened(
    directory: Path, service: Service, *, resumed: int | None = None, wait: float = 0.001
) -> Trackers:
    trackers = Trackers()
    trackers.add(delivery(directory, service, resumed=resumed, wait=wait))
    return trackers


def train(step: int) -> dict[str, Any]:
    return {"step": step, "kind": "train", "loss": 1 / (1 + step)}


def fail_on(*calls: int) -> Callable[[int], None]:
    def before(call: int) -> None:
        if call in calls:
            raise ConnectionError(f"no network at call {call}")

    return before


def always_fail(call: int) -> None:
    raise ConnectionError("no network")


def test_records_arrive_once_in_order_and_from_one_thread_of_their_own(tmp_path: Path) -> None:
    service = Service()
    trackers = opened(tmp_path, service)
    for step in range(5):
        trackers.metrics(train(step))
    trackers.finish("finished")
    assert [step for step, _ in service.taken] == [0, 1, 2, 3, 4]
    assert service.taken[1][1] == {"train/loss": 0.5}
    assert service.endings == ["finished"]
    assert len(service.threads) == 1
    assert service.threads != {threading.get_ident()}
    assert trackers.take_messages() == (["svc: in memory"], [])


def test_training_never_waits_for_a_tracker(tmp_path: Path) -> None:
    release = threading.Event()
    service = Service(before=lambda call: release.wait(30) and None)
    trackers = opened(tmp_path, service)
    started = time.monotonic()
    for step in range(100):
        trackers.metrics(train(step))
    assert time.monotonic() - started < 5
    assert service.taken == []
    release.set()
    trackers.finish("finished")
    assert len(service.taken) == 100


def test_a_record_that_is_not_taken_is_tried_again_before_the_next(tmp_path: Path) -> None:
    service = Service(before=fail_on(2, 3))
    trackers = opened(tmp_path, service)
    for step in range(4):
        trackers.metrics(train(step))
    wait_until(lambda: len(service.taken) == 4)
    trackers.finish("finished")
    assert [step for step, _ in service.taken] == [0, 1, 2, 3]
    _, warnings = trackers.take_messages()
    assert len(warnings) == 1
    assert "step 1 (ConnectionError: no network at call 2)" in warnings[0]


def test_after_some_failures_in_a_row_it_is_given_up_and_says_so_once(tmp_path: Path) -> None:
    service = Service(before=always_fail)
    trackers = opened(tmp_path, service)
    for step in range(50):
        trackers.metrics(train(step))
    wait_until(lambda: service.calls == ATTEMPTS)
    trackers.finish("finished")
    assert service.calls == ATTEMPTS
    assert service.endings == ["finished"]
    _, warnings = trackers.take_messages()
    assert len(warnings) == 2
    assert "given up for this run at step 0 after 3 failures" in warnings[1]


def test_failures_that_are_not_in_a_row_are_forgiven(tmp_path: Path) -> None:
    service = Service(before=lambda call: always_fail(call) if call % 2 else None)
    trackers = opened(tmp_path, service)
    for step in range(3 * ATTEMPTS):
        trackers.metrics(train(step))
    wait_until(lambda: len(service.taken) == 3 * ATTEMPTS)
    trackers.finish("finished")


def test_an_end_does_not_wait_for_second_attempts(tmp_path: Path) -> None:
    service = Service(before=always_fail)
    trackers = opened(tmp_path, service, wait=60)
    for step in range(3):
        trackers.metrics(train(step))
    started = time.monotonic()
    trackers.finish("interrupted")
    assert time.monotonic() - started < 10
    assert service.endings == ["interrupted"]
    assert "1 failures" in trackers.take_messages()[1][-1]


def test_a_tracker_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    release = threading.Event()
    service = Service(before=lambda call: release.wait(60) and None)
    trackers = opened(tmp_path, service)
    trackers.metrics(train(0))
    trackers.finish("finished", seconds=0.2)
    assert trackers.take_messages()[1] == ["svc was not done within 0 s"]
    release.set()


class Unwilling(Service):
    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error
        self.release = threading.Event()

    def start(self, run: RunFacts) -> Started:
        if self.error is not None:
            raise self.error
        self.release.wait(60)
        return super().start(run)


def test_what_a_start_raises_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="refused"):
        delivery(tmp_path, Unwilling(ConnectionError("refused"))).start(10)


def test_a_library_that_exits_does_not_take_the_run_along(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="SystemExit"):
        delivery(tmp_path, Unwilling(SystemExit(1))).start(10)


def test_a_start_that_hangs_is_an_error(tmp_path: Path) -> None:
    service = Unwilling(None)
    with pytest.raises(TimeoutError, match="no answer"):
        delivery(tmp_path, service).start(0.05)
    service.release.set()


def test_a_start_that_sent_nothing_is_not_continued(tmp_path: Path) -> None:
    service = Service()
    for _ in range(2):
        opened(tmp_path, service).finish("failed")
    trackers = opened(tmp_path, service)
    trackers.metrics(train(0))
    trackers.finish("failed")
    opened(tmp_path, service).finish("finished")
    assert [(run.state, run.records) for run in service.starts] == [
        ({}, 0),
        ({}, 0),
        ({}, 0),
        ({"id": "7"}, 1),
    ]


def test_a_run_that_is_new_over_there_is_sent_everything_and_counted_anew(tmp_path: Path) -> None:
    service = Service()
    for lost in (False, True, False):
        service.lost = lost
        trackers = opened(tmp_path, service, resumed=2)
        for step in range(3):
            trackers.metrics(train(step))
        trackers.finish("interrupted")
    assert [step for step, _ in service.taken] == [0, 1, 2, 0, 1, 2]
    assert [run.records for run in service.starts] == [0, 3, 3]


def test_a_damaged_note_of_what_was_sent_is_none(tmp_path: Path) -> None:
    path = tmp_path / "trackers/svc.json"
    path.parent.mkdir()
    for text in ("", "{", "[]", '{"state": 1, "sent": {}}', '{"sent": {"train": "x"}}', "\xff"):
        path.write_text(text)
        service = Service()
        opened(tmp_path, service).finish("finished")
        assert not service.starts[0].state


def test_what_cannot_be_noted_is_sent_and_told_once(tmp_path: Path) -> None:
    (tmp_path / "trackers").write_text("a file where the folder should be")
    service = Service()
    trackers = opened(tmp_path, service)
    for step in range(3):
        trackers.metrics(train(step))
    trackers.finish("finished")
    assert len(service.taken) == 3
    assert len(trackers.take_messages()[1]) == 1


def test_lines_without_a_step_are_nothing_for_a_tracker(tmp_path: Path) -> None:
    service = Service()
    trackers = opened(tmp_path, service)
    trackers.metrics({"kind": "note", "loss": 1.0})
    trackers.metrics({"kind": "note", "step": None})
    trackers.finish("finished")
    assert service.taken == []


def test_two_records_of_one_step_and_kind_in_one_process_are_both_meant(tmp_path: Path) -> None:
    service = Service()
    trackers = opened(tmp_path, service)
    trackers.metrics(train(1))
    trackers.metrics(train(1))
    trackers.finish("finished")
    assert len(service.taken) == 2


# --- crashes


def records_of_step(step: int) -> list[dict[str, Any]]:
    """A run that trains at every step, validates at every second and generates at every third."""
    records = [train(step)] if step else []
    if step % 2 == 0:
        records.append({"step": step, "kind": "val", "loss": float(step)})
    if step % 3 == 0:
        records.append({"step": step, "kind": "tool_call", "tool_call/accuracy": step / 100})
    return records


LIVES = st.lists(
    st.tuples(
        st.integers(0, 12),  # records that it writes before it dies
        st.sets(st.integers(1, 14), max_size=6),  # calls that fail
    ),
    max_size=6,
)


@settings(max_examples=60)
@given(lives=LIVES, every=st.integers(1, 5))
def test_through_crashes_and_failures_a_tracker_gets_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[int, set[int]]], every: int
) -> None:
    """A checkpoint at each `every` steps; a process that dies is resumed from the last one."""
    directory = tmp_path_factory.mktemp("run")
    service = Service()
    checkpoint, last = -1, 9
    for budget, failing in [*lives, (10**6, set())]:
        service.calls, service.before = 0, fail_on(*failing)
        resumed = None if checkpoint < 0 else checkpoint
        with RunLog(directory) as log:
            log.truncate_after(checkpoint)
            log.track(opened(directory, service, resumed=resumed, wait=0.0))
            for step in range(checkpoint + 1, last + 1):
                for record in records_of_step(step):
                    if budget > 0:
                        log.metrics(record)
                    budget -= 1
                if budget < 0:
                    break
                if step % every == 0 and step > 0:
                    checkpoint = step
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert lines == [record for step in range(last + 1) for record in records_of_step(step)]
    expected = [(line["step"], scalars(line)) for line in lines]
    for kind in ("train/", "val/", "tool_call/"):
        got = [(s, v) for s, v in service.taken if any(name.startswith(kind) for name in v)]
        assert got == [(s, v) for s, v in expected if any(name.startswith(kind) for name in v)]


def wait_until(done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.002)
