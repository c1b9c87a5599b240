"""One tracker at work: a thread that feeds it, so that training never waits for a service."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tooltune.scrub import scrub_text
from tooltune.train.trackers.flatten import scalars
from tooltune.train.trackers.protocol import RunFacts, Started, Status, Tracker

_LONGEST_WAIT = 60.0
_LONGEST_ERROR = 300  # characters; a server may answer with a page


class Delivery:
    """Records go in by `put`, and to the tracker in their order, each once.

    For each kind of record the last step that was sent is noted in `NAME.json` beside the
    tracker's folder. A resumed run repeats steps, bit for bit, and those are not sent again. A
    record that is not taken is tried again with growing pauses while the others wait behind it;
    after `attempts` failures in a row (8: two minutes) this process sends nothing more.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        run: RunFacts,
        *,
        attempts: int = 8,
        first_wait: float = 1.0,
    ) -> None:
        self.name = name
        self._tracker = tracker
        self._attempts = attempts
        self._first_wait = first_wait
        self._file = run.directory.with_name(f"{name}.json")
        # A start that sent nothing left nothing to continue, and may have had another config.
        state, self._sent, self._records = _read(self._file)
        self._run = replace(run, state=state, records=self._records) if self._sent else run
        self._queue: SimpleQueue[Mapping[str, Any] | Status] = SimpleQueue()
        self._messages: deque[str] = deque()
        self._leaving = threading.Event()
        self._answered = threading.Event()
        self._told_of_disk = False
        self._started: Started | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)

    def start(self, seconds: float) -> Started:
        """Start the tracker. Raises what that raises, or TimeoutError."""
        self._thread.start()
        self._answered.wait(seconds)
        if self._failure is not None:
            raise self._failure
        if self._started is None:
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        return self._started

    def put(self, record: Mapping[str, Any]) -> None:
        """Send one line of `metrics.jsonl`, some time."""
        self._queue.put(record)

    def finish(self, status: Status) -> None:
        """Send what is still there, without waiting for second attempts, and end; see `join`."""
        self._leaving.set()
        self._queue.put(status)

    def join(self, seconds: float) -> bool:
        """Whether all is done within so many seconds."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def messages(self) -> list[str]:
        """What went wrong since the last call, a line each."""
        return [self._messages.popleft() for _ in range(len(self._messages))]

    # --- in the tracker's thread -------------------------------------------------------------

    def _work(self) -> None:
        try:
            started = self._tracker.start(self._run)
        except BaseException as error:  # a library that exits must not take the run along
            self._failure = error if isinstance(error, Exception) else RuntimeError(in_words(error))
            self._answered.set()
            return
        self._started = started
        if started.keeps_up_to < 0:
            self._sent, self._records = {}, 0
        self._sent = {k: int(min(step, started.keeps_up_to)) for k, step in self._sent.items()}
        self._save()
        self._answered.set()
        self._serve()

    def _serve(self) -> None:
        repeated = dict(self._sent)  # what this process says twice of a step, it means twice
        usable = True
        while not isinstance(record := self._queue.get(), str):
            kind, step = str(record.get("kind")), int(record["step"])
            if usable and step > repeated.get(kind, -1):
                usable = self._deliver(step, scalars(record))
                if usable:
                    self._sent[kind] = max(step, self._sent.get(kind, -1))
                    self._records += 1
                    self._save()
        status: Status = record
        if error := _error(lambda: self._tracker.finish(status)):
            self._say(f"could not end its run ({error})")

    def _deliver(self, step: int, values: Mapping[str, float]) -> bool:
        for failures in range(self._attempts):
            error = _error(lambda: self._tracker.metrics(step, values))
            if error is None:
                return True
            if failures == 0:
                self._say(f"did not take the metrics of step {step} ({error}); it is asked again")
            if self._leaving.wait(min(self._first_wait * 2**failures, _LONGEST_WAIT)):
                break
        self._say(
            f"is given up for this run at step {step} after {failures + 1} failures in a row "
            f"({error}); metrics.jsonl has everything, and a resumed run sends it on"
        )
        return False

    def _save(self) -> None:
        """Not flushed to the disk: a machine that dies may send a few records twice."""
        assert self._started is not None
        staged = self._file.with_name(f".{self._file.name}.part")
        noted = {"state": self._started.state, "sent": self._sent, "records": self._records}
        try:
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.write_text(json.dumps(noted) + "\n", encoding="utf-8")
            os.replace(staged, self._file)
        except OSError as error:
            if not self._told_of_disk:
                self._told_of_disk = True
                self._say(
                    f"sends on, but what it sent cannot be noted in {self._file} "
                    f"({error.strerror}): a resumed run may send it again"
                )

    def _say(self, text: str) -> None:
        self._messages.append(f"{self.name} {text}")


def _error(do: Callable[[], None]) -> str | None:
    try:
        do()
    except Exception as error:
        return in_words(error)
    return None


def in_words(error: BaseException) -> str:
    """An error of somebody else's library, without secrets and short enough for a line."""
    return scrub_text(f"{type(error).__name__}: {error}")[:_LONGEST_ERROR]


def _read(path: Path) -> tuple[dict[str, str], dict[str, int], int]:
    """State, last steps and count as `_save` wrote them; empty where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        state = {str(key): str(value) for key, value in found["state"].items()}
        sent = {str(kind): int(step) for kind, step in found["sent"].items()}
        return state, sent, int(found["records"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, {}, 0
