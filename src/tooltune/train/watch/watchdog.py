"""A rank that is dead or hangs ends the run within a time limit, and is named.

Each rank tells the others, through the store of the process group, how far its main thread is.
One thread talks, another judges: the talk itself may hang when the process that keeps the store
is stopped. Nothing here waits for the main thread, which may be stuck in a collective.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch.distributed as dist

from tooltune.evaluate.synchronous import Torn
from tooltune.exits import EXIT_FAILED
from tooltune.train.parallel.world import World
from tooltune.train.watch.liveness import Report, standing, verdict

LOST = "no sign of life from"  # how the note begins that says why a collective broke
_PREFIX = "tooltune/watchdog"


class Watchdog:
    """A context in which a rank that is silent for `limit` seconds ends all ranks, with code 1.

    The main thread says that it goes on with `beat`, and with `phase` what it is doing. Stacks of
    all threads go to `directory/hang.rank_R.txt` where that folder is there, else to stderr. With
    one process nothing is watched.
    """

    def __init__(self, world: World, limit: float, directory: Path | None = None) -> None:
        self._world = world
        self._limit = limit
        self._directory = directory
        # Often enough to tell 'silent' from 'slow'; seldom enough for one store and many ranks.
        self._interval = max(0.1, min(limit / 10, 2.0), world.size / 50)
        self._step, self._doing, self._patient = 0, "starting", 0
        now = time.monotonic()
        self._since = self._answered = now
        self._reports: dict[int, Report | None] = dict.fromkeys(range(world.size))
        self._heard: dict[int, tuple[bytes, float]] = dict.fromkeys(range(world.size), (b"", now))
        self._closed = threading.Event()
        self._main = threading.get_ident()
        self._parent = os.getppid()

    def __enter__(self) -> Self:
        if self._world.size > 1:
            self._watch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The connection to a rank breaks when it dies; its silence tells which rank it was.
        broken = self._world.size > 1 and error is not None and _is_broken_connection(error)
        if broken and error is not None and (missing := self._missing()):
            error.add_note(f"{LOST} {missing}: dead, or gone first")
        self._closed.set()

    def beat(self, doing: str | None = None, *, step: int | None = None) -> None:
        """The main thread goes on. Costs nothing: call it wherever work comes in pieces."""
        self._since = time.monotonic()
        self._doing = doing or self._doing
        self._step = self._step if step is None else step

    @contextmanager
    def phase(self, doing: str, *, limited: bool = True) -> Iterator[None]:
        """What the main thread does within. `limited=False`: work in one piece, of any length."""
        before = self._doing
        self._patient += not limited
        self.beat(doing)
        try:
            yield
        finally:
            self._patient -= not limited
            self.beat(before)

    # --- the two threads ----------------------------------------------------------------------

    def _watch(self) -> None:
        from torch.distributed.distributed_c10d import (  # pinned by a test
            PrefixStore,
            _get_default_store,
        )

        # A store locks while it waits: the main thread may wait long in its own.
        default: Any = _get_default_store()
        store = PrefixStore(_PREFIX, default.clone())
        store.set_timeout(timedelta(seconds=max(1.0, self._limit / 2)))
        for work, arguments in ((self._talk, (store,)), (self._judge, ())):
            threading.Thread(target=work, args=arguments, daemon=True).start()

    def _talk(self, store: Any) -> None:
        number = 0
        while not self._closed.is_set():
            with suppress(Exception):  # counted: the store has not answered since `_answered`
                number += 1
                store.set(str(self._world.rank), self._own().to_json(number))
                self._listen(store)
                self._answered = time.monotonic()
            self._closed.wait(self._interval)

    def _listen(self, store: Any) -> None:
        ranks = list(self._heard)
        if not store.check([str(rank) for rank in ranks]):
            ranks = [rank for rank in ranks if store.check([str(rank)])]
        for rank, text in zip(ranks, store.multi_get([str(r) for r in ranks]), strict=True):
            if text != self._heard[rank][0]:
                self._reports[rank] = Report.from_json(text)
                self._heard[rank] = (text, time.monotonic())

    def _own(self) -> Report:
        still = time.monotonic() - self._since
        where, meeting = standing(self._main) if still > 2 * self._interval else ("", False)
        return Report(self._step, self._doing, still, self._patient > 0, where, meeting)

    def _judge(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(self._interval):
            now = time.monotonic()
            if now - last > 5 * self._interval + 1:  # this process was stopped, and goes on
                self._forgive(now)
            last = now
            if (reason := self._reason(now)) is not None and not self._closed.is_set():
                self._end(reason)

    def _forgive(self, now: float) -> None:
        self._since = self._answered = now
        self._heard = {rank: (text, now) for rank, (text, _) in self._heard.items()}

    def _reason(self, now: float) -> str | None:
        if os.getppid() != self._parent and "TORCHELASTIC_RUN_ID" in os.environ:
            return "the launcher that started this rank is dead"
        if (silence := now - self._answered) > self._limit:
            hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            return f"{'the launcher' if hosted else 'rank 0'} does not answer for {silence:.0f} s"
        unheard = {rank: now - at for rank, (_, at) in self._heard.items()}
        unheard[self._world.rank] = 0.0
        reports = self._reports | {self._world.rank: self._own()}
        return verdict(reports, unheard, self._limit)

    def _missing(self) -> str:
        """Ranks that say nothing while others would have said something several times."""
        time.sleep(4 * self._interval)
        now = time.monotonic()
        silent = [
            f"rank {rank} ({self._reports[rank] or 'never heard of'})"
            for rank, (_, at) in self._heard.items()
            if rank != self._world.rank and now - at > 3 * self._interval
        ]
        return ", ".join(silent)

    def _end(self, reason: str) -> None:
        text = f"rank {self._world.rank} ends the run after {self._limit:.0f} s: {reason}\n"
        os.write(2, text.encode())  # the main thread may hold the lock of sys.stderr
        with suppress(OSError):
            if self._directory is not None and self._directory.is_dir():
                path = self._directory / f"hang.rank_{self._world.rank}.txt"
                with path.open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    faulthandler.dump_traceback(file, all_threads=True)
            else:
                faulthandler.dump_traceback(2, all_threads=True)
        os._exit(EXIT_FAILED)


def _is_broken_connection(error: BaseException | None) -> bool:
    if isinstance(error, Torn):
        return _is_broken_connection(error.__cause__)
    # Of gloo's errors only the text tells; NCCL's are DistError.
    plain = type(error) is RuntimeError and ("gloo" in str(error) or "peer" in str(error))
    return plain or isinstance(error, dist.DistError)
