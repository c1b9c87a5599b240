from __future__ import annotations

import errno
import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.checkpoints.disks import small_disk
from tests.train.checkpoints.sample import fill, names, save
from tooltune.errors import UserError
from tooltune.train import durable
from tooltune.train.checkpoints.store import (
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
    for _ in ("missing", "empty"):
        store.recover()
        assert store.latest_complete() is None
        assert store.settle() is None
        assert store.resolve(LATEST) is None
        store.root.mkdir(exist_ok=True)


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
    (path / "manifest.json").write_bytes(b'{"format": 2, "files": {"a": 3}, "dropped": []}')


def age_manifest(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))


def nest_manifest(path: Path) -> None:
    (path / "manifest.json").write_bytes(b"[" * 100_000)


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
    age_manifest: "manifest.json has format 1, not 2",
    nest_manifest: "manifest.json cannot be read",
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


def test_settling_leads_links_away_from_what_is_damaged(
    store: CheckpointStore, warnings: list[str]
) -> None:
    good, bad = save(store, 1), save(store, 2)
    store.link(BEST_TOOL_CALL, bad.name)
    store.link(LOWEST_VAL, good.name)
    flip(bad)
    assert store.settle() == good
    assert store.resolve(LATEST) == good
    assert store.resolve(LOWEST_VAL) == good
    assert store.resolve(BEST_TOOL_CALL) is None
    assert any(BEST_TOOL_CALL in warning for warning in warnings)
    assert not store.is_complete(bad.name)
    with pytest.raises(ValueError, match="must not point"):
        store.link(BEST_TOOL_CALL, bad.name)
    save(store, 2)
    assert store.is_complete(bad.name)
    assert store.settle() == bad


def test_settling_where_nothing_is_sound_starts_anew(
    store: CheckpointStore, warnings: list[str]
) -> None:
    flip(save(store, 1))
    assert store.settle() is None
    assert not (store.root / LATEST).is_symlink()
    assert "epoch_0_step_1 is damaged and NOT used" in warnings[0]


def test_retention_passes_over_partial_corrupt_and_linked_directories(
    store: CheckpointStore,
) -> None:
    """Whatever lies there, the newest sound ones and those linked stay, to the number asked for."""
    for step in range(1, 10):
        save(store, step)
    store.link(BEST_TOOL_CALL, "epoch_0_step_2")
    flip(store.root / "epoch_0_step_9")  # of its full size: only its hash tells
    truncate(store.root / "epoch_0_step_8")  # partial
    lose_manifest(store.root / "epoch_0_step_6")  # partial
    (store.root / "epoch_0_step_10").mkdir()  # empty
    (store.root / "epoch_0_step_11").symlink_to("epoch_0_step_1", target_is_directory=True)
    assert store.settle() == store.root / "epoch_0_step_7"
    deleted = store.prune(2)
    assert names(store) == [f"epoch_0_step_{step}" for step in (1, 2, 5, 6, 7, 8, 9, 10)]
    assert deleted == ["epoch_0_step_3", "epoch_0_step_4"]
    assert store.latest_complete() == store.root / "epoch_0_step_7"


def test_a_checkpoint_that_cannot_be_read_is_damaged(
    store: CheckpointStore, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = save(store, 1), save(store, 2)
    original = durable.sha256

    def sha256(path: Path) -> str:
        if path == bad / "optim/moments":
            raise OSError(errno.EIO, "Input/output error")
        return original(path)

    monkeypatch.setattr(durable, "sha256", sha256)
    assert store.latest_complete() == good
    assert "optim/moments cannot be read (Input/output error)" in warnings[0]


def test_a_folder_that_is_not_writable_is_a_users_error(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the system's answer is made up here."""
    good = save(store, 1)

    def mkdir(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(UserError, match=r"cannot save checkpoint epoch_0_step_2.*not writable"):
        save(store, 2)
    assert store.latest_complete() == good


def test_a_read_only_disk_is_a_users_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        store = CheckpointStore(disk / "checkpoints")
        good = save(store, 1)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(UserError, match=r"cannot save checkpoint epoch_0_step_2.*not writable"):
            save(store, 2)
        assert store.latest_complete() == good


def test_a_disk_that_fills_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        store = CheckpointStore(disk / "checkpoints")
        saves = iter(range(1, 40))
        with pytest.raises(UserError, match="no space is left on the disk"):
            all(store.save(checkpoint_name(0, step), big, {}) for step in saves)
        step = next(saves) - 1  # that which failed
        assert step > 2
        assert store.latest_complete() == store.root / checkpoint_name(0, step - 1)
        assert store.resolve(LATEST) == store.root / checkpoint_name(0, step - 1)
        assert not [name for name in os.listdir(store.root) if name.startswith(".")]
        store.prune(1)
        store.save(checkpoint_name(0, step), big, {})  # there is room again


def big(folder: Path) -> None:
    (folder / "weights").write_bytes(random.Random(0).randbytes(150_000))
