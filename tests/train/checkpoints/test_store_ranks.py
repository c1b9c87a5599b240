"""One checkpoint made by several ranks: all of them finish it, or all of them say why not."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import free_port, results_of, run_ranks
from tests.train.checkpoints.disks import small_disk
from tests.train.checkpoints.test_state_ranks import set_up, train
from tooltune.errors import UserError
from tooltune.train.checkpoints import manifest
from tooltune.train.checkpoints.meeting import Meeting
from tooltune.train.checkpoints.state import (
    save_training_tensors,
    training_tensors,
    write_training_tensors,
)
from tooltune.train.checkpoints.store import LATEST, CheckpointStore, read_state, verify
from tooltune.train.parallel.world import RankFailure, World

ONE, TWO = "epoch_0_step_1", "epoch_0_step_2"


def store_of(world: World, root: Path, said: list[str] | None = None) -> CheckpointStore:
    warn = (lambda text: None) if said is None else said.append
    return CheckpointStore(root, warn=warn, world=world)


def writing(world: World, size: int = 300) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / f"part_{world.rank}").write_bytes(random.Random(world.rank).randbytes(size))

    return write


def save(store: CheckpointStore, name: str, **more: Any) -> Path:
    world: Any = store.world
    return store.save(name, writing(world), {"rank": world.rank}, **more)


def two_saves(world: World, root: Path) -> tuple[str, list[str]]:
    store = store_of(world, root)
    save(store, ONE)
    linked: list[str] = []
    path = save(store, TWO, then=lambda: linked.append(os.readlink(root / LATEST)))
    return path.name, linked


def test_ranks_fill_one_checkpoint_and_rank_0_publishes_it(tmp_path: Path) -> None:
    results = results_of(two_saves, 2, tmp_path)
    assert results == [(TWO, [TWO]), (TWO, [])]
    assert verify(tmp_path / TWO) == []
    assert read_state(tmp_path / TWO) == {"rank": 0}
    assert sorted(p.name for p in (tmp_path / TWO).iterdir()) == [
        *("manifest.json", "part_0", "part_1", "state.json")
    ]
    assert sorted(os.listdir(tmp_path)) == [LATEST, ONE, TWO]


FAULTS: dict[str, Exception] = {
    "full": OSError(errno.ENOSPC, "No space left on device"),
    "read-only": OSError(errno.EROFS, "Read-only file system"),
    "broken": RuntimeError("of no kind that we know"),
}


def saves_that_fail(world: World, root: Path, at: str, rank: int) -> dict[str, Any]:
    """For each fault: a good save, then one in which `rank` fails, then a good one.

    What the one in the middle raised, and what it left.
    """
    found = {}
    for fault, problem in FAULTS.items():
        store = store_of(world, root / fault)
        save(store, ONE)

        def fail(folder: Path, _: Meeting | None = None, problem: Exception = problem) -> None:
            writing(world)(folder)
            if world.rank == rank:
                raise problem

        raised: BaseException | None = None
        try:
            if at == "write":
                store.save(TWO, fail, {})
            else:
                store.save(TWO, writing(world), {}, later=fail, blocking=at == "later")
            store.wait()
        except Exception as error:
            raised = error
        left = sorted(os.listdir(store.root)) if world.is_main else None
        found[fault] = raised, left
        save(store, "epoch_0_step_3")
    return found


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("at", ["write", "later", "background"])
def test_what_fails_on_one_rank_is_raised_on_all_and_leaves_no_trace(
    tmp_path: Path, at: str, rank: int
) -> None:
    results = results_of(saves_that_fail, 2, tmp_path, at, rank, timeout=60)
    for mine, found in enumerate(results):
        for fault, (error, left) in found.items():
            assert left == (None if mine else [LATEST, ONE])
            if fault == "broken":
                assert type(error) is (RuntimeError if mine == rank else RankFailure)
                assert "of no kind that we know" in str(error)
                continue
            assert isinstance(error, UserError)
            assert f"cannot save checkpoint {TWO}" in str(error)
            assert ("no space" if fault == "full" else "not writable") in str(error)
    for fault in FAULTS:
        assert verify(tmp_path / fault / ONE) == []
        assert verify(tmp_path / fault / "epoch_0_step_3") == []


def elsewhere(world: World, root: Path) -> None:
    """As with sharded weights, writing meets the other ranks."""
    store = store_of(world, root / f"machine_{world.rank}")
    store.save(ONE, lambda _: world.barrier(), {})


def test_ranks_without_a_shared_file_system_are_told(tmp_path: Path) -> None:
    first, second = run_ranks(elsewhere, 2, tmp_path)
    for error in (first, second):
        assert isinstance(error, UserError)
        assert "file system that all machines share" in str(error)


def latest(world: World, root: Path) -> tuple[str | None, list[str], str]:
    said: list[str] = []
    store = store_of(world, root, said)
    found = store.settle()
    again = store.latest_complete()
    assert found == again
    return None if found is None else found.name, said, os.readlink(root / LATEST)


def test_all_ranks_agree_on_the_last_good_checkpoint(tmp_path: Path) -> None:
    results_of(two_saves, 2, tmp_path)
    part = tmp_path / TWO / "part_1"
    content = bytearray(part.read_bytes())
    content[7] ^= 16
    part.write_bytes(content)
    (one, said, link), (other, silent, _) = results_of(latest, 2, tmp_path)
    assert one == other == ONE
    assert link == ONE
    assert "part_1 was altered" in said[0]
    assert silent == []


def reads(world: World, root: Path) -> list[str]:
    read: list[str] = []
    original = manifest.durable.sha256
    manifest.durable.sha256 = lambda path: read.append(path.name) or original(path)
    assert manifest.verify(root / TWO, world) == []
    return read


def test_ranks_share_the_reading(tmp_path: Path) -> None:
    results_of(two_saves, 3, tmp_path)
    read = results_of(reads, 2, tmp_path)
    assert sorted(file for files in read for file in files) == [
        *("part_0", "part_1", "part_2", "state.json")
    ]
    assert min(map(len, read)) >= 1


def in_background(world: World, root: Path) -> list[Any]:
    """Ranks go on meeting while a checkpoint is written; nothing is there before it is whole."""
    setup = set_up(world, "fsdp2", seed=1)
    train(setup, 1)
    store = store_of(world, root)
    state = training_tensors(setup[1], setup[2], copy=True)
    go = threading.Event()

    def later(folder: Path, apart: Meeting) -> None:
        go.wait()
        write_training_tensors(state, folder / "optim", apart)

    path = store.save(ONE, writing(world), {}, later=later, blocking=False)
    before = path.exists()
    for _ in range(3):
        train(setup, 1)
        world.barrier()
    go.set()
    for _ in range(3):
        train(setup, 1)
        world.barrier()
    store.wait()
    world.barrier()
    return [before, path.exists(), verify(path)]


def test_training_goes_on_beside_a_save(tmp_path: Path) -> None:
    assert results_of(in_background, 2, tmp_path) == [[False, True, []]] * 2


# --- disks that fill, processes that die -------------------------------------------------------


def fill_the_disk(world: World, root: Path, kind: str) -> list[Any]:
    """Real saves of a real training state until the disk is full."""
    setup = set_up(world, kind, seed=1)
    train(setup, 1)
    store = store_of(world, root)
    raised: BaseException | None = None
    ballast = torch.zeros(30_000)  # 120 kB a checkpoint

    def write(folder: Path) -> None:
        save_training_tensors(setup[1], setup[2], folder / "optim", world)
        if world.rank == world.size - 1:
            (folder / "ballast").write_bytes(ballast.numpy().tobytes())

    for step in range(1, 40):
        try:
            store.save(f"epoch_0_step_{step}", write, {"step": step})
        except UserError as error:
            raised = error
            break
    return [raised, step, verify(root / LATEST)]


@pytest.mark.parametrize("kind", ["fsdp2", "ddp"])
def test_a_disk_that_fills_leaves_the_checkpoint_before_and_no_rank_hanging(
    tmp_path: Path, kind: str
) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        results = results_of(fill_the_disk, 2, disk / "checkpoints", kind, timeout=60)
        for error, step, problems in results:
            assert isinstance(error, UserError), error
            assert "no space is left on the disk" in str(error)
            assert step == results[0][1] > 2
            assert problems == []
        assert not [name for name in os.listdir(disk / "checkpoints") if name.startswith(".")]
        assert os.readlink(disk / "checkpoints" / LATEST) == f"epoch_0_step_{results[0][1] - 1}"


SAVER = """
import sys
from pathlib import Path
import torch
from tests.train.checkpoints.test_store_ranks import forever
from tooltune.train.parallel.world import join_world
torch.set_num_threads(1)
with join_world(30) as world:
    forever(world, Path(sys.argv[1]))
"""


def forever(world: World, root: Path) -> None:
    setup = set_up(world, "fsdp2", seed=1)
    train(setup, 1)
    store = store_of(world, root)
    found = store.settle()
    step = 0 if found is None else read_state(found)["step"]
    print("ready", flush=True)
    while True:
        step += 1
        state = training_tensors(setup[1], setup[2], copy=True)

        def later(folder: Path, apart: Meeting, state: Any = state) -> None:
            write_training_tensors(state, folder / "optim", apart)

        store.save(
            f"epoch_0_step_{step}",
            writing(world, 20_000),
            {"step": step},
            later=later,
            then=lambda: store.prune(3) and None,
            blocking=step % 2 == 0,
        )
        if step % 2 == 0 and world.is_main:
            print(step, flush=True)


def saving_ranks(root: Path) -> list[subprocess.Popen[str]]:
    port = str(free_port())
    return [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )
        for rank in range(2)
    ]


@pytest.mark.slow
def test_two_ranks_killed_while_saving_go_on_from_their_last_checkpoint(tmp_path: Path) -> None:
    moments = random.Random(5)
    before = 0
    inside = 0
    for _ in range(4):
        ranks = saving_ranks(tmp_path)
        try:
            for process in ranks:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.2, 1.2))
            for process in moments.sample(ranks, 2):
                process.send_signal(signal.SIGKILL)
            assert ranks[0].stdout is not None
            said = [int(line) for line in ranks[0].stdout.read().split()]
        finally:
            for process in ranks:
                process.kill()
                process.wait()
        inside += any(name.startswith(".staging-") for name in os.listdir(tmp_path))
        store = CheckpointStore(tmp_path, warn=lambda _: None)
        store.recover()
        found = store.latest_complete()
        assert found is not None
        assert found == store.resolve(LATEST)
        assert all(verify(path) == [] for path in store.all())
        step = read_state(found)["step"]
        assert step >= max(said, default=before), "a finished save was lost"
        before = step
    assert inside > 0, "no kill hit a save: nothing was tested"
    assert before > 4
