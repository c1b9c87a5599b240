"""The two histories of a run: `metrics.jsonl` for programs and `train.log` for people."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tooltune.errors import UserError
from tooltune.scrub import scrub, scrub_text
from tooltune.train.durable import flush
from tooltune.train.progress import Progress
from tooltune.train.trackers.open import Trackers
from tooltune.train.trackers.protocol import Status

METRICS = "metrics.jsonl"
LOG = "train.log"

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_]?)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class RunLog:
    """Writes `metrics.jsonl` and `train.log` of the run in `directory`, each line flushed.

    A context manager. While it is open it holds a lock on `train.log`, which the system lets go
    when the process dies: a second process that starts in the same folder gets a `UserError`.
    Every line of `metrics.jsonl` also goes to the `trackers`. They may fail; the file is the truth.
    """

    _trackers: Trackers | None = None
    _status: Status = "finished"

    def __init__(
        self,
        directory: Path,
        *,
        progress: Progress | None = None,
        trackers: Trackers | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.progress = progress
        self._log = (directory / LOG).open("a", encoding="utf-8")
        try:
            _lock(self._log, directory)
        except UserError:
            self._log.close()
            raise
        self._metrics = self._open_metrics()
        if trackers is not None:
            self.track(trackers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status = _status(error)
        self.close()

    def close(self) -> None:
        """End the trackers (by the exception that ended the context, if one did) and the files."""
        try:
            self._end_trackers()
        finally:
            if self.progress is not None:
                self.progress.close()
            self._metrics.close()
            self._log.close()

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Append one line to `metrics.jsonl` (`step`, `epoch`, `kind`, …) and show it.

        JSON has no NaN: a non-finite number becomes null, and `non_finite` names it.
        """
        finite = _finite(record)
        line = json.dumps(finite, allow_nan=False, ensure_ascii=True)
        self._metrics.write(line + "\n")
        self._metrics.flush()
        if self.progress is not None:
            self.progress.show(record)
        if self._trackers is not None:
            self._trackers.metrics(finite)
            self._tell_of_trackers()

    def track(self, trackers: Trackers) -> None:
        """Pass all metrics on to `trackers`, first those that the file holds already.

        Of these they send what an earlier start of the run did not. They end with this log.
        """
        self._trackers = trackers
        with (self.directory / METRICS).open("rb") as lines:
            for line in lines:
                if _is_up_to(line, math.inf):
                    trackers.metrics(json.loads(line))
        self._tell_of_trackers()

    def _end_trackers(self) -> None:
        if self._trackers is not None:
            self._trackers.finish(self._status)
            self._tell_of_trackers()
            self._trackers = None

    def _tell_of_trackers(self) -> None:
        if self._trackers is not None:
            notes, warnings = self._trackers.take_messages()
            for note in notes:
                self.info(note)
            for warning in warnings:
                self.warning(warning)

    def train_step(
        self,
        *,
        step: int,
        epoch: float,
        loss: float,
        lr: float,
        grad_norm: float,
        tokens: int,
        trained_tokens: int,
        seconds: float,
        **more: Any,
    ) -> None:
        """The metrics line of one optimizer step, with its rates.

        `lr` is the one used, `grad_norm` the norm before clipping, `tokens` those forwarded,
        `trained_tokens` those with loss, `seconds` the step's wall time.
        """
        rate = 1 / seconds if seconds > 0 else 0.0
        self.metrics(
            {
                "step": step,
                "epoch": epoch,
                "kind": "train",
                "loss": loss,
                "lr": lr,
                "grad_norm": grad_norm,
                "tokens": tokens,
                "trained_tokens": trained_tokens,
                "tokens_per_second": tokens * rate,
                "trained_tokens_per_second": trained_tokens * rate,
                "seconds": seconds,
                **more,
            }
        )

    def info(self, text: str) -> None:
        """A line in `train.log` and on the console."""
        self._write("INFO", text)

    def warning(self, text: str) -> None:
        """A line in `train.log` and, marked, on the console."""
        self._write("WARNING", text)

    def error(self, text: str) -> None:
        """A line in `train.log` only; the command prints the error itself."""
        self._write("ERROR", text, show=False)

    def _write(self, level: str, text: str, *, show: bool = True) -> None:
        text = one_line(scrub_text(text))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._log.write(f"{now} {level} {text}\n")
        self._log.flush()
        if show and self.progress is not None:
            self.progress.say(text if level == "INFO" else f"{level.lower()}: {text}")

    def truncate_after(self, step: int, *, measured: bool = True) -> int:
        """Drop metrics of steps after `step`, and a line cut off by a crash; return how many.

        On resume: the steps since the checkpoint are run, and written, again. Unless the
        checkpoint had `measured` what was due after its step, so is that.
        """
        path = self.directory / METRICS
        self._metrics.close()
        lines = path.read_bytes().split(b"\n")
        kept = [
            line
            for line in lines
            if _is_up_to(line, step if measured else step - 1)
            or (not measured and _is_training_of(line, step))
        ]
        staged = path.with_name(f".{METRICS}.new")
        staged.write_bytes(b"".join(line + b"\n" for line in kept))
        flush(staged)
        os.replace(staged, path)
        self._metrics = self._open_metrics()
        return len([line for line in lines if line]) - len(kept)

    def _open_metrics(self) -> IO[str]:
        path = self.directory / METRICS
        if path.exists():  # a crash may have cut the last line
            whole = path.read_bytes().rfind(b"\n") + 1
            os.truncate(path, whole)
        return path.open("a", encoding="utf-8")


def one_line(text: str) -> str:
    """Text of unknown origin made safe for a terminal and a line: no escapes, no line ends."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    return _CONTROLS.sub("", text.replace("\n", "\\n").replace("\t", " "))


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    bad: dict[str, str] = {}

    def clean(value: Any, key: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            bad[key] = str(value)
            return None
        if isinstance(value, Mapping):
            return {k: clean(item, f"{key}.{k}") for k, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(item, f"{key}.{i}") for i, item in enumerate(value)]
        return value

    cleaned = {key: clean(value, key) for key, value in scrub(record).items()}
    return {**cleaned, "non_finite": bad} if bad else cleaned


def _status(error: BaseException | None) -> Status:
    """Signals are no `Exception`: a run that they end is expected to go on."""
    if error is None:
        return "finished"
    return "failed" if isinstance(error, Exception) else "interrupted"


def _is_up_to(line: bytes, step: float) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


def _is_training_of(line: bytes, step: int) -> bool:
    try:
        record = json.loads(line)
        return bool(record["step"] == step and record["kind"] == "train")
    except (ValueError, KeyError, TypeError):
        return False


def _lock(file: IO[str], directory: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process is writing the run in {directory}",
            fix="wait for it or stop it, or give this run another output folder",
        ) from None
