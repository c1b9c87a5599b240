"""The log of a rank that is not rank 0: one process writes a run's files and speaks for all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tooltune.train.log import RunLog
from tooltune.train.parallel.world import World
from tooltune.train.progress import Progress
from tooltune.train.trackers.open import Trackers


class SilentLog(RunLog):
    """Takes what a `RunLog` takes and keeps nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.progress = None

    def close(self) -> None:
        pass

    def metrics(self, record: Mapping[str, Any]) -> None:
        pass

    def truncate_after(self, step: int, *, measured: bool = True) -> int:
        return 0

    def track(self, trackers: Trackers) -> None:
        pass

    def _write(self, level: str, text: str, *, show: bool = True) -> None:
        pass


def open_log(directory: Path, progress: Progress, world: World) -> RunLog:
    """The run's log, which rank 0 writes. A meeting of all ranks.

    Raises: UserError, on every rank, where another process holds the run in `directory`.
    """

    def open_own() -> RunLog:
        return RunLog(directory, progress=progress) if world.is_main else SilentLog(directory)

    return world.together(open_own, "opening the run's log")
