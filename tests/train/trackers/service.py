"""A tracker that remembers, may fail, and outlives the processes that feed it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tooltune.train.trackers.protocol import EVERYTHING, NOTHING, RunFacts, Started, Status


def _works(call: int) -> None:
    pass


@dataclass
class Service:
    """What was taken, in order; `before` is called with the number of the call, and may raise."""

    before: Callable[[int], None] = _works
    lost: bool = False  # what was sent earlier is not there any more
    taken: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    starts: list[RunFacts] = field(default_factory=list)
    endings: list[Status] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    calls: int = 0

    def start(self, run: RunFacts) -> Started:
        self.threads.add(threading.get_ident())
        self.starts.append(run)
        return Started(
            "in memory", {"id": "7"}, NOTHING if self.lost or not run.state else EVERYTHING
        )

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.threads.add(threading.get_ident())
        self.calls += 1
        self.before(self.calls)
        self.taken.append((step, dict(values)))

    def finish(self, status: Status) -> None:
        self.threads.add(threading.get_ident())
        self.endings.append(status)
