"""A source to its entry of the cache: found there, or read, stitched, rendered and stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tooltune.models.builtin import cache_directory
from tooltune.render.turns import Renderer
from tooltune.traces.jsonio import RowError
from tooltune.traces.source import NOT_SAMPLED, TraceSource, iter_rows
from tooltune.train.preparation.chunks import Chunk, Rejected, Row, Stored, Task
from tooltune.train.preparation.key import key_inputs, key_of_inputs
from tooltune.train.preparation.stages import Requests, Spool
from tooltune.train.preparation.staging import publish, staged_folder
from tooltune.train.preparation.store import Damaged, Store, StoreWriter, open_store
from tooltune.train.preparation.workers import PATIENCE, run_tasks

CHUNK = 32  # rows of a task: what is in memory at a time, for each worker


def _silent(_: Any) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Preparing:
    """How to prepare, and whom to tell: none of it changes the outcome.

    progress: told the number of rows read so far. say: told what a person should know.
    workers: processes; None: chosen by the cores, 0 or 1: this process alone.
    patience: seconds of work in this process before the others are started.
    """

    progress: Callable[[int], None] = _silent
    say: Callable[[str], None] = _silent
    workers: int | None = None
    patience: float = PATIENCE


def prepared_folder() -> Path:
    """Where prepared data are cached; safe to delete, while nothing runs."""
    return cache_directory() / "prepared"


def prepare_source(source: TraceSource, renderer: Renderer, how: Preparing | None = None) -> Store:
    """The prepared form of a source under a renderer: from the cache if nothing changed.

    Raises: UserError for a source that cannot be read and for a cache that cannot be written.
    """
    how = how or Preparing()
    inputs = key_inputs(source, renderer)
    if inputs is None:
        how.say(
            "this source's version cannot be told, so its prepared form is not kept: every start "
            "prepares it anew (revision: COMMIT would let it be kept)"
        )
        return _prepare_once(source, renderer, how)
    folder = prepared_folder() / key_of_inputs(inputs)
    try:
        found = open_store(folder)
    except Damaged as damage:
        how.say(f"the prepared data in {folder} are damaged ({damage}) and are made anew")
        found = None
    if found is not None:
        return found
    with staged_folder(prepared_folder()) as staged:
        _prepare(source, renderer, how, staged, inputs)
        publish(staged, folder)
    store = open_store(folder)
    assert store is not None
    return store


def _prepare_once(source: TraceSource, renderer: Renderer, how: Preparing) -> Store:
    """A store whose files are gone: what is mapped stays readable until it is let go."""
    with staged_folder(prepared_folder()) as staged:
        _prepare(source, renderer, how, staged, None)
        store = open_store(staged)
    assert store is not None
    return store


def _prepare(
    source: TraceSource,
    renderer: Renderer,
    how: Preparing,
    folder: Path,
    inputs: dict[str, Any] | None,
) -> None:
    writer = StoreWriter(folder)
    requests = Requests(folder)
    spool = None if source.deduplicate == "keep" else Spool(folder)
    account = _Account()
    try:
        rows = _rows(source, writer, account)
        for chunk in _run(_tasks(rows, only_read=spool is not None), renderer, how):
            requests.add(chunk.requests)
            if spool is not None:
                spool.add(chunk.unrendered)
            writer.add(chunk)
            how.progress(account.rows_read)
        waiting: Iterable[Stored] = _counted(requests.stitched(), account)
        if spool is not None:
            spool.add(waiting)
            waiting = _kept(spool.deduplicated(source.deduplicate), writer)
        for chunk in _run(_tasks(waiting), renderer, how):
            writer.add(chunk)
        absorbed = requests.rows - account.stitched
        writer.finish(inputs, account.rows_read, absorbed=absorbed, not_sampled=account.not_sampled)
    finally:
        writer.close()


@dataclass(slots=True)
class _Account:
    rows_read: int = 0
    not_sampled: int = 0
    stitched: int = 0


def _rows(source: TraceSource, writer: StoreWriter, account: _Account) -> Iterator[Row]:
    """The rows to read, each at its position; the broken ones go to the ledger."""
    for position, (place, value, part) in enumerate(iter_rows(source)):
        if not isinstance(value, RowError):
            account.rows_read += 1
            yield Row(position, place, value, part)
        elif value.code == NOT_SAMPLED:
            account.not_sampled += 1
        else:
            account.rows_read += 1
            writer.rejected.append(Rejected(position, place, value.code, value.reason))


def _counted(traces: Iterable[Stored], account: _Account) -> Iterator[Stored]:
    for trace in traces:
        account.stitched += 1
        yield trace


def _kept(items: Iterable[Stored | Rejected], writer: StoreWriter) -> Iterator[Stored]:
    for item in items:
        if isinstance(item, Rejected):
            writer.rejected.append(item)
        else:
            yield item


def _tasks(items: Iterable[Row | Stored], *, only_read: bool = False) -> Iterator[Task]:
    rest = iter(items)
    while some := tuple(islice(rest, CHUNK)):
        yield Task(some, only_read)


def _run(tasks: Iterator[Task], renderer: Renderer, how: Preparing) -> Iterator[Chunk]:
    return run_tasks(tasks, renderer, workers=how.workers, patience=how.patience)
