"""Load traces: rows of files or of a hub data set, every one accepted or in the ledger."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, overload

from tooltune.errors import UserError
from tooltune.traces.files import check_file, file_rows
from tooltune.traces.formats import FORMATS, detect
from tooltune.traces.hub import hub_rows
from tooltune.traces.identity import identify
from tooltune.traces.jsonio import RowError
from tooltune.traces.ledger import Ledger
from tooltune.traces.slices import local_slice
from tooltune.traces.types import Source, Trace

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, eq=False)
class Traces(Sequence[Trace]):
    """The accepted traces in reading order, and the account of what was read.

    `rows_read` = accepted + rejected by this load; the rejections are in `ledger` (which may hold
    those of other loads too). `format_counts` tells how many accepted rows had which format.
    """

    items: tuple[Trace, ...]
    ledger: Ledger
    rows_read: int
    format_counts: dict[str, int] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """The format of the accepted rows, the most frequent first where several are mixed."""
        return ", ".join(self.format_counts)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Trace: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Trace, ...]: ...
    def __getitem__(self, index: int | slice) -> Trace | tuple[Trace, ...]:
        return self.items[index]

    def __repr__(self) -> str:
        return f"Traces({len(self)} of {self.rows_read} rows, format {self.format or 'unknown'})"


def load_traces(
    path: Paths | None = None,
    *,
    dataset_name: str | None = None,
    split: str = "train",
    revision: str | None = None,
    limit: int | None = None,
    format: str | None = None,
    ledger: Ledger | None = None,
) -> Traces:
    """Read traces from local JSON or JSON lines files, or from a hub data set.

    `path`: a file, or several whose rows follow one another. `dataset_name`: a hub id, with
    `revision`. `split`: a split or a slice of one (`train[:100]`, `train[10:20]`, `train[:10%]`);
    local files have only `train`. `limit`: read at most the first so many rows of it.
    `format`: a name in `FORMATS`; by default each row tells its own (`formats.detect`).
    `ledger`: where rejected rows go, by default a new one.

    Rows that cannot be used are rejected with their code, never raised. Raises `UserError` where
    the source itself is unusable (missing, empty, not JSON, both or neither source named).
    """
    ledger = Ledger() if ledger is None else ledger
    check_format(format)
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}", fix="give a positive number of rows, or leave it out")
    if (path is None) == (dataset_name is None):
        found = "neither path nor dataset_name" if path is None else "both path and dataset_name"
        raise UserError(f"{found} given", fix="name one source: a local file or a hub data set")
    if dataset_name is not None:
        rows = _numbered(dataset_name, hub_rows(dataset_name, split, revision, limit))
    else:
        assert path is not None
        rows = islice(_local_rows(path, split, revision), limit)
    return _read(rows, format, ledger)


def _local_rows(
    path: Paths, split: str, revision: str | None
) -> Iterable[tuple[Source, Any | RowError]]:
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    if not paths:
        raise UserError("path is an empty list", fix="name at least one file")
    if revision is not None:
        fix = "leave revision out, or name a hub data set"
        raise UserError("revision is given for a local file", fix=fix)
    for file in paths:
        check_file(Path(file))
    rows = (row for file in paths for row in _numbered(str(file), file_rows(Path(file))))
    return local_slice(split).apply(rows)


def _numbered(name: str, rows: Iterable[Any]) -> Iterator[tuple[Source, Any | RowError]]:
    return ((Source(name, number), row) for number, row in enumerate(rows))


def _read(
    rows: Iterable[tuple[Source, Any | RowError]], format: str | None, ledger: Ledger
) -> Traces:
    traces: list[Trace] = []
    formats: Counter[str] = Counter()
    seen: dict[str, int] = {}
    rows_read = 0
    for source, row in rows:
        rows_read += 1
        try:
            if isinstance(row, RowError):
                raise row
            name = format or detect(row).name
            traces.append(identify(FORMATS[name].read(row), source, seen))
            formats[name] += 1
        except RowError as error:
            ledger.reject(source.file, source.row, error.code, error.reason)
    return Traces(tuple(traces), ledger, rows_read, dict(formats.most_common()))


def check_format(format: str | None) -> None:
    """Raise `UserError` unless `format` is `None` or a name in `FORMATS`."""
    if format is None or format in FORMATS:
        return
    close = difflib.get_close_matches(format, FORMATS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(
        f"unknown format {format!r}",
        fix=f"{hint}write one of {', '.join(FORMATS)}, or leave it out to detect it",
    )


def require_rows(traces: Traces) -> Traces:
    """Return `traces`; raise `UserError` with the most frequent rejections where there are none."""
    if traces:
        return traces
    if not traces.rows_read:
        raise UserError("no rows to read", fix="check the split slice, and that the file has rows")
    lines = [f"none of {traces.rows_read} rows can be used:"]
    for code, count in list(traces.ledger.counts.items())[:3]:
        example = next(r for r in traces.ledger.rejections if r.code == code)
        lines.append(f"  {count} x {code}, first {example.file}:{example.row}: {example.reason}")
    formats = ", ".join(FORMATS)
    raise UserError(
        "\n".join(lines), fix=f"repair the rows as said above, or choose a format ({formats})"
    )
