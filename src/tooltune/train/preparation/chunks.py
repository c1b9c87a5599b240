"""A few rows to their part of the cache: read, render, encode. Pure work, in whatever process.

Nothing here knows of the cache's files, of other chunks, or of the order in which they come.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tooltune.render.forest import merge_turns
from tooltune.render.representable import RowRejected
from tooltune.render.turns import RenderedTrace, Renderer
from tooltune.traces.duplicates import duplicate_key
from tooltune.traces.identity import fingerprint
from tooltune.traces.jsonio import RowError
from tooltune.traces.source import Reading, TraceSource, is_request, read_trace
from tooltune.traces.types import Source, Trace
from tooltune.traces.where import RowFiltered
from tooltune.train.preparation.codec import encode_chunk, trace_from_json, trace_json
from tooltune.train.preparation.columns import numbers, strings

INDEX = pa.schema(
    {
        "position": pa.int64(),  # of the row among all that were read
        "file": pa.binary(),
        "row": pa.int64(),
        "content_id": pa.binary(),
        "group": pa.binary(),  # named by the data, or the content id
        "fingerprint": pa.binary(),  # empty where there is none
        "record": pa.int32(),  # row in its chunk; -1 where it could not be rendered
        "forest": pa.int64(),  # tokens of the trace's own forest (trained turns)
        "flat": pa.int64(),  # tokens of the same turns one by one
        "length": pa.int64(),  # tokens of the longest turn, prompt and completion
        "targets": pa.int64(),  # completion tokens of positive weight
        "tools": pa.binary(),  # names of its tools, a JSON list
    }
)
NOT_RENDERED = -1
Sizes = tuple[int, int, int, int]  # forest, flat, length, targets


class Row(NamedTuple):
    """A row to read, at its position among all rows of the source."""

    position: int
    place: Source
    value: Any
    part: TraceSource


class Stored(NamedTuple):
    """A trace that was read already, as `codec.trace_json`; `mark` is its `duplicate_key`."""

    position: int
    place: Source
    trace: bytes
    mark: bytes = b""


class Rejected(NamedTuple):
    position: int
    place: Source
    code: str
    reason: str


class Task(NamedTuple):
    """Rows to read and render, or traces to render; `only_read`: the rows are read, no more."""

    items: tuple[Row | Stored, ...]
    only_read: bool = False


@dataclass(slots=True)
class Chunk:
    """What some rows became: each is in `index`, in `rejected`, in both, or still to be done.

    records: `codec.SCHEMA` batch as one Arrow IPC message. index: batch of `INDEX`.
    requests: traces of logs in which each row repeats its history, to be stitched first.
    unrendered: the other traces of a task that was `only_read`.
    formats: usable rows by format. filtered: rejected rows by the condition that they fail.
    counts: what the renderer counted, by name.
    """

    records: bytes = b""
    index: pa.RecordBatch | None = None
    rejected: list[Rejected] = field(default_factory=list)
    requests: list[Stored] = field(default_factory=list)
    unrendered: list[Stored] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


def work(renderer: Renderer, task: Task) -> Chunk:
    """The chunk of a task: a function of its rows and the renderer's specification alone."""
    chunk = Chunk()
    traces: list[tuple[int, Trace]] = []
    for item in task.items:
        if isinstance(item, Stored):
            traces.append((item.position, trace_from_json(item.trace, item.place)))
            continue
        reading = _read(item, chunk)
        if reading is None:
            continue
        if is_request(reading.format, item.part):
            chunk.requests.append(stored(item.position, reading.trace, item.place))
        elif task.only_read:
            chunk.unrendered.append(stored(item.position, reading.trace, item.place))
        else:
            traces.append((item.position, replace(reading.trace, source=item.place)))
    before = counts_of(renderer)
    _render(renderer, traces, chunk)
    chunk.counts = Counter(counts_of(renderer))
    chunk.counts.subtract(before)
    return chunk


def stored(position: int, trace: Trace, place: Source) -> Stored:
    return Stored(position, place, trace_json(trace), duplicate_key(trace))


def counts_of(renderer: Renderer) -> dict[str, int]:
    """What a renderer counts beside its outcome: part of the account, replayed from the cache."""
    return renderer.counts.to_dict()


def _read(row: Row, chunk: Chunk) -> Reading | None:
    try:
        reading = read_trace(row.value, row.part)
    except RowError as error:
        if isinstance(error, RowFiltered):
            chunk.filtered[error.condition] += 1
        chunk.rejected.append(Rejected(row.position, row.place, error.code, error.reason))
        return None
    chunk.formats[reading.format] += 1
    return reading


def _render(renderer: Renderer, traces: Sequence[tuple[int, Trace]], chunk: Chunk) -> None:
    rendered: list[RenderedTrace] = []
    records: list[int] = []
    sizes: list[Sizes] = []
    for position, trace in traces:
        assert trace.source is not None
        try:
            row = renderer.render(trace)
        except RowRejected as error:
            chunk.rejected.append(Rejected(position, trace.source, error.code, error.reason))
            records.append(NOT_RENDERED)
            sizes.append((0, 0, 0, 0))
        else:
            records.append(len(rendered))
            sizes.append(_sizes(row))
            rendered.append(row)
    if rendered:
        chunk.records = encode_chunk(rendered).serialize().to_pybytes()
    if traces:
        chunk.index = _index(traces, records, sizes)


def _index(
    traces: Sequence[tuple[int, Trace]],
    records: Sequence[int],
    sizes: Sequence[Sizes],
) -> pa.RecordBatch:
    places = [trace.source or Source("", -1) for _, trace in traces]
    forest, flat, length, targets = np.array(sizes, np.int64).T
    columns = [
        numbers(np.array([position for position, _ in traces], np.int64)),
        strings([place.file for place in places]),
        numbers(np.array([place.row for place in places], np.int64)),
        strings([trace.id for _, trace in traces]),
        strings([trace.group for _, trace in traces]),
        strings([fingerprint(trace) or "" for _, trace in traces]),
        numbers(np.array(records, np.int32)),
        numbers(forest),
        numbers(flat),
        numbers(length),
        numbers(targets),
        strings([json.dumps([tool.name for tool in trace.tools]) for _, trace in traces]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=INDEX)


def _sizes(row: RenderedTrace) -> Sizes:
    turns = row.trained_turns
    forest = merge_turns(turns)
    return len(forest), forest.flat_tokens, row.length, sum(turn.n_targets for turn in turns)
