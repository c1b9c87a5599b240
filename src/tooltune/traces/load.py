"""Load traces into memory: rows of any source, every one accepted or in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, overload

from tooltune.errors import UserError
from tooltune.traces.duplicates import Deduplicate, deduplicated
from tooltune.traces.formats import FORMATS
from tooltune.traces.groups import assign_groups
from tooltune.traces.identity import identify
from tooltune.traces.jsonio import RowError
from tooltune.traces.ledger import Ledger
from tooltune.traces.source import (
    NOT_SAMPLED,
    Paths,
    TraceSource,
    is_request,
    iter_rows,
    read_trace,
    trace_source,
)
from tooltune.traces.stitch import stitch as stitch_requests
from tooltune.traces.types import Source, Trace
from tooltune.traces.where import RowFiltered


@dataclass(frozen=True, eq=False)
class Traces(Sequence[Trace]):
    """The accepted traces in reading order, and the account of what was read.

    `rows_read` = accepted + rejected by this load; the rejections are in `ledger` (which may hold
    those of other loads too). Accepted rows are traces, or requests that were absorbed by one
    (`absorbed`). `format_counts` tells how many usable rows had which format, `filtered` how many
    of the rejected rows a condition of `where` left out. Rows that mixing did not take
    (`not_sampled`) are no part of `rows_read`.
    """

    items: tuple[Trace, ...]
    ledger: Ledger
    rows_read: int
    format_counts: dict[str, int] = field(default_factory=dict)
    absorbed: int = 0
    filtered: dict[str, int] = field(default_factory=dict)
    not_sampled: int = 0

    @property
    def format(self) -> str:
        """The format of the accepted rows, the most frequent first where several are mixed."""
        return ", ".join(self.format_counts)

    @property
    def rows_accepted(self) -> int:
        """Rows that are a trace or part of one."""
        return len(self.items) + self.absorbed

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
    streaming: bool = False,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    weight_by: str | None = None,
    group_by: str | None = None,
    stitch: bool | None = None,
    deduplicate: Deduplicate = "keep",
    sources: Sequence[TraceSource] | None = None,
    seed: int = 0,
) -> Traces:
    """Read traces from local files, from a hub data set, or from several of these, mixed.

    `path`: a JSON, JSON lines (both also .gz, .zst), Parquet or Arrow file, a folder that
    `datasets` saved, a glob, or several of these, whose rows follow one another. `dataset_name`: a
    hub id, with `revision`, fetched row by row where `streaming`. `sources`: several
    `source.trace_source(...)`, mixed by their `count` or `weight` (see `mix`) with `seed`.
    `split`: a split or a slice of one (`train[:100]`, `train[10:20]`, `train[:10%]`);
    local files have only `train`. `limit`: read at most the first so many rows of it.
    `format`: a name in `FORMATS`; by default each row tells its own (`formats.detect`).
    `columns`: the name in the data of a column that has another, `{"messages": "log"}`.
    `where`: conditions on columns, `{"outcome": "success", "score": ">=0.5"}` (see `where`);
    `weight_by`, `group_by`: columns that give `Trace.weight` and `Trace.group`.
    `stitch`: whether requests that repeat their history become sessions; by default those of
    formats that log requests do. `deduplicate`: keep, weight or drop (see `duplicates`).
    `ledger`: where rejected rows go, by default a new one.

    Rows that cannot be used are rejected with their code, never raised. Raises `UserError` where
    the source itself is unusable (missing, empty, broken, both or neither source named).
    """
    source = trace_source(
        path,
        dataset_name=dataset_name,
        split=split,
        revision=revision,
        limit=limit,
        format=format,
        streaming=streaming,
        columns=columns,
        where=where,
        weight_by=weight_by,
        group_by=group_by,
        stitch=stitch,
        deduplicate=deduplicate,
        sources=sources,
        seed=seed,
    )
    return load_source(source, ledger)


def load_source(source: TraceSource, ledger: Ledger | None = None) -> Traces:
    """As `load_traces`, for a source that was made before."""
    ledger = Ledger() if ledger is None else ledger
    traces: list[tuple[int, Trace]] = []
    requests: list[Trace] = []
    positions: dict[Source, int] = {}  # of the requests, in reading order
    formats: Counter[str] = Counter()
    filtered: Counter[str] = Counter()
    rows_read = not_sampled = 0
    for position, (place, value, part) in enumerate(iter_rows(source)):
        rows_read += 1
        try:
            trace, name = read_trace(value, part)
        except RowError as error:
            if error.code == NOT_SAMPLED:
                not_sampled += 1
                continue
            if isinstance(error, RowFiltered):
                filtered[error.condition] += 1
            ledger.reject(place.file, place.row, error.code, error.reason)
            continue
        formats[name] += 1
        if is_request(name, part):
            positions[place] = position
            requests.append(replace(trace, source=place))
        else:
            traces.append((position, replace(trace, source=place)))
    stitched = stitch_requests(requests)
    traces += [(positions[t.source], t) for t in stitched.traces if t.source is not None]
    ordered = [trace for _, trace in sorted(traces, key=itemgetter(0))]
    kept = deduplicated(ordered, source.deduplicate, ledger)
    return Traces(
        tuple(assign_groups(_identified(kept))),
        ledger,
        rows_read - not_sampled,
        dict(formats.most_common()),
        absorbed=stitched.absorbed,
        filtered=dict(filtered.most_common()),
        not_sampled=not_sampled,
    )


def _identified(traces: list[Trace]) -> list[Trace]:
    seen: dict[str, int] = {}
    return [identify(t, t.source, seen) for t in traces if t.source is not None]


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
    if set(traces.ledger.counts) <= _BY_CONFIG:
        fix = "correct what is asked of columns: where, columns, weight_by, group_by"
    else:
        formats = ", ".join(FORMATS)
        fix = f"repair the rows as said above, or choose another format ({formats})"
    raise UserError("\n".join(lines), fix=fix)


_BY_CONFIG = {"filtered", "missing_column"}
