from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.errors import UserError
from tooltune.train import durable
from tooltune.train.checkpoint import (
    BEST_TOOL_CALL,
    LATEST,
    LOWEST_VAL,
    CheckpointStore,
    checkpoint_name,
    read_state,
    verify,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def fill(step: int, tag: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model/consolidated").mkdir(parents=True)
        (folder / "model/adapter").mkdir()
        (folder / "optim").mkdir()
        (folder / "model/consolidated/weights").write_bytes(bytes([step % 256]) * 300)
        (folder / "model/adapter/adapter").write_bytes(b"adapter" + tag.encode())
        (folder / "optim/moments").write_bytes(random.Random(step).randbytes(200))

    return write


def save(store: CheckpointStore, step: int, tag: str = "") -> Path:
    return store.save(checkpoint_name(0, step), fill(step, tag), {"step": step, "tag": tag})


def names(store: CheckpointStore) -> list[str]:
    return [path.name for path in store.all()]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", warn=warnings.append)


def test_a_saved_checkpoint_verifies_and_is_linked(store: CheckpointStore) -> None:
    path = save(store, 10)
    assert verify(path) == []
    assert read_state(path) == {"step": 10, "tag": ""}
    assert store.latest_complete() == path
    assert store.resolve(LATEST) == path
    assert os.readlink(store.root / LATEST) == "epoch_0_step_10", "the link must be relative"
    assert sorted(os.listdir(store.root)) == [LATEST, "epoch_0_step_10"]


def test_everything_is_on_disk_before_it_is_published(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = os.rename

    def sync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def publish(source: Path, target: Path) -> None:
        done.append("renamed")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", publish)
    save(store, 1)
    before, after = done[: done.index("renamed")], done[done.index("renamed") :]
    files = {"weights", "adapter", "moments", "state.json", "manifest.json"}
    assert files | {"consolidated", "model", "optim"} <= set(before)
    assert before[-1].startswith(".staging-")
    assert after == ["renamed", store.root.name, store.root.name], "the folder, then the link"


def test_the_newest_is_by_step_not_by_text_or_time(store: CheckpointStore) -> None:
    for step in (100, 9, 20):
        save(store, step)
    assert names(store) == ["epoch_0_step_9", "epoch_0_step_20", "epoch_0_step_100"]
    found = store.latest_complete()
    assert found is not None
    assert found.name == "epoch_0_step_100"


def test_an_empty_or_missing_folder_has_no_checkpoint(store: CheckpointStore) -> None:
    store.recover()
    assert store.latest_complete() is None
    assert store.resolve(LATEST) is None


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_single_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("run"))
    path = save(store, 1)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    victim = data.draw(st.sampled_from(files))
    content = bytearray(victim.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    victim.write_bytes(content)
    assert verify(path)


def flip(path: Path) -> None:
    content = bytearray((path / "optim/moments").read_bytes())
    content[100] ^= 4
    (path / "optim/moments").write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path / "model/consolidated/weights", 299)


def lose(path: Path) -> None:
    (path / "optim/moments").unlink()


def lose_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def garble_manifest(path: Path) -> None:
    (path / "manifest.json").write_bytes(b'{"format": 1, "files": {"a": 3}, "dropped": []}')


def add(path: Path) -> None:
    (path / "model/old.safetensors").write_bytes(b"from another save")


def link_out(path: Path) -> None:
    (path / "optim/moments").unlink()
    (path / "optim/moments").symlink_to("/etc/passwd")


DAMAGE = {
    flip: "optim/moments was altered",
    truncate: "model/consolidated/weights has 299 bytes, not 300",
    lose: "optim/moments is missing",
    lose_manifest: "manifest.json is missing",
    garble_manifest: "manifest.json cannot be read",
    add: "model/old.safetensors is not in the manifest",
    link_out: "optim/moments is not a regular file",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    store: CheckpointStore, warnings: list[str], damage: Callable[[Path], None]
) -> None:
    good, bad = save(store, 1), save(store, 2)
    damage(bad)
    assert DAMAGE[damage] in verify(bad)[0]
    assert store.latest_complete() == good
    assert len(warnings) == 1
    assert "epoch_0_step_2" in warnings[0]
    assert DAMAGE[damage] in warnings[0]


def test_saving_again_replaces_the_whole_directory(store: CheckpointStore) -> None:
    path = save(store, 5, "first")
    (path / "model/stale").write_bytes(b"must not survive")
    assert save(store, 5, "second") == path
    assert verify(path) == []
    assert read_state(path)["tag"] == "second"
    assert not (path / "model/stale").exists()
    assert sorted(os.listdir(store.root)) == [LATEST, path.name]


def test_saving_again_works_where_directories_cannot_be_exchanged(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "exchange", lambda *_: False)
    save(store, 5, "first")
    path = save(store, 5, "second")
    assert read_state(path)["tag"] == "second"
    assert sorted(os.listdir(store.root)) == [LATEST, path.name]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_a_users_error_and_leaves_earlier_checkpoints(
    store: CheckpointStore, error: Exception
) -> None:
    good = save(store, 1)

    def write(folder: Path) -> None:
        fill(2)(folder)
        raise error

    with pytest.raises(UserError, match=r"epoch_0_step_2.*no space is left[\s\S]*fix: make room"):
        store.save("epoch_0_step_2", write, {})
    assert sorted(os.listdir(store.root)) == [LATEST, good.name]
    assert store.latest_complete() == good


def test_an_error_while_writing_leaves_no_trace_and_is_passed_on(store: CheckpointStore) -> None:
    def write(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save("epoch_0_step_2", write, {})
    assert os.listdir(store.root) == []


def test_a_state_that_is_not_json_is_refused(store: CheckpointStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.save("epoch_0_step_1", fill(1), {"best": float("inf")})
    assert names(store) == []


@pytest.mark.parametrize("name", ["../escape", "final", "epoch_1_step_2/..", ""])
def test_only_names_of_checkpoints_are_saved(store: CheckpointStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a checkpoint name"):
        store.save(name, fill(1), {})


def test_a_link_to_an_incomplete_checkpoint_is_refused(store: CheckpointStore) -> None:
    save(store, 1)
    with pytest.raises(ValueError, match="must not point"):
        store.link(LOWEST_VAL, "epoch_0_step_2")
    lose(save(store, 3))
    with pytest.raises(ValueError, match="must not point"):
        store.link(LOWEST_VAL, "epoch_0_step_3")
    complete = [step for step in (1, 2, 3) if store.is_complete(checkpoint_name(0, step))]
    assert complete == [1]
    assert store.resolve(LOWEST_VAL) is None


def test_pruning_keeps_the_newest_and_everything_linked(store: CheckpointStore) -> None:
    for step in range(1, 7):
        save(store, step)
    store.link(BEST_TOOL_CALL, "epoch_0_step_1")
    store.link(LOWEST_VAL, "epoch_0_step_3")
    assert store.prune(2) == ["epoch_0_step_2", "epoch_0_step_4"]
    assert names(store) == [f"epoch_0_step_{step}" for step in (1, 3, 5, 6)]
    assert store.prune(2) == []


def test_pruning_never_counts_damaged_checkpoints(store: CheckpointStore) -> None:
    for step in (1, 2, 3):
        save(store, step)
    truncate(store.root / "epoch_0_step_2")
    truncate(store.root / "epoch_0_step_3")
    assert store.prune(1) == []
    assert store.latest_complete() == store.root / "epoch_0_step_1"


@settings(max_examples=15, deadline=None)
@given(
    keep=st.integers(1, 4),
    linked=st.sets(st.integers(1, 6)),
    count=st.integers(1, 6),
)
def test_pruning_deletes_exactly_what_is_old_and_not_linked(
    tmp_path_factory: pytest.TempPathFactory, keep: int, linked: set[int], count: int
) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("run"))
    for step in range(1, count + 1):
        save(store, step)
    linked = {step for step in linked if step <= count}
    for step in linked:
        store.link(f"MY_{step}", checkpoint_name(0, step))
    store.prune(keep)
    kept = {step for step in range(1, count + 1) if step > count - keep or step in linked}
    assert names(store) == [checkpoint_name(0, step) for step in sorted(kept)]


def test_a_dropped_folder_is_gone_and_the_checkpoint_still_verifies(store: CheckpointStore) -> None:
    path = save(store, 1)
    store.drop(path.name, "model/consolidated")
    assert not (path / "model/consolidated").exists()
    assert (path / "model/adapter").is_dir()
    assert verify(path) == []
    store.drop(path.name, "model/consolidated")
    flip(path)
    assert verify(path)


@pytest.mark.parametrize("part", ["..", "../other", "/tmp", "model/../..", ""])
def test_only_folders_of_the_checkpoint_can_be_dropped(store: CheckpointStore, part: str) -> None:
    path = save(store, 1)
    with pytest.raises(ValueError, match="not a folder"):
        store.drop(path.name, part)


def test_a_manifest_cannot_make_recovery_delete_folders_outside(
    store: CheckpointStore, tmp_path: Path
) -> None:
    path = save(store, 1)
    outside = tmp_path / "precious"
    outside.mkdir()
    for part in ("../../precious", str(outside)):
        manifest = json.loads((path / "manifest.json").read_text())
        durable.write_json(path / "manifest.json", {**manifest, "dropped": [part]})
        store.recover()
        assert outside.is_dir()


def test_recovery_repairs_links_loudly(store: CheckpointStore, warnings: list[str]) -> None:
    save(store, 1)
    save(store, 2)
    store.link(BEST_TOOL_CALL, "epoch_0_step_2")
    durable.remove_tree(store.root / "epoch_0_step_2", via=store.root)
    store.recover()
    assert store.resolve(LATEST) == store.root / "epoch_0_step_1"
    assert store.resolve(BEST_TOOL_CALL) is None
    assert not (store.root / BEST_TOOL_CALL).is_symlink()
    assert any(BEST_TOOL_CALL in warning for warning in warnings)


# --- a process that dies by SIGKILL before each of its file operations in turn


def save_next(store: CheckpointStore) -> None:
    save(store, 3)


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
    *(save_next, save_same, save_same_without_exchange),
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


def python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    code = (
        "import json, sys; from pathlib import Path\n"
        "from tests.train.test_checkpoint import try_all\n"
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
from tests.train.test_checkpoint import CheckpointStore, save
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
        time.sleep(moments.uniform(0.05, 0.25))
        process.send_signal(signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().split()]
        process.wait()
        assert_links_are_sound(store)
        store.recover()
        latest = store.latest_complete()
        assert latest is not None
        step = int(latest.name.split("_")[3])
        assert step >= max(said, default=before), "a finished save was lost"
        assert step >= before
        before = step
    assert before > 4
