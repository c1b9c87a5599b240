"""Requests to stop: a signal is remembered, and the run leaves once it has saved.

Schedulers announce the end of a job with SIGTERM (Slurm, Kubernetes, spot machines) or with a
signal of one's choice (Slurm's `--signal=USR1@120`); people press Ctrl-C, or lose the connection.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from tooltune.exits import EXIT_INTERRUPTED, EXIT_PREEMPTED
from tooltune.train.parallel.world import World

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)


class Preempted(BaseException):
    """The run leaves because a signal asked it to; the same command resumes it.

    Not an `Exception`: code that forgives a bad sample must not forgive this.
    """

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name

    def __str__(self) -> str:
        return f"{self.signal_name}: the run left; the same command resumes it"

    @property
    def exit_code(self) -> int:
        """75 for a scheduler, which may start the job again; 130 for a person, who may not."""
        interrupted = self.signal_name == signal.SIGINT.name
        return EXIT_INTERRUPTED if interrupted else EXIT_PREEMPTED


def leave_together(request: Preempted | None, world: World) -> None:
    """Raise `Preempted` on every rank where any of them has a `request`. A meeting of all ranks.

    For work that ranks do apart, each of which may be asked to leave in the middle of its share.
    """
    own = 0 if request is None else signal.Signals[request.signal_name]
    if number := int(world.max(float(own))[0]):
        raise Preempted(signal.Signals(number).name)


class StopRequests:
    """A context in which SIGTERM, SIGUSR1, SIGHUP and SIGINT ask the run to stop.

    At first a request raises at once (`Preempted`, SIGINT: `KeyboardInterrupt`): before the first
    step nothing is lost by that. After `defer` it is only remembered, for the loop to ask about
    between two steps; SIGINT after another request then raises `KeyboardInterrupt` at once.

    Signals that were ignored when the context began (`nohup`, background jobs) stay ignored. The
    handlers that were there come back at its end. Outside of the main thread, where Python allows
    no handlers, nothing is ever requested.

    tell: print a line on stderr when a request is remembered.
    """

    def __init__(self, *, tell: bool = True) -> None:
        self._tell = tell
        self._requested: signal.Signals | None = None
        self._deferred = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                    self._before[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def defer(self) -> None:
        """From now on requests wait until they are asked for."""
        self._deferred = True

    @property
    def requested(self) -> str | None:
        """The name of the signal that asked this process to stop, if one did."""
        return None if self._requested is None else self._requested.name

    def agreed(self, world: World) -> str | None:
        """The same for all ranks: a signal that any of them got. A meeting of all ranks."""
        number = int(world.max(float(self._requested or 0))[0])
        return signal.Signals(number).name if number else None

    def raise_if_requested(self) -> None:
        """Between two pieces of work that a resumed run does again. Of this rank alone.

        Raises: Preempted where this process was asked to stop; see `leave_together`.
        """
        if self._requested is not None:
            raise Preempted(self._requested.name)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and not (self._deferred and self._requested is None):
            raise KeyboardInterrupt
        if not self._deferred:
            raise Preempted(signal.Signals(number).name)
        if self._requested is not None:  # schedulers and launchers may say it twice
            return
        if self._tell:
            again = " (again: at once)" if number == signal.SIGINT else ""
            text = f"{signal.Signals(number).name}: this run saves and ends after its step{again}\n"
            os.write(2, text.encode())  # print is not safe within a handler
        self._requested = signal.Signals(number)
