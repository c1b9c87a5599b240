"""Write rows into every kind of file that can be read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_bytes(as_lines(rows))
    return path


def as_lines(rows: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def as_array(rows: Sequence[Any]) -> bytes:
    return json.dumps(rows, ensure_ascii=False).encode()


def as_indented_array(rows: Sequence[Any]) -> bytes:
    return b"\xef\xbb\xbf" + json.dumps(rows, indent=2).encode() + b"\n"


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


JSON_FILES: dict[str, Callable[[Sequence[Any]], bytes]] = {
    "a.jsonl": as_lines,
    "a.json": as_array,
    "b.json": as_indented_array,
    "a.jsonl.gz": lambda rows: gzip.compress(as_lines(rows)),
    "a.json.gz": lambda rows: gzip.compress(as_indented_array(rows)),
    "a.jsonl.zst": lambda rows: zstd(as_lines(rows)),
    "a.json.zst": lambda rows: zstd(as_array(rows)),
    "two_members.jsonl.gz": lambda rows: (
        gzip.compress(as_lines(rows[:1])) + gzip.compress(as_lines(rows[1:]))
    ),
    "named_wrongly.jsonl": lambda rows: gzip.compress(as_lines(rows)),
}


def write_table(path: Path, rows: Sequence[Any]) -> Path:
    """Parquet, an Arrow file or (`.stream.arrow`) an Arrow stream, in small batches."""
    table = pa.Table.from_pylist(list(rows))
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=3)
        return path
    opened = pa.ipc.new_stream if path.name.endswith(".stream.arrow") else pa.ipc.new_file
    with opened(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path


TABLE_FILES = ("a.parquet", "a.arrow", "a.stream.arrow")
