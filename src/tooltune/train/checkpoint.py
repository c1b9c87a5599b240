"""The checkpoints of a run: complete or absent, verified by hash, never lost to a crash.

```
checkpoints/epoch_E_step_S/  model/…  optim/…  state.json  manifest.json (SHA-256 of all the rest)
checkpoints/{LATEST,LOWEST_VAL,BEST_TOOL_CALL}   relative symbolic links
```
A checkpoint is filled in a hidden sibling folder, flushed, renamed into place, and only then
linked. A process killed at any moment leaves hidden leftovers, which `recover` clears away.
Tensors are safetensors files and state is JSON: nothing here is ever unpickled.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tooltune.errors import UserError
from tooltune.train import durable

LATEST = "LATEST"
LOWEST_VAL = "LOWEST_VAL"
BEST_TOOL_CALL = "BEST_TOOL_CALL"

_NAME = re.compile(r"epoch_(\d+)_step_(\d+)")
_STAGING = ".staging-"
_REPLACED = ".replaced-"
_PART = re.compile(r"[\w-]+(/[\w-]+)*")  # no "..": a manifest must not name folders outside
_MANIFEST = "manifest.json"
_STATE = "state.json"
_FORMAT = 1


class _Damaged(Exception):
    """A manifest that is missing or was altered; the text says which."""


def checkpoint_name(epoch: int, step: int) -> str:
    """`epoch_E_step_S`, the directory's name; `step` counts finished optimizer steps."""
    return f"epoch_{epoch}_step_{step}"


def read_state(path: Path) -> dict[str, Any]:
    """The `state` that was given to `save` for the checkpoint at `path`."""
    state: dict[str, Any] = json.loads((path / _STATE).read_text(encoding="utf-8"))
    return state


@dataclass(frozen=True, slots=True)
class CheckpointStore:
    """`runs/NAME/checkpoints`. `warn` is told, loudly, of every damaged checkpoint passed over.

    One process writes at a time (`RunLog` locks the run); any number may read.
    """

    root: Path
    warn: Callable[[str], None] = logging.getLogger(__name__).warning

    def save(self, name: str, write: Callable[[Path], None], state: Mapping[str, Any]) -> Path:
        """Store a complete checkpoint called `name`, point `LATEST` at it, return its path.

        `write(folder)` fills an empty folder (`model/…`, `optim/…`). `state` is strict JSON.
        A checkpoint of that name is replaced as a whole, in one step. Whatever fails before the
        rename leaves earlier checkpoints and links as they were. A full or read-only disk
        raises `UserError`, anything else what `write` raised.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a checkpoint name: {name!r}")
        staging = self.root / durable.hidden_name(_STAGING, name)
        try:
            staging.mkdir(parents=True)
            write(staging)
            durable.write_json(staging / _STATE, dict(state))
            durable.write_json(staging / _MANIFEST, _describe(staging))
            durable.flush_tree(staging)
            self._publish(staging, self.root / name)
        except BaseException as error:
            shutil.rmtree(staging, ignore_errors=True)
            if (problem := _disk_problem(error)) is not None:
                raise UserError(
                    f"cannot save checkpoint {name} in {self.root}: {problem}; "
                    "earlier checkpoints are untouched",
                    fix="make room there (or a lower checkpoint.keep_last), then start the same "
                    "command again: it resumes from the last complete checkpoint",
                ) from error
            raise
        self.link(LATEST, name)
        return self.root / name

    def _publish(self, staging: Path, final: Path) -> None:
        """Rename the filled `staging` folder to `final`, replacing a checkpoint that is there."""
        if not final.exists():
            os.rename(staging, final)
        elif durable.exchange(staging, final):
            shutil.rmtree(staging)  # now the old one
        else:  # `recover` undoes the first rename if the second never came
            aside = self.root / f"{_REPLACED}{final.name}"
            if aside.exists():
                durable.remove_tree(aside, via=self.root)
            os.rename(final, aside)
            try:
                os.rename(staging, final)
            except OSError:
                os.rename(aside, final)
                raise
            durable.remove_tree(aside, via=self.root)
        durable.flush(self.root)

    def link(self, link: str, name: str) -> None:
        """Point the link (`LOWEST_VAL`, …) at checkpoint `name`, which must be complete."""
        if problems := _problems(self.root / name, hashes=False):
            raise ValueError(f"{link} must not point to {name} (see is_complete): {problems[0]}")
        durable.point_link(self.root / link, name)

    def resolve(self, link: str) -> Path | None:
        """The checkpoint that `link` points to, or `None` where there is none."""
        path = self.root / link
        return self.root / os.readlink(path) if path.is_symlink() and path.is_dir() else None

    def is_complete(self, name: str) -> bool:
        """Whether checkpoint `name` is there with every file at its full size (not hashed)."""
        return not _problems(self.root / name, hashes=False)

    def all(self) -> list[Path]:
        """Every checkpoint directory, complete or not, by step, oldest first."""
        if not self.root.is_dir():
            return []
        found = {
            (int(match[2]), int(match[1])): path
            for path in self.root.iterdir()
            if (match := _NAME.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()
        }
        return [found[key] for key in sorted(found)]

    def latest_complete(self) -> Path | None:
        """The newest checkpoint whose every file has its recorded hash, or `None`.

        Each damaged one passed over is reported through `warn` with its problems. It stays on
        disk, since it may hold the only copy of something, until a save of its name replaces it.
        """
        for path in reversed(self.all()):
            if not (problems := verify(path)):
                return path
            shown = "; ".join(problems[:3]) + ("; …" if len(problems) > 3 else "")
            self.warn(f"checkpoint {path} is damaged and NOT used, the one before is: {shown}")
        return None

    def prune(self, keep_last: int) -> list[str]:
        """Delete old checkpoints, keep the `keep_last` newest complete ones; return deleted names.

        Never deleted: one that any link points to, and a damaged one (which also does not
        count, so that damage to new checkpoints cannot cost the last good one).
        """
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1, not {keep_last}")
        linked = {os.readlink(path) for path in self.root.iterdir() if path.is_symlink()}
        complete = [path for path in self.all() if self.is_complete(path.name)]
        doomed = [path for path in complete[:-keep_last] if path.name not in linked]
        for path in doomed:
            durable.remove_tree(path, via=self.root)
        return [path.name for path in doomed]

    def drop(self, name: str, part: str) -> None:
        """Delete the folder `part` (as `model/consolidated`) of checkpoint `name`, if it is there.

        The manifest is rewritten first and records `part` as dropped: files still under a
        dropped folder are no problem, so the checkpoint verifies at every moment between.
        """
        path = self.root / name
        if not _PART.fullmatch(part):
            raise ValueError(f"not a folder of a checkpoint: {part!r}")
        if not _holds(path, part):
            return
        try:
            manifest = _read_manifest(path)
        except _Damaged as damage:
            self.warn(f"checkpoint {path} is damaged, its {part} was left alone: {damage}")
            return
        kept = {file: entry for file, entry in manifest["files"].items() if not _under(file, part)}
        dropped = sorted({*manifest["dropped"], part})
        manifest = {**manifest, "dropped": dropped, "files": kept}
        durable.write_json(path / _MANIFEST, manifest, staged_in=self.root)
        durable.remove_tree(path / part, via=self.root)

    def recover(self) -> None:
        """Finish or undo what a killed process left behind; to be called once, before a run.

        Afterwards no hidden leftovers exist, `LATEST` points to the newest complete checkpoint
        (by sizes; `latest_complete` also hashes), and links that lead nowhere are removed.
        """
        if not self.root.is_dir():
            return
        for path in sorted(self.root.iterdir()):
            if path.name.startswith(_REPLACED):
                self._undo_replacement(path)
            elif path.name.startswith((_STAGING, *durable.LEFTOVERS)):
                _remove(path)
        for path in self.all():
            for part in _dropped_leftovers(path):
                durable.remove_tree(path / part, via=self.root)
        self._repair_links()

    def _undo_replacement(self, aside: Path) -> None:
        final = self.root / aside.name.removeprefix(_REPLACED)
        if final.exists():
            durable.remove_tree(aside, via=self.root)
        else:
            os.rename(aside, final)

    def _repair_links(self) -> None:
        complete = [path for path in self.all() if self.is_complete(path.name)]
        for link in sorted(path for path in self.root.iterdir() if path.is_symlink()):
            if os.readlink(link) not in {path.name for path in complete}:
                self.warn(f"link {link} led to no complete checkpoint and was removed")
                link.unlink()
        if complete and self.resolve(LATEST) != complete[-1]:
            self.link(LATEST, complete[-1].name)


def verify(path: Path) -> list[str]:
    """Compare a checkpoint with its manifest, byte for byte; an empty list means it is sound.

    Found are files missing, truncated or altered, and files that the manifest does not know.
    """
    return _problems(path, hashes=True)


def _problems(path: Path, *, hashes: bool) -> list[str]:
    try:
        manifest = _read_manifest(path)
    except _Damaged as damage:
        return [str(damage)]
    known: dict[str, Any] = manifest["files"]
    found = {file: path / file for file in _files(path) if file != _MANIFEST}
    problems = [f"{file} is missing" for file in known if file not in found]
    for file, place in sorted(found.items()):
        if file not in known:
            if not any(_under(file, part) for part in manifest["dropped"]):
                problems.append(f"{file} is not in the manifest")
            continue
        status, entry = place.lstat(), known[file]
        if not stat.S_ISREG(status.st_mode):
            problems.append(f"{file} is not a regular file")
        elif status.st_size != entry["size"]:
            problems.append(f"{file} has {status.st_size} bytes, not {entry['size']}")
        elif hashes and durable.sha256(place) != entry["sha256"]:
            problems.append(f"{file} was altered (its SHA-256 differs)")
    return problems


def _describe(folder: Path) -> dict[str, Any]:
    """The manifest of a freshly written checkpoint."""
    files = {
        file: {"size": (folder / file).stat().st_size, "sha256": durable.sha256(folder / file)}
        for file in sorted(_files(folder))
    }
    return {"format": _FORMAT, "dropped": [], "files": files}


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / _MANIFEST).read_bytes())
        whole = (
            manifest["format"] == _FORMAT
            and all(_PART.fullmatch(part) for part in manifest["dropped"])
            and all(set(entry) == {"size", "sha256"} for entry in manifest["files"].values())
        )
    except (FileNotFoundError, NotADirectoryError):
        raise _Damaged(f"{_MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged(f"{_MANIFEST} cannot be read ({error})") from error
    if not whole:
        raise _Damaged(f"{_MANIFEST} was altered or has an unknown format")
    return manifest


def _files(root: Path) -> Iterator[str]:
    """Relative POSIX paths of everything under `root` that is not a directory."""
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*files, *links):
            yield Path(folder, name).relative_to(root).as_posix()


def _under(file: str, part: str) -> bool:
    return PurePosixPath(file).is_relative_to(part)


def _holds(path: Path, part: str) -> bool:
    """Whether `part` is a real folder of the checkpoint, reached through no link."""
    return (path / part).is_dir() and (path / part).resolve() == path.resolve() / part


def _dropped_leftovers(path: Path) -> list[str]:
    try:
        return [part for part in _read_manifest(path)["dropped"] if _holds(path, part)]
    except _Damaged:
        return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _disk_problem(error: BaseException | None) -> str | None:
    """What is wrong with the disk, if that is why a save failed.

    Looks through the causes: safetensors wraps the system's error and keeps only its text.
    """
    while error is not None:
        code = error.errno if isinstance(error, OSError) else None
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return "no space is left on the disk"
        if code in (errno.EROFS, errno.EACCES):
            return "it is not writable"
        error = error.__cause__ or error.__context__
    return None
