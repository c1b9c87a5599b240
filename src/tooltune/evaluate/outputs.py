"""What was generated, kept apart from its scores: `outputs.jsonl`, which outlives interruptions.

Beside it, `generation.json` names everything that decides what is generated. Outputs of other
settings never mix: a folder that holds some is refused.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tooltune.errors import UserError
from tooltune.evaluate.evaluation_file import replace_file
from tooltune.evaluate.prepare import Key
from tooltune.toolcalls.types import ParsedToolCall

fcntl: Any
try:
    import fcntl
except ImportError:  # not on Windows; two evaluations into one folder go unnoticed there
    fcntl = None

OUTPUTS = "outputs.jsonl"
GENERATION = "generation.json"
RESULTS = ("metrics.json", "samples.jsonl", "ledger.jsonl", "excluded.jsonl")
_SYNC_EVERY = 1.0  # seconds

Decides = Mapping[str, Any]
"""Everything that decides the outputs, as JSON: model, weights, template, settings of decoding."""


@dataclass(frozen=True, slots=True)
class Output:
    """One answer, or why there is none (`skip_reason`).

    text: with special tokens. token_ids: the stop token included; None where the generator does
    not tell them. tokens: how many were generated, where that is known.
    calls, reasoning: as a server parsed them; None where nobody did.
    teacher_forced_exact, draft_nll, ties: see `Generation`. draft_id: of what draft they speak.
    detail: what was said of a failure, for people.
    """

    dataset: str
    sample_id: str
    repeat: int
    prompt_id: str
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    tokens: int | None = None
    calls: tuple[ParsedToolCall, ...] | None = None
    reasoning: str | None = None
    finish_reason: str = "stop"
    skip_reason: str | None = None
    detail: str | None = None
    teacher_forced_exact: bool | None = None
    draft_nll: float | None = None
    draft_id: str | None = None
    ties: int = 0

    @property
    def key(self) -> Key:
        return self.dataset, self.sample_id, self.repeat

    def to_dict(self) -> dict[str, Any]:
        """As JSON. An infinite likelihood has no number there and becomes None."""
        nll = (
            self.draft_nll if self.draft_nll is not None and math.isfinite(self.draft_nll) else None
        )
        calls = None if self.calls is None else [asdict(call) for call in self.calls]
        return {**asdict(self), "calls": calls, "draft_nll": nll}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Output:
        """What `to_dict` gave. Raises: TypeError, KeyError or ValueError for anything else."""
        if not isinstance(values, Mapping):
            raise TypeError("no JSON object")
        ids, calls = values.get("token_ids"), values.get("calls")
        for key, kind in (("dataset", str), ("sample_id", str), ("repeat", int), ("text", str)):
            if not isinstance(values[key], kind):
                raise TypeError(f"`{key}` is no {kind.__name__}")
        return cls(
            **{
                **values,
                "token_ids": None if ids is None else tuple(map(int, ids)),
                "calls": None if calls is None else tuple(_call(call) for call in calls),
            }
        )


def _call(values: Mapping[str, Any]) -> ParsedToolCall:
    """JSON has no tuples: what a call holds as one comes back as a list."""
    top: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return ParsedToolCall(**top)


class OutputLog:
    """The outputs of one folder: those that are there, and a place for more.

    `outputs` holds the last output of each key that is no failure: a failure (a server that was
    away, memory that ran out) is tried again. `torn` counts half lines that an interruption left
    and that were cut off. Every output is handed to the system at once, so that a killed process
    loses none, and to the disk at least once a second and in `close`.

    Raises: UserError where the folder holds outputs of other settings (unless `overwrite`), where
    another process writes there, and for a file that is no `outputs.jsonl`; OSError where nothing
    can be written.
    """

    def __init__(self, directory: Path, decides: Decides, *, overwrite: bool = False) -> None:
        self.directory = directory
        self.outputs: dict[Key, Output] = {}
        self.torn = 0
        directory.mkdir(parents=True, exist_ok=True)
        # Read and append through one descriptor: it also carries the lock.
        self._file: BinaryIO = open(directory / OUTPUTS, "a+b", buffering=0)  # noqa: SIM115
        self._synced = time.monotonic()
        try:
            self._lock()
            if overwrite:
                self._start_afresh()
            self._read()
            self._check(json.loads(json.dumps(decides)))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> OutputLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, output: Output) -> None:
        """Keep an output. Raises: OSError where it cannot be written (the disk is full)."""
        line = json.dumps(output.to_dict(), ensure_ascii=True).encode() + b"\n"
        written = 0
        while written < len(line):  # a raw file may take less than it is given
            written += self._file.write(line[written:]) or 0
        if output.skip_reason is None:
            self.outputs[output.key] = output
        if time.monotonic() - self._synced >= _SYNC_EVERY:
            self._sync()

    def close(self) -> None:
        if not self._file.closed:
            try:
                self._sync()
            finally:
                self._file.close()

    def note_run(self, **facts: Any) -> None:
        """Add what one run of the evaluation did to `generation.json` (`runs`)."""
        path = self.directory / GENERATION
        there = json.loads(path.read_bytes())
        replace_file(path, _json({**there, "runs": [*there.get("runs", []), facts]}))

    def _sync(self) -> None:
        if os.path.isfile(self._file.name):
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.directory}: another evaluation is writing there",
                fix="wait for it, or choose another --out",
            ) from None
        except OSError:  # a file system without locks
            return

    def _start_afresh(self) -> None:
        for name in (*RESULTS, GENERATION):
            (self.directory / name).unlink(missing_ok=True)
        self._file.truncate(0)

    def _read(self) -> None:
        self._file.seek(0)
        data = self._file.readall() if os.path.isfile(self._file.name) else b""  # type: ignore[attr-defined]
        start = 0
        while start < len(data):
            end = data.find(b"\n", start)
            line = data[start : len(data) if end < 0 else end]
            try:
                output = Output.from_dict(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                if end in (-1, len(data) - 1):  # the last line: the write that was interrupted
                    self._file.truncate(start)
                    self.torn += 1
                    return
                number = data.count(b"\n", 0, start) + 1
                raise UserError(
                    f"{self._file.name}, line {number}: no output of an evaluation ({error})",
                    fix="give --overwrite to generate everything again, or another --out",
                ) from None
            if output.skip_reason is None:
                self.outputs[output.key] = output
            if end < 0:  # whole but for its line end
                self._file.write(b"\n")
                return
            start = end + 1

    def _check(self, decides: dict[str, Any]) -> None:
        path = self.directory / GENERATION
        there = read_generation(self.directory)
        if there is not None and there["decides"] == decides:
            return
        if self.outputs:
            before = None if there is None else there["decides"]
            raise UserError(
                f"{self.directory} holds {len(self.outputs)} outputs of another evaluation: "
                + ("nothing says of which" if before is None else _difference(before, decides)),
                fix="choose another --out, or give --overwrite to lose those outputs",
            )
        replace_file(path, _json({"decides": decides, "runs": []}))


def read_generation(directory: Path) -> dict[str, Any] | None:
    """The object of `generation.json`; None where there is none that can be read."""
    try:
        there = json.loads((directory / GENERATION).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(there, dict) and isinstance(there.get("decides"), dict)
    return there if known else None


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The keys that differ, dotted, with their values."""
    old, new = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key} was {_shown(old.get(key))}, is {_shown(new.get(key))}" for key in keys)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            pairs += _flat(inner, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", inner))
    return pairs


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"
