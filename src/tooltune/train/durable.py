"""File operations that a crash cannot leave half done: write, then flush, then rename.

A rename within one directory is atomic on POSIX file systems; what a rename publishes must have
reached the disk before it (see Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

DELETING = ".deleting-"
_LINK = ".link-"
_FILE = ".file-"
LEFTOVERS = (DELETING, _LINK, _FILE)


def hidden_name(prefix: str, name: str) -> str:
    """A file name that is unique, so that two crashes never meet in the same leftover."""
    return f"{prefix}{name}-{uuid.uuid4().hex[:8]}"


def flush(path: Path) -> None:
    """`fsync` a file or a directory. File systems that cannot sync a directory are let pass."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def flush_tree(root: Path) -> None:
    """`fsync` every file under `root`, then every directory, `root` last."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            flush(Path(folder, name))
        flush(Path(folder))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any, *, staged_in: Path | None = None) -> None:
    """Write strict JSON (no NaN), atomically replacing what was there.

    The temporary file lies in `staged_in` (same file system), by default beside `path`.
    """
    staged = (staged_in or path.parent) / hidden_name(_FILE, path.name)
    staged.write_text(json_text(value), encoding="utf-8")
    flush(staged)
    os.replace(staged, path)
    flush(path.parent)


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def point_link(link: Path, target: str) -> None:
    """Make the symbolic link `link` point at the sibling `target`, in one step."""
    staged = link.parent / hidden_name(_LINK, link.name)
    staged.symlink_to(target, target_is_directory=True)
    os.replace(staged, link)
    flush(link.parent)


def remove_tree(path: Path, *, via: Path) -> None:
    """Delete a directory so that a crash never leaves half of it under its own name.

    It is first renamed into the directory `via` (same file system) under a hidden name.
    """
    doomed = via / hidden_name(DELETING, path.name)
    os.rename(path, doomed)
    flush(via)
    flush(path.parent)
    shutil.rmtree(doomed)


def exchange(first: Path, second: Path) -> bool:
    """Swap two directory entries in one step; False where the system cannot.

    Linux `renameat2(2)` with `RENAME_EXCHANGE`. Without it a directory that is being replaced
    would be missing for a moment, and links to it would dangle if the process died just then.
    """
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    at_cwd, rename_exchange = -100, 2
    code = renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), rename_exchange)
    return bool(code == 0)


def disk_problem(error: BaseException | None) -> str | None:
    """What is wrong with the disk, if that is why a write failed.

    Looks through the causes: safetensors wraps the system's error and keeps only its text.
    """
    while error is not None:
        code = error.errno if isinstance(error, OSError) else None
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return "no space is left on the disk"
        if code in (errno.EROFS, errno.EACCES, errno.EPERM):
            return "it is not writable"
        error = error.__cause__ or error.__context__
    return None
