"""A checkpoint on its way from an empty hidden folder to its name, made by all ranks together.

Where a step fails on any rank, every rank raises and the hidden folder is gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.train import durable
from tooltune.train.checkpoints import manifest
from tooltune.train.checkpoints.meeting import Meeting

STATE = "state.json"
_WRITING = "writing a checkpoint"


def fill(staging: Path, write: Callable[[Path], None], world: Meeting) -> None:
    """Make the folder `staging` and let every rank `write(staging)`.

    Raises: UserError for a full or read-only disk, or a folder that not all ranks see.
    """
    _lead(lambda: staging.mkdir(parents=True), staging, world)

    def see() -> None:
        if not staging.is_dir():
            raise UserError(
                f"{staging.parent}: rank {world.rank} does not see what rank 0 makes there",
                fix="put output_dir on a file system that all machines share",
            )

    _together(see, staging, world)  # by itself: `write` may meet other ranks
    _together(lambda: write(staging), staging, world)


def complete(
    staging: Path,
    later: Callable[[Path, Meeting], None] | None,
    state: Mapping[str, Any],
    publish: Callable[[], None],
    world: Meeting,
) -> None:
    """Write the rest into `staging` (`later`, the state, the manifest), flush it, `publish()`.

    Files are flushed by rank 0, those of the sharded training state also by whoever wrote them.

    Raises: UserError for a full or read-only disk.
    """
    if later is not None:
        _together(lambda: later(staging, world), staging, world)
    sizes: dict[str, int] = {}

    def write_state() -> None:
        durable.write_json(staging / STATE, state)
        sizes.update(manifest.sizes(staging))

    _lead(write_state, staging, world)
    hashes = manifest.hash_files(staging, world.broadcast(sizes), world)

    def seal() -> None:
        durable.write_json(staging / manifest.MANIFEST, manifest.describe(sizes, hashes))
        durable.flush_tree(staging)
        publish()

    _lead(seal, staging, world)


def _lead(do: Callable[[], None], staging: Path, world: Meeting) -> None:
    _together(do if world.is_main else _nothing, staging, world)


def _nothing() -> None: ...


def _together(do: Callable[[], None], staging: Path, world: Meeting) -> None:
    error: BaseException | None = None
    try:
        do()
    except Exception as problem:
        error = _explained(problem, staging)
    except BaseException:  # interrupted half-way: there is no meeting the others any more
        if world.is_main:
            shutil.rmtree(staging, ignore_errors=True)
        raise
    try:
        world.agree(error, _WRITING)
    except BaseException:
        if world.is_main:
            shutil.rmtree(staging, ignore_errors=True)
        raise


def _explained(error: BaseException, staging: Path) -> BaseException:
    problem = durable.disk_problem(error)
    if problem is None:
        return error
    name = staging.name.split("-")[1]  # .staging-NAME-HEX
    explained = UserError(
        f"cannot save checkpoint {name} in {staging.parent}: {problem}; "
        "earlier checkpoints are untouched",
        fix="make room there (or a lower checkpoint.keep_last), then start the same "
        "command again: it resumes from the last complete checkpoint",
    )
    explained.__cause__ = error
    return explained
