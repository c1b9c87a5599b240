"""A folder is written whole or not at all, and shares no file with the checkpoint."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tooltune.errors import UserError
from tooltune.export import folder as module
from tooltune.export.folder import check_out, check_room, copy_files, staged


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    with pytest.raises(UserError, match="not empty"):
        check_out(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        check_out(tmp_path / "old.txt")
    check_out(tmp_path / "new")


def test_a_checkpoint_cannot_be_exported_into_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="inside the checkpoint"):
        check_out(tmp_path / "model" / "out", not_inside=tmp_path)
    check_out(tmp_path.parent / f"{tmp_path.name}-beside", not_inside=tmp_path)


def test_an_empty_folder_is_filled_in_one_step(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with staged(out) as stage:
        (stage / "a").write_text("a")
        assert list(out.iterdir()) == []
    assert (out / "a").read_text() == "a"
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def fill_and_fail(out: Path, error: Exception) -> None:
    with staged(out) as stage:
        (stage / "half").write_bytes(b"x" * 100)
        raise error


def test_whatever_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        fill_and_fail(tmp_path / "out", RuntimeError("broken"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
    ids=["system", "safetensors"],
)
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(UserError, match="no space is left"):
        fill_and_fail(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs 1000000000\.0 GB"):
        check_room(tmp_path / "a" / "b", 10**18)
    check_room(tmp_path / "a" / "b", 1)


@pytest.mark.parametrize("clones", [True, False])
def test_writing_into_a_copy_leaves_the_original(
    tmp_path: Path, clones: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not clones:
        monkeypatch.setattr(module, "_cloned", lambda *_: False)
    source = tmp_path / "weights.bin"
    source.write_bytes(b"x" * 5000)
    target = tmp_path / "to"
    target.mkdir()
    copy_files([source], target)
    copy = target / source.name
    assert copy.read_bytes() == source.read_bytes()
    with copy.open("r+b") as file:  # in place, as safetensors writes
        file.write(b"yyyy")
    assert source.read_bytes() == b"x" * 5000
