"""A process that dies by SIGKILL before each of its file operations in turn, or at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.checkpoints.sample import fill, python, save
from tooltune.train import durable
from tooltune.train.checkpoints.meeting import Meeting
from tooltune.train.checkpoints.store import (
    BEST_TOOL_CALL,
    LATEST,
    CheckpointStore,
    checkpoint_name,
    verify,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")


def save_next(store: CheckpointStore) -> None:
    save(store, 3)


def save_in_background(store: CheckpointStore) -> None:
    def later(folder: Path, world: Meeting) -> None:
        (folder / "later").write_bytes(b"later")

    store.save(checkpoint_name(0, 3), fill(3), {}, later=later, blocking=False)
    store.wait()


def save_same(store: CheckpointStore) -> None:
    save(store, 2, "again")


def save_same_without_exchange(store: CheckpointStore) -> None:
    durable.exchange = lambda *_: False  # type: ignore[assignment]
    save(store, 2, "again")


def move_best(store: CheckpointStore) -> None:
    store.link(BEST_TOOL_CALL, "epoch_0_step_2")


def prune(store: CheckpointStore) -> None:
    store.link(BEST_TOOL_CALL, "epoch_0_step_2")
    store.prune(1)


def drop(store: CheckpointStore) -> None:
    store.drop("epoch_0_step_2", "model/consolidated")


def recover(store: CheckpointStore) -> None:
    save(store, 3)
    (store.root / ".staging-epoch_0_step_9-x/model").mkdir(parents=True)
    (store.root / ".deleting-epoch_0_step_8-x").mkdir()
    (store.root / "epoch_0_step_3").rename(store.root / ".replaced-epoch_0_step_3")
    CheckpointStore(store.root, warn=lambda _: None).recover()


def run_and_die(operation: Callable[[CheckpointStore], None], root: Path, nth: int) -> bool:
    """Run in a forked child that kills itself before its nth file operation; True if it did."""
    child = os.fork()
    if child == 0:
        left = nth

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event.startswith(("os.", "open", "shutil.", "ctypes.")):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            operation(CheckpointStore(root))
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def assert_links_are_sound(store: CheckpointStore) -> None:
    for link in store.root.iterdir():
        if link.is_symlink():
            assert verify(store.root / os.readlink(link)) == [], link.name


OPERATIONS = (
    *(save_next, save_in_background, save_same, save_same_without_exchange),
    *(move_best, prune, drop, recover),
)


def kill_at_every_moment(operation: Callable[[CheckpointStore], None], folder: Path) -> None:
    nth, killed = 0, True
    while killed:
        nth += 1
        store = CheckpointStore(folder / str(nth), warn=lambda _: None)
        save(store, 1)
        save(store, 2)
        store.link(BEST_TOOL_CALL, "epoch_0_step_1")
        killed = run_and_die(operation, store.root, nth)
        if operation not in (save_same_without_exchange, recover):
            assert_links_are_sound(store)
        store.recover()
        assert_links_are_sound(store)
        assert {LATEST, BEST_TOOL_CALL} <= set(os.listdir(store.root))
        assert not [name for name in os.listdir(store.root) if name.startswith(".")]
        latest = store.latest_complete()
        assert latest is not None
        assert latest == store.resolve(LATEST)
        assert latest.name in ("epoch_0_step_2", "epoch_0_step_3")
        assert all(verify(path) == [] for path in store.all()), nth
    assert nth > 3, "the operation did nothing that could be interrupted"


def try_all(folder: Path) -> dict[str, str | None]:
    """What went wrong in each operation. Forking is quick only in a process without torch."""
    os.fsync = lambda _: None  # type: ignore[assignment]
    failures: dict[str, str | None] = {}
    for operation in OPERATIONS:
        try:
            kill_at_every_moment(operation, folder / operation.__name__)
        except Exception:
            failures[operation.__name__] = traceback.format_exc()
        else:
            failures[operation.__name__] = None
    return failures


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    code = (
        "import json, sys; from pathlib import Path\n"
        "from tests.train.checkpoints.test_kills import try_all\n"
        "print(json.dumps(try_all(Path(sys.argv[1]))))"
    )
    output, _ = python(code, tmp_path_factory.mktemp("kills")).communicate()
    found: dict[str, str | None] = json.loads(output)
    return found


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_a_kill_at_any_moment_leaves_complete_checkpoints_and_sound_links(
    failures: dict[str, str | None], operation: Callable[[CheckpointStore], None]
) -> None:
    failure = failures[operation.__name__]
    assert failure is None, failure


SAVER = """
import sys
from pathlib import Path
from tests.train.checkpoints.sample import CheckpointStore, save
store = CheckpointStore(Path(sys.argv[1]))
store.recover()
last = store.latest_complete()
step = int(last.name.split("_")[3]) if last else 0
print("ready", flush=True)
while True:
    step += 1
    save(store, step)
    store.link("BEST_TOOL_CALL", store.all()[len(store.all()) // 2].name)
    store.prune(3)
    print(step, flush=True)
"""


def test_a_saving_process_killed_at_seeded_moments_goes_on_from_its_last_checkpoint(
    tmp_path: Path,
) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    moments = random.Random(2)
    before = 0
    for _ in range(4):
        process = python(SAVER, store.root)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        said = [int(process.stdout.readline()) for _ in range(moments.randint(1, 4))]
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split()]
        process.wait()
        assert_links_are_sound(store)
        store.recover()
        latest = store.latest_complete()
        assert latest is not None
        step = int(latest.name.split("_")[3])
        assert step >= max(said), "a finished save was lost"
        assert step >= before
        before = step
    assert before > 4
