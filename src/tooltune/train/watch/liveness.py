"""What ranks tell each other about how far they are, and who is at fault when nothing moves."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import FrameType

_MEETING = (
    "torch/distributed/distributed_c10d.py",
    "torch/distributed/_functional_collectives.py",
    "torch/distributed/fsdp/",
    "tooltune/train/parallel/world.py",
)


@dataclass(frozen=True, slots=True)
class Report:
    """How far a rank is. `still`: seconds since its main thread last said that it goes on.

    patient: it is in a piece of work of unknown length. where: what its main thread runs
    (`file:line function`), once it stands still. meeting: that is a wait for other ranks.
    """

    step: int
    doing: str
    still: float
    patient: bool
    where: str = ""
    meeting: bool = False

    def to_json(self, number: int) -> str:
        """`number` differs from report to report, so that readers see new ones arrive."""
        return json.dumps({"number": number, **asdict(self)})

    @classmethod
    def from_json(cls, text: bytes) -> Report:
        values = json.loads(text)
        del values["number"]
        return cls(**values)

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        return f"'{self.doing}', step {self.step}, for {self.still:.0f} s{place}"


def verdict(
    reports: Mapping[int, Report | None], unheard: Mapping[int, float], limit: float
) -> str | None:
    """Why the run must end, naming the ranks at fault, or None while all is well.

    `reports` is each rank's last one (None: there was none), `unheard` how many seconds ago it
    came. A rank that is not heard of for `limit` seconds is dead. If no rank's main thread has
    gone on for as long, and none is in work of unknown length, one hangs: the one whose step is
    the lowest, or that is not waiting for the others while they wait.
    """
    dead = sorted(rank for rank, seconds in unheard.items() if seconds > limit)
    if dead:
        return "; ".join(_dead(rank, reports[rank], unheard[rank]) for rank in dead)
    known = {rank: report for rank, report in reports.items() if report is not None}
    if len(known) < len(reports):
        return None
    still = {rank: report.still + unheard[rank] for rank, report in known.items()}
    if any(report.patient for report in known.values()) or min(still.values()) <= limit:
        return None
    if silent := sorted(rank for rank, seconds in unheard.items() if seconds > limit / 2):
        return "; ".join(_dead(rank, reports[rank], unheard[rank]) for rank in silent)
    behind = _behind(known)
    everyone = "; ".join(f"rank {rank}: {report}" for rank, report in sorted(known.items()))
    if not behind:
        return f"nothing goes on, and no rank is clearly behind the others ({everyone})"
    names = " and ".join(f"rank {rank}" for rank in behind)
    verb = "hangs" if len(behind) == 1 else "hang"
    return f"{names} {verb} while the others wait ({everyone})"


def _behind(reports: Mapping[int, Report]) -> list[int]:
    """The ranks at fault; empty where all are alike."""
    first = min(report.step for report in reports.values())
    late = sorted(rank for rank, report in reports.items() if report.step == first)
    if len(late) == len(reports):
        late = sorted(rank for rank, report in reports.items() if not report.meeting)
    return late if len(late) < len(reports) else []


def _dead(rank: int, report: Report | None, seconds: float) -> str:
    if report is None:
        return f"rank {rank} never gave a sign of life ({seconds:.0f} s)"
    return (
        f"rank {rank} gives no sign of life for {seconds:.0f} s (its process is dead, stopped or "
        f"cut off); it was in '{report.doing}' of step {report.step}"
    )


def standing(thread: int) -> tuple[str, bool]:
    """Where a thread of this process stands, and whether that is a meeting of ranks.

    The hooks of a backward pass may run in threads that torch made: those count as well.
    """
    frames = sys._current_frames()
    ours = {t.ident for t in threading.enumerate() if not isinstance(t, threading._DummyThread)}
    ours.discard(thread)
    meeting = any(_in_meeting(frame) for ident, frame in frames.items() if ident not in ours)
    frame = frames.get(thread)
    if frame is None:
        return "", meeting
    code = frame.f_code
    folders = code.co_filename.replace("\\", "/").split("/")
    return f"{'/'.join(folders[-2:])}:{frame.f_lineno} {code.co_name}", meeting


def _in_meeting(frame: FrameType | None) -> bool:
    while frame is not None:
        if any(part in frame.f_code.co_filename.replace("\\", "/") for part in _MEETING):
            return True
        frame = frame.f_back
    return False
