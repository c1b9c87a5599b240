"""Rows that equal, or nearly equal, an earlier one."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from tooltune.traces.lint.types import Finding, found, found_at
from tooltune.traces.similar import conversation_text, near_duplicates, signature
from tooltune.traces.types import Source, Trace

_MOST_COMPARED = 200_000  # rows that are compared for likeness: 512 bytes each


class Sources:
    """Where rows were read, as two numbers for each."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._files = array("q")
        self._rows = array("q")

    def __len__(self) -> int:
        return len(self._files)

    def add(self, source: Source | None) -> int:
        """Remember one more; its number, from 0."""
        if source is None:
            self._files.append(-1)
            self._rows.append(-1)
        else:
            if not self._names or self._names[-1] != source.file:
                self._names.append(source.file)
            self._files.append(len(self._names) - 1)
            self._rows.append(source.row)
        return len(self._files) - 1

    def __getitem__(self, number: int) -> Source | None:
        file = self._files[number]
        return None if file < 0 else Source(self._names[file], self._rows[number])


class Seen:
    """The contents seen so far: a number of 64 bits and a place for each row."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._sources = Sources()

    def earlier(self, trace: Trace) -> str | None:
        """Where a row of this content was seen before, in words; None where it is the first."""
        number = self._sources.add(trace.source)
        first = self._first.setdefault(int(trace.content_id, 16), number)
        return None if first == number else str(self._sources[first] or f"the row {first}")


class Copies:
    """Rows that equal an earlier one, and rows that are nearly one, of the first 200,000.

    Without `exact`, for sets whose copies are dealt with when they are read, only the latter.
    """

    def __init__(self, exact: bool = True) -> None:
        self._exact = exact
        self._seen = Seen()
        self._signed = bytearray()
        self._sources = Sources()

    def see(self, trace: Trace) -> Iterator[Finding]:
        earlier = self._seen.earlier(trace)
        if earlier is not None and self._exact:
            yield found(trace, "duplicate_trace", None, f"equals {earlier}")
        elif earlier is None and len(self._sources) < _MOST_COMPARED:
            self._sources.add(trace.source)
            self._signed += signature(conversation_text(trace)).tobytes()

    def finish(self) -> Iterable[Finding]:
        if len(self._sources) < 2:
            return
        signed = np.frombuffer(self._signed, dtype=np.uint32).reshape(len(self._sources), -1)
        for first, *others in near_duplicates(signed):
            for number in others:
                text = f"is one of {len(others) + 1} alike, the first of them "
                text += str(self._sources[first] or f"the row {first}")
                yield found_at(self._sources[number], "near_duplicate_trace", text)
