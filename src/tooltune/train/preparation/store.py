"""One entry of the cache: the prepared form of one source, on disk, read where it lies.

```
prepared/KEY/  records.arrows  Arrow IPC stream of `codec.SCHEMA`, one batch a chunk
               index.arrow     Arrow IPC file of `Index` columns, one row a trace, in reading order
               ledger.jsonl    rejected rows, in reading order
               manifest.json   what it was made of, counts, sizes and checksums of the files above
```
An entry is written in a hidden sibling folder, flushed and renamed: it is there whole or not at
all. Records are mapped into memory; a step touches the pages of its own traces only.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tooltune.errors import UserError
from tooltune.render.turns import RenderedTrace
from tooltune.traces.groups import group_names
from tooltune.traces.identity import TraceKey
from tooltune.traces.ledger import Rejection
from tooltune.traces.types import Source
from tooltune.train import durable
from tooltune.train.preparation.chunks import INDEX, NOT_RENDERED, Chunk, Rejected
from tooltune.train.preparation.codec import SCHEMA, decode_row
from tooltune.train.preparation.columns import array_of, numbers, strings, text_list

RECORDS, INDEX_FILE, LEDGER, MANIFEST = (
    "records.arrows",
    "index.arrow",
    "ledger.jsonl",
    "manifest.json",
)
# Records up to this size are checked whole when an entry is opened; of larger ones each chunk is
# when it is first read. A second of reading, at worst.
_CHECKED_AT_ONCE = 512 * 2**20


class Damaged(Exception):
    """An entry that is incomplete or was altered; the text says where."""


class StoreWriter:
    """Fills the folder of an entry: `add` chunks in any order of positions, then `finish`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rejected: list[Rejected] = []
        self.formats: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._chunks: list[list[int]] = []
        self._index: list[pa.RecordBatch] = []
        self._records = (folder / RECORDS).open("wb")
        self._write(SCHEMA.serialize().to_pybytes())

    def add(self, chunk: Chunk) -> None:
        self.rejected += chunk.rejected
        self.formats.update(chunk.formats)
        self.filtered.update(chunk.filtered)
        self.counts.update(chunk.counts)
        if chunk.index is not None:
            number = numbers(np.full(len(chunk.index), len(self._chunks), np.int32))
            self._index.append(chunk.index.append_column("chunk", number))
        if chunk.records:
            start = self._records.tell()
            self._chunks.append([start, len(chunk.records), zlib.crc32(chunk.records)])
            self._write(chunk.records)

    def finish(self, inputs: dict[str, Any] | None, rows_read: int, **counts: int) -> None:
        """Write index, ledger and manifest; flush everything. `counts` join the account."""
        self._write(_END_OF_STREAM)
        self._records.close()
        self._write_index()
        with (self.folder / LEDGER).open("wb") as ledger:
            for item in sorted(self.rejected, key=lambda item: item.position):
                entry = Rejection(item.place.file, item.place.row, item.code, item.reason)
                line = json.dumps(asdict(entry), ensure_ascii=True)
                ledger.write(line.encode() + b"\n")
        manifest = {
            "inputs": inputs,
            "rows_read": rows_read,
            "formats": dict(self.formats.most_common()),
            "filtered": dict(self.filtered.most_common()),
            "counts": {**self.counts, **counts},
            "chunks": self._chunks,
            "files": {name: (self.folder / name).stat().st_size for name in _FILES},
            "sha256": {name: durable.sha256(self.folder / name) for name in (INDEX_FILE, LEDGER)},
        }
        text = json.dumps({**manifest, "check": _check(manifest)}, default=str)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        durable.flush_tree(self.folder)

    def _write(self, data: bytes) -> None:
        self._records.write(data)

    def _write_index(self) -> None:
        """The index in reading order, with what only all rows together tell: ids and groups."""
        schema = INDEX.append(pa.field("chunk", pa.int32()))
        table = pa.Table.from_batches(self._index, schema=schema).sort_by("position")
        seen: dict[str, int] = {}
        ids = []
        for name in text_list(table["content_id"]):  # copies are numbered as `identify` does
            count = seen[name] = seen.get(name, 0) + 1
            ids.append(name if count == 1 else f"{name}-{count}")
        table = table.append_column("id", strings(ids))
        groups = strings(group_names(_keys(table)))
        table = table.set_column(table.schema.get_field_index("group"), "group", groups)
        with (
            pa.OSFile(str(self.folder / INDEX_FILE), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)

    def close(self) -> None:
        self._records.close()


_FILES = (RECORDS, INDEX_FILE, LEDGER)
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # Arrow IPC format: continuation, length 0


@dataclass(frozen=True, eq=False)
class Store:
    """An open entry. Rows of its index are numbered from 0, in reading order."""

    folder: Path
    manifest: dict[str, Any]
    index: pa.Table
    rejections: tuple[Rejection, ...]
    records: pa.Buffer

    @property
    def rows_read(self) -> int:
        return int(self.manifest["rows_read"])

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.manifest["counts"])

    @cached_property
    def keys(self) -> list[TraceKey]:
        """The key of every trace that was read, rendered or not."""
        return _keys(self.index)

    @cached_property
    def rendered(self) -> NDArray[np.bool_]:
        """Whether each trace of the index has a record."""
        return np.asarray(self.numbers("record") != NOT_RENDERED, np.bool_)

    def numbers(self, column: str) -> NDArray[Any]:
        """A column of the index as an array."""
        return array_of(self.index[column])

    def tools(self, rows: NDArray[np.int64]) -> frozenset[str]:
        """The names of all tools that the traces of some rows had."""
        lists = set(self.index["tools"].take(numbers(rows)).to_pylist())
        return frozenset(name for names in lists for name in json.loads(names))

    def read(self, row: int, key: TraceKey) -> RenderedTrace:
        """The rendered trace of a row of the index, under the name, group and place of `key`.

        Raises: UserError where its chunk was altered on disk since it was written.
        """
        chunk = self.index["chunk"][row].as_py()
        batch = self._batch(chunk)
        about = {"id": key.id, "group": key.group, "source": key.source}
        return decode_row(batch, self.index["record"][row].as_py(), about)

    def damage(self) -> str | None:
        """What is wrong with the records, all of them read; None where nothing is."""
        for chunk in range(len(self.manifest["chunks"])):
            if not self._sound(chunk):
                return f"chunk {chunk} of {RECORDS} was altered"
        return None

    @cached_property
    def _known_sound(self) -> set[int]:
        return set()

    def _batch(self, chunk: int) -> pa.RecordBatch:
        if chunk not in self._known_sound and not self._sound(chunk):
            (self.folder / MANIFEST).unlink(missing_ok=True)
            raise UserError(
                f"{self.folder / RECORDS} was altered on disk: chunk {chunk} has another checksum",
                fix="start the same command again: the data are prepared anew",
            )
        return pa.ipc.read_record_batch(self._message(chunk), SCHEMA)

    def _sound(self, chunk: int) -> bool:
        sound = bool(zlib.crc32(self._message(chunk)) == self.manifest["chunks"][chunk][2])
        if sound:
            self._known_sound.add(chunk)
        return sound

    def _message(self, chunk: int) -> pa.Buffer:
        start, length, _ = self.manifest["chunks"][chunk]
        return self.records.slice(start, length)


def _keys(index: pa.Table) -> list[TraceKey]:
    ids, groups, contents, marks, names = (
        text_list(index[name]) for name in ("id", "group", "content_id", "fingerprint", "file")
    )
    files: dict[str, str] = {}  # one string for each file, not one for each row
    places = [
        Source(files.setdefault(name, name), row)
        for name, row in zip(names, array_of(index["row"]).tolist(), strict=True)
    ]
    return [
        TraceKey(name, group, content_id, mark or None, place)
        for name, group, content_id, mark, place in zip(
            ids, groups, contents, marks, places, strict=True
        )
    ]


def open_store(folder: Path) -> Store | None:
    """The entry at `folder`, or None where there is none.

    Raises: Damaged where it is incomplete or was altered, as far as that is checked at once.
    """
    if not folder.is_dir():
        return None
    manifest = _read_manifest(folder)
    for name, size in manifest["files"].items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            raise Damaged(f"{name} has {found} bytes, not {size}")
    for name, digest in manifest["sha256"].items():
        if durable.sha256(folder / name) != digest:
            raise Damaged(f"{name} was altered")
    with pa.memory_map(str(folder / INDEX_FILE)) as source:
        index = pa.ipc.open_file(source).read_all()
    lines = (folder / LEDGER).read_bytes().split(b"\n")
    rejections = tuple(Rejection(**json.loads(line)) for line in lines if line)
    with pa.memory_map(str(folder / RECORDS)) as source:
        records = source.read_buffer()
    store = Store(folder, manifest, index, rejections, records)
    if records.size <= _CHECKED_AT_ONCE and (damage := store.damage()) is not None:
        raise Damaged(damage)
    return store


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        check = manifest.pop("check")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise Damaged(f"{MANIFEST} cannot be read ({type(error).__name__})") from error
    if check != _check(manifest):
        raise Damaged(f"{MANIFEST} was altered")
    return manifest


def _check(manifest: dict[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
