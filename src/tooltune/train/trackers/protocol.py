"""What a tracker is told, and what it has to answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["finished", "failed", "interrupted"]
"""How a run ended; an interrupted one is expected to be resumed."""

EVERYTHING = math.inf
NOTHING = -1.0


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as its trackers know it, free of secrets.

    directory: the tracker's own files go here; config: the resolved one, nested;
    resumed_from_step: the step of the checkpoint, None for a fresh start; state: what
    `Started.state` of an earlier start was, empty for a run that this tracker does not know;
    records: how many it has taken of that run.
    """

    directory: Path
    project: str
    name: str
    config: Mapping[str, Any]
    resumed_from_step: int | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    records: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """A tracker that is ready.

    where: for people, what to open or call; state: kept, and given to the next start of the run;
    keeps_up_to: the last step of earlier starts that the tracker shows: `EVERYTHING` that was
    ever sent, `NOTHING` (a new run over there), or a step.
    """

    where: str
    state: Mapping[str, str]
    keeps_up_to: float


class Tracker(Protocol):
    """One service. All three calls come from one thread of its own; each may take its time.

    What they raise never ends a run that trains: it is told in the log.
    """

    def start(self, run: RunFacts) -> Started:
        """Begin the run, or continue the one that `run.state` names."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send finite numbers of one step, by names such as `train/loss`: all of them, or raise."""

    def finish(self, status: Status) -> None:
        """Send what is still on its way, and end."""
