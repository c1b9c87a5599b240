"""The folder of an export: filled out of sight, checked for room, then renamed into place."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tooltune.errors import UserError
from tooltune.train import durable

# ioctl of Linux (linux/fs.h): the copy shares the blocks of the original until either is written.
_FICLONE = 0x40049409
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_out(out: Path, *, not_inside: Path | None = None) -> None:
    """Raise UserError, before any work, where an export must not or cannot be written.

    It goes into no folder that holds anything, and not into the checkpoint it is taken from.
    """
    if out.is_file():
        raise UserError(f"--out {out} is a file", fix="choose another folder")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(
            f"--out {out} is not empty: old files beside a new model would load silently",
            fix="choose another folder, or empty that one",
        )
    if not_inside is not None and not_inside.resolve() in (out.resolve(), *out.resolve().parents):
        raise UserError(
            f"--out {out} lies inside the checkpoint that is exported, which would no longer "
            "match its manifest",
            fix="choose a folder elsewhere",
        )


def check_room(out: Path, size: int) -> None:
    """Raise UserError where the disk of `out` has less than `size` bytes free."""
    place = next(parent for parent in (out.resolve(), *out.resolve().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise UserError(
            f"the export needs {_gigabytes(size)}, and the disk of {out} has "
            f"{_gigabytes(free)} free",
            fix="make room there, or choose --out on another disk",
        )


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`, which becomes `out` once the block ends without error.

    Raises: UserError where the disk is full or not writable; nothing is left behind then.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise _cannot_write(out, error.strerror or str(error)) from error
    try:
        yield stage
        stage.chmod(0o755)
        durable.flush_tree(stage)
        os.rename(stage, out)  # replaces an empty folder, and no other
        durable.flush(out.parent)
    except BaseException as error:
        shutil.rmtree(stage, ignore_errors=True)
        if (problem := durable.disk_problem(error)) is not None:
            raise _cannot_write(out, problem) from error
        raise


def copy_files(files: Iterable[Path], to: Path) -> None:
    """Copy files into the folder `to`, sharing their blocks where the file system can.

    Never hard links: a program that saved into the export would write into the checkpoint.
    """
    for file in files:
        target = to / file.name
        if not _cloned(file, target):
            shutil.copyfile(file, target)


def size_of(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def plain_files(folder: Path) -> list[Path]:
    """The files of a folder, by name; folders in it are left out."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def _cloned(file: Path, target: Path) -> bool:
    try:
        import fcntl

        with file.open("rb") as source, target.open("wb") as copy:
            fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        return False
    return True


def _cannot_write(out: Path, problem: str) -> UserError:
    return UserError(
        f"--out {out} cannot be written: {problem}; nothing was left there",
        fix="make room or the right to write there, or choose another --out",
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
