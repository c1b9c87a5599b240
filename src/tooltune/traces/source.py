"""What to read, as one value; its rows as a stream; and one row to a trace.

    for place, value, part in iter_rows(source):     # bounded memory, reading order
        try:
            trace, format = read_trace(value, part)  # pure: may run in another process
        except RowError as error:
            ...                                      # into the ledger, at `place`

Every row of the source comes out of `iter_rows` exactly once, so a consumer that puts each into
one of accepted, ledger and "not sampled" has accounted for all of them.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tooltune.errors import UserError
from tooltune.traces.columns import read_group, read_weight, rename
from tooltune.traces.duplicates import Deduplicate
from tooltune.traces.files import expand_path, file_rows
from tooltune.traces.formats import FORMATS, detect
from tooltune.traces.formats.bfcl import possible_answers_path, rows_with_answers
from tooltune.traces.hub import hub_rows
from tooltune.traces.jsonio import RowError
from tooltune.traces.mix import shares
from tooltune.traces.slices import local_slice, stream_slice
from tooltune.traces.stitch import answers_only
from tooltune.traces.types import Source, Trace
from tooltune.traces.where import Condition, RowFiltered, check_where, parse_where

Paths = str | Path | Sequence[str | Path]

NOT_SAMPLED = "not_sampled"
"""Code of a `RowError` that stands for a row left out by mixing: counted, in no ledger."""


@dataclass(frozen=True, slots=True)
class TraceSource:
    """Where traces come from and which of its rows are read as what. Hashable, picklable.

    Either `paths` (files, globs, folders that `datasets` saved), `dataset_name` (a hub id) or
    `sources` (several of these, mixed) is set. Made by `trace_source`, which checks it.
    `dataclasses.asdict` of it is JSON, for a cache key; the files behind it are `source_files`.

    split: `train`, or a slice of it: `train[:100]`.
    limit: the first so many rows.
    format: a name of `FORMATS`; None: each row tells its own.
    columns: (canonical name, name in the data) pairs: what the format calls it, what the data do.
    where: all must hold; other rows are `filtered`.
    weight_by, group_by: columns that give `Trace.weight` and `Trace.group`.
    count, weight: as a part of a mixture, how many of its rows, or its share (see `mix`).
    stitch: whether requests that repeat their history become sessions; None: as the format says.
    deduplicate: what becomes of traces that say the same (see `duplicates`).
    seed: of the sampling.
    """

    paths: tuple[str, ...] = ()
    dataset_name: str | None = None
    split: str = "train"
    revision: str | None = None
    streaming: bool = False
    limit: int | None = None
    format: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    where: tuple[Condition, ...] = ()
    weight_by: str | None = None
    group_by: str | None = None
    count: int | None = None
    weight: float | None = None
    sources: tuple[TraceSource, ...] = ()
    stitch: bool | None = None
    deduplicate: Deduplicate = "keep"
    seed: int = 0


class SourceRow(NamedTuple):
    """One row: where it stands, its JSON value or the `RowError` that it is, its part of the mix.

    `part` is the source itself where nothing is mixed: what `read_trace` needs.
    """

    place: Source
    value: Any | RowError
    part: TraceSource


class Reading(NamedTuple):
    """A trace and the name of the format that it was read as (`FORMATS[format].per_request`)."""

    trace: Trace
    format: str


def trace_source(
    path: Paths | None = None,
    *,
    dataset_name: str | None = None,
    sources: Sequence[TraceSource] | None = None,
    where: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    **options: Any,
) -> TraceSource:
    """Make a `TraceSource`; `options` are its other fields. `where`: see `parse_where`.

    The parts of a mixture get its seed and its `stitch`. Raises `UserError` for what cannot be
    read as it is asked for, before any row is read.
    """
    paths = [] if path is None else [path] if isinstance(path, (str, Path)) else list(path)
    if path is not None and not paths:
        raise UserError("path is an empty list", fix="name at least one file")
    source = TraceSource(
        paths=tuple(str(one) for one in paths),
        dataset_name=dataset_name,
        columns=tuple((columns or {}).items()),
        where=parse_where(where or {}),
        **options,
    )
    parts = (replace(part, seed=source.seed, stitch=source.stitch) for part in sources or ())
    source = replace(source, sources=tuple(parts))
    check_source(source)
    return source


def check_source(source: TraceSource) -> None:
    """Raise `UserError` unless a source names one place, and what it asks for can be done there."""
    given = {
        "path": source.paths,
        "dataset_name": source.dataset_name,
        "sources": source.sources,
    }
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        found = " and ".join(named) if named else "neither path nor dataset_name"
        found = f"both {found}" if len(named) == 2 else found
        raise UserError(f"{found} given", fix="name one source: a local file or a hub data set")
    check_format(source.format)
    if source.limit is not None and source.limit < 1:
        fix = "give a positive number of rows, or leave it out"
        raise UserError(f"limit is {source.limit}", fix=fix)
    if source.paths:
        local_slice(source.split)
        for key, value in (("revision", source.revision), ("streaming", source.streaming)):
            if value:
                fix = f"leave {key} out, or name a hub data set"
                raise UserError(f"{key} is given for a local file", fix=fix)
    elif source.dataset_name and source.streaming:
        stream_slice(source.split)
    for part in source.sources:
        check_source(part)


def iter_rows(source: TraceSource) -> Iterator[SourceRow]:
    """Yield every row of a source in reading order, parts one after the other, in bounded memory.

    A row that cannot be read is a `RowError`; one left out by mixing has the code `NOT_SAMPLED`.
    Raises `UserError` where the source is unusable (missing, broken, not what it says to be);
    that may be after rows were yielded, as for a truncated file.
    """
    parts = source.sources or (source,)
    source_files(source)  # a missing file is found before the first row is read
    taken = shares(
        [part.count for part in parts],
        [part.weight for part in parts],
        lambda i: sum(_usable(value, parts[i]) for _, value in _rows(parts[i])),
        [_name(part) for part in parts],
        source.seed,
    )
    for part, share in zip(parts, taken, strict=True):
        chosen = None if share is None else share.chosen()
        for place, value in _rows(part):
            if chosen is not None and _usable(value, part) and not next(chosen, False):
                value = _LEFT_OUT
            yield SourceRow(place, value, part)


_LEFT_OUT = RowError(NOT_SAMPLED, "left out by the count or weight of its source")


def _usable(value: Any, part: TraceSource) -> bool:
    if isinstance(value, RowError) or not isinstance(value, Mapping):
        return False
    try:
        check_where(value, part.where)
    except RowFiltered:
        return False
    return True


def _rows(part: TraceSource) -> Iterator[tuple[Source, Any | RowError]]:
    """The rows of a source that is not mixed, those that `split` and `limit` leave."""
    if part.dataset_name is not None:
        rows = hub_rows(part.dataset_name, part.split, part.revision, part.limit, part.streaming)
        return _numbered(part.dataset_name, rows)
    files = source_files(part)
    sliced = local_slice(part.split).apply(
        lambda: (
            row
            for file in files
            for row in _numbered(str(file), rows_with_answers(file, file_rows))
        )
    )
    return islice(sliced, part.limit)


def _numbered(name: str, rows: Iterable[Any]) -> Iterator[tuple[Source, Any | RowError]]:
    return ((Source(name, number), row) for number, row in enumerate(rows))


def read_trace(value: Any | RowError, part: TraceSource) -> Reading:
    """Read one row of `iter_rows`: filter, rename its columns, find its format, read, weigh, group.

    `where`, `weight_by` and `group_by` name columns as the data do; a column that is null counts
    as missing. Pure and picklable in and out, save that `trace.source` is not set and ids are not
    yet numbered (`identity.identify` does both). `trace.group` is preset by `group_by` (and by
    formats that name a session).
    Raises `RowError`: also the one that `value` is, and `RowFiltered` (code `filtered`) for a row
    that `where` leaves out; `UserError` where sampled rows are requests that belong together.
    """
    if isinstance(value, RowError):
        raise value
    check_where(value, part.where)
    row = rename(value, part.columns)
    if isinstance(row, dict) and None in row.values():
        row = {key: item for key, item in row.items() if item is not None}
    name = part.format or detect(row).name
    trace = FORMATS[name].read(row)
    if is_request(name, part):
        _check_whole(part, name)
        trace = answers_only(trace) if part.where else trace
    if part.weight_by is not None:
        trace = replace(trace, weight=read_weight(value, part.weight_by))
    if part.group_by is not None:
        trace = replace(trace, group=read_group(value, part.group_by))
    return Reading(trace, name)


def is_request(format: str, part: TraceSource) -> bool:
    """Whether rows of a format are requests that repeat their history, to be stitched."""
    return FORMATS[format].per_request if part.stitch is None else part.stitch


def _check_whole(part: TraceSource, name: str) -> None:
    if part.count is None and part.weight is None:
        return
    raise UserError(
        f"{_name(part)} holds requests (format {name}), and sampling rows would tear the sessions "
        "apart that they are stitched into",
        fix="leave count and weight out, or first write sessions: tooltune convert DATA --out F",
    )


def _name(part: TraceSource) -> str:
    return ", ".join(part.paths) or str(part.dataset_name)


def source_files(source: TraceSource) -> tuple[Path, ...]:
    """The local files of a source in reading order, globs and folders resolved; () for the hub.

    Raises `UserError` where one is missing or named twice, or a glob matches nothing.
    """
    own = [file for path in source.paths for file in expand_path(path)]
    twice = next((file for file, count in Counter(own).items() if count > 1), None)
    if twice is not None:
        fix = "name it once; weight_by, or a mixture of sources, gives rows more weight"
        raise UserError(f"{twice} is named twice in path, so its rows would count twice", fix=fix)
    return tuple(own) + tuple(file for part in source.sources for file in source_files(part))


def input_files(source: TraceSource) -> tuple[Path, ...]:
    """Every file whose content decides the rows: `source_files`, and answers that lie beside them.

    Raises `UserError` as `source_files`.
    """
    files = source_files(source)
    answers = (possible_answers_path(file) for file in files)
    return files + tuple(path for path in answers if path is not None)


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
