"""What lies between reading and rendering where rows depend on one another: sessions, duplicates.

Both need all rows of a source. What must be remembered of each is a few bytes; the traces
themselves wait on disk.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

from tooltune.traces.duplicates import Deduplicate, duplicate_reason
from tooltune.traces.stitch import root_key, stitch
from tooltune.traces.types import Source
from tooltune.train.preparation.chunks import Rejected, Stored, stored
from tooltune.train.preparation.codec import trace_from_json, trace_json

_BUCKETS = 64


class Requests:
    """Requests of a log, on disk in buckets that can be stitched one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[IO[bytes]] = []
        self._open = ExitStack()
        self.rows = 0

    def add(self, items: Iterable[Stored]) -> None:
        for item in items:
            if not self._files:
                names = [self._folder / f".requests-{i}" for i in range(_BUCKETS)]
                self._files = [self._open.enter_context(name.open("wb")) for name in names]
            key = root_key(trace_from_json(item.trace, item.place))
            write_stored(self._files[int(key[:8], 16) % _BUCKETS], item)
            self.rows += 1

    def stitched(self) -> Iterator[Stored]:
        """The sessions' traces, each at the position of its last request; in no order."""
        self._open.close()
        for file in self._files:
            path = Path(file.name)
            with path.open("rb") as lines:
                items = list(read_stored(lines))
            positions = {item.place: item.position for item in items}
            for trace in stitch([trace_from_json(i.trace, i.place) for i in items]).traces:
                assert trace.source is not None
                yield stored(positions[trace.source], trace, trace.source)
            path.unlink()


class Spool:
    """Traces on disk, in the order in which they were added, until all are known."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".spool"
        self._file = self._path.open("wb")
        self._marks: list[tuple[int, Source, bytes]] = []

    def add(self, items: Iterable[Stored]) -> None:
        for item in items:
            write_stored(self._file, item)
            self._marks.append((item.position, item.place, item.mark))

    def deduplicated(self, how: Deduplicate) -> Iterator[Stored | Rejected]:
        """The traces as `duplicates.deduplicated` leaves them, in order of position.

        Those that it drops come as the rejections that they are.
        """
        self._file.close()
        first: dict[bytes, tuple[int, Source]] = {}
        for position, place, mark in self._marks:
            first[mark] = min(first.get(mark, (position, place)), (position, place), key=_position)
        counts = Counter(mark for _, _, mark in self._marks)
        with self._path.open("rb") as lines:
            for item, (_, _, mark) in zip(read_stored(lines), self._marks, strict=True):
                if how == "weight" and counts[mark] > 1:
                    trace = trace_from_json(item.trace)
                    weighed = replace(trace, weight=trace.weight / counts[mark])
                    yield item._replace(trace=trace_json(weighed))
                elif how == "drop" and first[mark][0] != item.position:
                    reason = duplicate_reason(first[mark][1])
                    yield Rejected(item.position, item.place, "duplicate", reason)
                else:
                    yield item
        self._path.unlink()


def _position(place: tuple[int, Source]) -> int:
    return place[0]


def write_stored(file: IO[bytes], item: Stored) -> None:
    """Two lines: where it stands, and the trace (JSON has no line feeds of its own)."""
    place = [item.position, item.place.file, item.place.row]
    file.write(json.dumps(place).encode() + b"\n" + item.trace + b"\n")


def read_stored(lines: Iterable[bytes]) -> Iterator[Stored]:
    pairs = iter(lines)
    for place in pairs:
        position, file, row = json.loads(place)
        yield Stored(position, Source(file, row), next(pairs)[:-1])
