"""A save that goes on beside the training."""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.train.checkpoints.sample import fill, names, python, save
from tooltune.errors import UserError
from tooltune.train.checkpoints.meeting import Meeting
from tooltune.train.checkpoints.store import (
    LATEST,
    LOWEST_VAL,
    CheckpointStore,
    checkpoint_name,
    verify,
)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


@dataclass
class Slow:
    """A part of a checkpoint that is written when it may be."""

    may: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def __call__(self, folder: Path, world: Meeting) -> None:
        assert self.may.wait(20)
        (folder / "later").write_bytes(b"later")
        if self.error is not None:
            raise self.error


def begin(store: CheckpointStore, step: int, later: Slow, **more: Any) -> Path:
    name = checkpoint_name(0, step)
    return store.save(name, fill(step), {"step": step}, later=later, blocking=False, **more)


def test_a_save_in_the_background_is_there_only_when_it_is_whole(store: CheckpointStore) -> None:
    good, slow = save(store, 1), Slow()
    path = begin(store, 2, slow, then=lambda: store.link(LOWEST_VAL, "epoch_0_step_2"))
    assert not path.exists()
    assert store.latest_complete() == good
    slow.may.set()
    store.wait()
    assert verify(path) == []
    assert (path / "later").read_bytes() == b"later"
    assert store.resolve(LATEST) == store.resolve(LOWEST_VAL) == path
    store.wait()  # nothing is under way


def test_a_save_waits_for_the_one_before_it(store: CheckpointStore) -> None:
    first, second = Slow(), Slow()
    second.may.set()
    path = begin(store, 1, first)
    threading.Timer(0.1, first.may.set).start()
    seen: list[bool] = []

    def write(folder: Path) -> None:
        seen.append(verify(path) == [])
        fill(2)(folder)

    store.save("epoch_0_step_2", write, {}, later=second, blocking=False)
    store.wait()
    assert seen == [True]
    assert names(store) == ["epoch_0_step_1", "epoch_0_step_2"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot save .*no space is left"),
        (RuntimeError("broken"), "broken"),
    ],
)
@pytest.mark.parametrize("surfaces", ["wait", "save"])
def test_a_failure_in_the_background_surfaces_once_at_the_next_save_or_wait(
    store: CheckpointStore, error: Exception, expected: str, surfaces: str
) -> None:
    good, slow = save(store, 1), Slow(error=error)
    begin(store, 2, slow)
    assert store.failure is None
    slow.may.set()
    surface = store.wait if surfaces == "wait" else lambda: save(store, 3)
    with pytest.raises((UserError, RuntimeError), match=expected):
        surface()
    assert sorted(os.listdir(store.root)) == [LATEST, good.name]
    assert store.failure is None
    store.wait()
    assert save(store, 3) == store.latest_complete()


def test_a_failure_in_the_background_can_be_seen_before_it_is_raised(
    store: CheckpointStore,
) -> None:
    slow = Slow(error=RuntimeError("broken"))
    begin(store, 1, slow)
    slow.may.set()
    deadline = time.monotonic() + 20
    while store.failure is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "broken" in str(store.failure)


def test_what_write_cannot_do_is_raised_at_once(store: CheckpointStore) -> None:
    def write(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="no space"):
        store.save("epoch_0_step_1", write, {}, later=Slow(), blocking=False)
    assert os.listdir(store.root) == []


def test_a_process_that_ends_finishes_its_save_first(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tests.train.checkpoints.sample import CheckpointStore, fill\n"
        "def later(folder, world): time.sleep(0.3); (folder / 'later').write_text('x')\n"
        "store = CheckpointStore(Path(sys.argv[1]))\n"
        "store.save('epoch_0_step_1', fill(1), {}, later=later, blocking=False)\n"
    )
    process = python(code, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / LATEST / "later").is_file()
    assert verify(tmp_path / "epoch_0_step_1") == []
