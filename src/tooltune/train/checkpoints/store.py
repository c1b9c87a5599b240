"""The checkpoints of a run: complete or absent, verified by hash, never lost to a crash.

```
checkpoints/epoch_E_step_S/  model/…  optim/…  state.json  manifest.json (SHA-256 of all the rest)
checkpoints/{LATEST,LOWEST_VAL,BEST_TOOL_CALL}   relative symbolic links
```
A checkpoint is filled in a hidden sibling folder by all ranks, flushed, renamed into place by
rank 0, and only then linked. A process killed at any moment leaves hidden leftovers, which
`recover` clears away.
Tensors are safetensors files and state is JSON: nothing here is ever unpickled.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tooltune.train import durable
from tooltune.train.checkpoints import manifest
from tooltune.train.checkpoints.background import Background
from tooltune.train.checkpoints.manifest import MANIFEST
from tooltune.train.checkpoints.manifest import verify as verify  # for the commands
from tooltune.train.checkpoints.meeting import ALONE, Meeting
from tooltune.train.checkpoints.saving import STATE, complete, fill

LATEST = "LATEST"
LOWEST_VAL = "LOWEST_VAL"
BEST_TOOL_CALL = "BEST_TOOL_CALL"

_NAME = re.compile(r"epoch_(\d+)_step_(\d+)")
_STAGING = ".staging-"
_REPLACED = ".replaced-"


def checkpoint_name(epoch: int, step: int) -> str:
    """`epoch_E_step_S`, the directory's name; `step` counts finished optimizer steps."""
    return f"epoch_{epoch}_step_{step}"


def read_state(path: Path) -> dict[str, Any]:
    """The `state` that was given to `save` for the checkpoint at `path`."""
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return state


@dataclass(frozen=True, slots=True)
class CheckpointStore:
    """`runs/NAME/checkpoints`. `warn` is told, loudly, of every damaged checkpoint passed over.

    One run writes at a time (`RunLog` locks it); any number of processes may read. `save`,
    `wait`, `settle` and `latest_complete` are meetings of all ranks of `world`: every rank must
    call them, and what fails on one is raised on all. Everything else is for rank 0 alone.
    """

    root: Path
    warn: Callable[[str], None] = logging.getLogger(__name__).warning
    world: Meeting = ALONE
    _background: Background = field(default_factory=Background, repr=False, compare=False)
    _damaged: set[str] = field(default_factory=set, repr=False, compare=False)

    def save(
        self,
        name: str,
        write: Callable[[Path], None],
        state: Mapping[str, Any],
        *,
        later: Callable[[Path, Meeting], None] | None = None,
        then: Callable[[], None] | None = None,
        blocking: bool = True,
    ) -> Path:
        """Store a complete checkpoint called `name`, point `LATEST` at it, return its path.

        `write(folder)` fills an empty folder (`model/…`, `optim/…`), which every rank is given
        and any may write to; `later(folder, world)` adds to it. `state` is strict JSON; rank 0's
        is kept. Once the checkpoint is linked, rank 0 calls `then()` (other links, `prune`).
        A checkpoint of that name is replaced as a whole, in one step. Whatever fails before the
        rename leaves earlier checkpoints and links as they were. A full or read-only disk
        raises `UserError`, anything else what was raised, on every rank.

        Without `blocking` this returns after `write`, and the rest is done by a thread beside the
        training: `later` must then write copies, and meet other ranks through the world that it
        is given. Until `wait` returns there may be no such checkpoint. A save waits for the one
        before it, and raises what that one raised.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a checkpoint name: {name!r}")
        self.wait()
        staging = self.root / self.world.broadcast(durable.hidden_name(_STAGING, name))
        fill(staging, write, self.world)
        kept = dict(state)

        def publish() -> None:
            self._publish(staging, name)
            if then is not None:
                then()

        def finish(world: Meeting) -> None:
            complete(staging, later, kept, publish, world)

        if blocking:
            finish(self.world)
        else:
            self._background.start(finish, self.world)
        return self.root / name

    def wait(self) -> None:
        """Wait until no save is under way. Raises what the last one raised, once."""
        self._background.wait()

    @property
    def failure(self) -> BaseException | None:
        """Why the save in the background has failed, if it has; for a look between two steps.

        Ranks may see it at different steps: agree before acting on it, then call `wait`.
        """
        return self._background.failure

    def _publish(self, staging: Path, name: str) -> None:
        """Rename the filled `staging` folder to checkpoint `name`, replacing one that is there."""
        final = self.root / name
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
        self._damaged.discard(name)
        self.link(LATEST, name)

    def link(self, link: str, name: str) -> None:
        """Point the link (`LOWEST_VAL`, …) at checkpoint `name`, which must be complete."""
        if not self.is_complete(name):
            raise ValueError(f"{link} must not point to {name}, which is not complete")
        durable.point_link(self.root / link, name)

    def resolve(self, link: str) -> Path | None:
        """The checkpoint that `link` points to, or `None` where there is none."""
        path = self.root / link
        return self.root / os.readlink(path) if path.is_symlink() and path.is_dir() else None

    def is_complete(self, name: str) -> bool:
        """Whether checkpoint `name` is there with every file at its full size (not hashed).

        Not one that `latest_complete` has found damaged.
        """
        return name not in self._damaged and not manifest.faults(self.root / name)

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
        The ranks share the reading.
        """
        names = [path.name for path in reversed(self.all())] if self.world.is_main else []
        for name in self.world.broadcast(names):
            path = self.root / name
            if not (problems := verify(path, self.world)):
                return path
            self._damaged.add(name)
            if self.world.is_main:
                shown = "; ".join(problems[:3]) + ("; …" if len(problems) > 3 else "")
                self.warn(f"checkpoint {path} is damaged and NOT used ({shown})")
        if names and self.world.is_main:
            self.warn("no checkpoint of this run is sound: it starts anew, from its first step")
        return None

    def settle(self) -> Path | None:
        """The start of a run: `recover`, then `latest_complete`, to which `LATEST` points then.

        Links to what was found damaged are removed, loudly.
        """
        self._lead(self.recover)
        found = self.latest_complete()
        if self._damaged:  # on every rank, as each was told
            self._lead(self._repair_links)
        return found

    def _lead(self, do: Callable[[], None]) -> None:
        error: BaseException | None = None
        try:
            if self.world.is_main:
                do()
        except BaseException as problem:
            error = problem
        self.world.agree(error, "tidying the checkpoints")

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
        if not manifest.is_part(part):
            raise ValueError(f"not a folder of a checkpoint: {part!r}")
        if not manifest.holds(path, part):
            return
        try:
            remaining = manifest.without(path, part)
        except manifest.Damaged as damage:
            self.warn(f"checkpoint {path} is damaged, its {part} was left alone: {damage}")
            return
        durable.write_json(path / MANIFEST, remaining, staged_in=self.root)
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
            for part in manifest.dropped_leftovers(path):
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
                if link.name != LATEST or not complete:
                    self.warn(f"link {link} led to no complete checkpoint and was removed")
                link.unlink()
        if complete and self.resolve(LATEST) != complete[-1]:
            self.link(LATEST, complete[-1].name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
