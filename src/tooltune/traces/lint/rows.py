"""The traces of a source one after the other, in bounded memory, with the account of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from tooltune.traces.columns import rename
from tooltune.traces.formats import detect
from tooltune.traces.jsonio import RowError
from tooltune.traces.ledger import Ledger
from tooltune.traces.source import NOT_SAMPLED, TraceSource, is_request, iter_rows, read_trace
from tooltune.traces.stitch import stitch
from tooltune.traces.types import Source, Trace


class Recognised(NamedTuple):
    """Why the first row of a format was read as that, and where the row stands."""

    why: str
    place: Source


class LintRows:
    """Iterating reads the source anew; the account is complete when all traces were taken.

    Only requests that are to be stitched are held back: their sessions come last. Copies stay,
    whatever the source says of them: lint counts them.
    """

    def __init__(self, source: TraceSource) -> None:
        self.source = source
        self.ledger = Ledger()
        self._clear()

    def _clear(self) -> None:
        self.ledger.rejections.clear()
        self.rows_read = 0
        self.rows_accepted = 0
        self.format_counts: Counter[str] = Counter()
        self.recognised: dict[str, Recognised] = {}

    def __iter__(self) -> Iterator[Trace]:
        self._clear()
        requests: list[Trace] = []
        for place, value, part in iter_rows(self.source):
            try:
                trace, name = read_trace(value, part)
            except RowError as error:
                if error.code != NOT_SAMPLED:
                    self.rows_read += 1
                    self.ledger.reject(place.file, place.row, error.code, error.reason)
                continue
            self.rows_read += 1
            self.rows_accepted += 1
            self.format_counts[name] += 1
            if name not in self.recognised:
                self.recognised[name] = Recognised(_why(name, value, part), place)
            trace = replace(trace, source=place)
            if is_request(name, part):
                requests.append(trace)
            else:
                yield trace
        yield from stitch(requests).traces


def _why(name: str, value: Any, part: TraceSource) -> str:
    """Why `detect` reads the row as `name`; the row as `read_trace` hands it over."""
    if part.format is not None:
        return "as asked for"
    row = rename(value, part.columns)
    if isinstance(row, Mapping):
        row = {key: item for key, item in row.items() if item is not None}
    return detect(row).why
