"""The manifest of a checkpoint: every file with its size and SHA-256, and what was dropped since.

```
{"format": 2, "dropped": ["model/consolidated"], "files": {"state.json": {"size": …, "sha256": …}}}
```
Several ranks share the reading of the files; rank 0 alone judges, and tells the others.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tooltune.train import durable
from tooltune.train.checkpoints.meeting import ALONE, Meeting

MANIFEST = "manifest.json"
FORMAT = 2  # 1 kept the training state in one file per kind
_PART = re.compile(r"[\w-]+(/[\w-]+)*")  # no "..": a manifest must not name folders outside
_UNREADABLE = "cannot be read"


class Damaged(Exception):
    """A manifest that is missing or was altered; the text says which."""


def verify(path: Path, world: Meeting = ALONE) -> list[str]:
    """Compare a checkpoint with its manifest, byte for byte; an empty list means it is sound.

    Found are files missing, truncated or altered, and files that the manifest does not know.
    Every rank of `world` must call, and gets the same list.
    """
    problems, entries = _compare(path) if world.is_main else ([], {})
    sizes = {file: entry["size"] for file, entry in entries.items()}
    problems += _altered(entries, hash_files(path, world.broadcast(sizes), world))
    return world.broadcast(problems)


def _altered(entries: Mapping[str, Mapping[str, Any]], hashes: Mapping[str, str]) -> list[str]:
    return [
        f"{file} {digest}"
        if digest.startswith(_UNREADABLE)
        else f"{file} was altered (its SHA-256 differs)"
        for file, digest in hashes.items()
        if digest != entries[file]["sha256"]
    ]


def verify_part(path: Path, part: str) -> list[str]:
    """What `verify` finds of the files under `part`; nothing where no manifest can be read."""
    problems, entries = _compare(path)
    sizes = {file: entry["size"] for file, entry in entries.items() if _under(file, part)}
    problems = [text for text in problems if text.startswith(f"{part}/")]
    return problems + _altered(entries, hash_files(path, sizes))


def faults(path: Path) -> list[str]:
    """What `verify` finds without reading the files' contents."""
    return _compare(path)[0]


def hash_files(root: Path, sizes: Mapping[str, int], world: Meeting = ALONE) -> dict[str, str]:
    """On rank 0 the SHA-256 of each file, or why it cannot be read; nothing elsewhere.

    `sizes` (bytes by relative path), the same on every rank, decides who reads what.
    """
    mine = _shares(sizes, world.size)[world.rank]
    parts = world.gather({file: _digest(root / file) for file in mine}) or []
    return {file: digest for part in parts for file, digest in part.items()}


def _shares(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Files dealt out so that each of `count` readers has about as much to read: largest first,
    each to whoever has least."""
    shares: list[list[str]] = [[] for _ in range(count)]
    load = [0] * count
    for file in sorted(sizes, key=lambda file: (-sizes[file], file)):
        reader = load.index(min(load))
        shares[reader].append(file)
        load[reader] += sizes[file]
    return shares


def _digest(path: Path) -> str:
    try:
        return durable.sha256(path)
    except OSError as error:
        return f"{_UNREADABLE} ({error.strerror})"


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of every file under `folder`, by its relative path."""
    return {file: (folder / file).lstat().st_size for file in _files(folder)}


def describe(sizes: Mapping[str, int], hashes: Mapping[str, str]) -> dict[str, Any]:
    """The manifest of freshly written files. Raises: OSError for one that cannot be read back."""
    for file, digest in hashes.items():
        if digest.startswith(_UNREADABLE):
            raise OSError(f"{file}, just written, {digest}")
    files = {file: {"size": sizes[file], "sha256": hashes[file]} for file in sorted(sizes)}
    return {"format": FORMAT, "dropped": [], "files": files}


def without(path: Path, part: str) -> dict[str, Any]:
    """The manifest of the checkpoint at `path` after its folder `part` is dropped.

    Raises: Damaged.
    """
    manifest = _read(path)
    kept = {file: entry for file, entry in manifest["files"].items() if not _under(file, part)}
    return {**manifest, "dropped": sorted({*manifest["dropped"], part}), "files": kept}


def is_part(part: str) -> bool:
    """Whether `part` can name a folder of a checkpoint."""
    return bool(_PART.fullmatch(part))


def holds(path: Path, part: str) -> bool:
    """Whether `part` is a real folder of the checkpoint, reached through no link."""
    return (path / part).is_dir() and (path / part).resolve() == path.resolve() / part


def dropped_leftovers(path: Path) -> list[str]:
    """Folders that were being dropped when the process died."""
    try:
        return [part for part in _read(path)["dropped"] if holds(path, part)]
    except Damaged:
        return []


def _compare(path: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Problems seen without reading contents, and the entries of the files without any."""
    try:
        manifest = _read(path)
        there = {file: (path / file).lstat() for file in sorted(_files(path))}
    except Damaged as damage:
        return [str(damage)], {}
    except OSError as error:
        return [f"{error.filename} {_UNREADABLE} ({error.strerror})"], {}
    del there[MANIFEST]
    known: dict[str, Any] = manifest["files"]
    problems = [f"{file} is missing" for file in known if file not in there]
    unread: dict[str, dict[str, Any]] = {}
    for file, status in there.items():
        if file not in known:
            if not any(_under(file, part) for part in manifest["dropped"]):
                problems.append(f"{file} is not in the manifest")
        elif not stat.S_ISREG(status.st_mode):
            problems.append(f"{file} is not a regular file")
        elif status.st_size != known[file]["size"]:
            problems.append(f"{file} has {status.st_size} bytes, not {known[file]['size']}")
        else:
            unread[file] = known[file]
    return problems, unread


def _read(path: Path) -> dict[str, Any]:
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        known = manifest["format"] == FORMAT
        # Nothing vouches for the manifest itself: it must be as it was written, to the byte.
        whole = text == durable.json_text(manifest) and all(
            _PART.fullmatch(part) for part in manifest["dropped"]
        )
        whole &= all(set(entry) == {"size", "sha256"} for entry in manifest["files"].values())
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(f"{MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} cannot be read ({error})") from error
    if not known:
        raise Damaged(f"{MANIFEST} has format {manifest['format']!r}, not {FORMAT}")
    if not whole:
        raise Damaged(f"{MANIFEST} was altered")
    return manifest


def _files(root: Path) -> Iterator[str]:
    """Relative POSIX paths of everything under `root` that is not a directory."""
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*files, *links):
            yield Path(folder, name).relative_to(root).as_posix()


def _under(file: str, part: str) -> bool:
    return PurePosixPath(file).is_relative_to(part)
