"""Folders that appear whole or not at all, whoever else writes them and whenever we die."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tooltune.errors import UserError
from tooltune.train import durable

_STAGING = ".staging-"


@contextmanager
def staged_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder under `parent`, gone afterwards unless it was published.

    It is locked while its process lives; those of processes that died are cleared away first.

    Raises: UserError where it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _clear(parent)
        folder, lock = _locked_folder(parent)
    except OSError as error:
        raise UserError(
            f"cannot write the cache of prepared data {parent}: {error.strerror}",
            fix="set TOOLTUNE_CACHE to a directory that you can write to",
        ) from error
    try:
        yield folder
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space is left for prepared data in {parent}",
            fix="make room there, or set TOOLTUNE_CACHE to a directory on another disk",
        ) from error
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():  # else another process cleared it before it was locked
            return folder, lock
        os.close(lock)


def publish(staged: Path, final: Path) -> None:
    """Give a filled folder its name. What is there already is replaced, in one step.

    Another process that published the same a moment earlier loses nothing: its readers have
    mapped files that stay until they let go, and the content is the same.
    """
    durable.flush_tree(staged)
    if not final.exists():
        with suppress(OSError):
            os.rename(staged, final)
            durable.flush(final.parent)
            return
    if durable.exchange(staged, final):
        shutil.rmtree(staged, ignore_errors=True)
    else:
        durable.remove_tree(final, via=final.parent)
        os.rename(staged, final)
    durable.flush(final.parent)


def _clear(parent: Path) -> None:
    """Remove what killed processes left: staged folders that nobody has locked."""
    for path in parent.iterdir():
        if not path.name.startswith((_STAGING, durable.DELETING)):
            continue
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # at work
        finally:
            os.close(lock)
