"""Rows of Parquet and Arrow files, a few at a time; Arrow values as the JSON values they stand for.

Formats: https://parquet.apache.org/docs/file-format/ and, for files and streams of record
batches, https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc.
Columns of JSON text stay text; who reads the row parses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from tooltune.traces.jsonio import RowError, check_value
from tooltune.traces.streams import Kind

_ROWS = 64  # rows that are turned into Python values at a time: rows of a megabyte must not add up


def table_rows(path: Path, kind: Kind) -> Iterator[Any | RowError]:
    """Yield the rows of a Parquet file, an Arrow file or a stream. Raises `OSError` if broken."""
    import pyarrow as pa

    try:
        if kind == "parquet":
            yield from _parquet_rows(path)
        else:
            yield from _arrow_rows(path, is_stream=kind == "arrow stream")
    except (pa.ArrowException, UnicodeError) as error:  # the latter: a column's name is no UTF-8
        raise OSError(str(error)) from None


def _parquet_rows(path: Path) -> Iterator[Any | RowError]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=1 << 20) as file:
        for batch in file.iter_batches(batch_size=_ROWS):
            yield from _batch_rows(batch)


def _arrow_rows(path: Path, is_stream: bool) -> Iterator[Any | RowError]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        if is_stream:
            batches = iter(pa.ipc.open_stream(source))
        else:
            file = pa.ipc.open_file(source)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        for batch in batches:
            batch.validate(full=True)  # offsets are taken as they are: damaged ones would crash
            for start in range(0, batch.num_rows, _ROWS):
                yield from _batch_rows(batch.slice(start, _ROWS))


def _batch_rows(batch: Any) -> Iterator[Any | RowError]:
    try:
        rows = batch.to_pylist(maps_as_pydicts="strict")
    except (ValueError, KeyError):  # a value that is none, somewhere: find its row
        for i in range(batch.num_rows):
            yield _single_row(batch.slice(i, 1))
        return
    yield from map(json_row, rows)


def _single_row(batch: Any) -> Any | RowError:
    try:
        return json_row(batch.to_pylist(maps_as_pydicts="strict")[0])
    except UnicodeDecodeError as error:
        return RowError("not_utf8", f"row: a text is not UTF-8 ({error.reason}); save it as UTF-8")
    except KeyError as error:
        return RowError("duplicate_key", f"row: a map has a key twice ({error}); keep one")
    except ValueError as error:
        return RowError("not_json", f"row: a value cannot be read ({error}); write it as text")


def json_row(row: Any) -> Any | RowError:
    """A row of Arrow values as a JSON value, or as the `RowError` that it is.

    Keys whose value is null are dropped at every depth below the row itself: Arrow gives each
    object of a column the keys of all others, with null (trap 7), so a null there says nothing, be
    it in a tool's schema, in arguments or in a message. The columns themselves stay, null or not.
    Dates and times become ISO 8601 text, decimals numbers.
    """
    try:
        row = {k: _plain(v) for k, v in row.items()} if isinstance(row, dict) else _plain(row)
        check_value(row)
    except RecursionError:
        return RowError("too_deep", "row: nested too deeply; flatten it")
    except RowError as error:
        return error
    return row


def _plain(value: Any) -> Any:
    """A copy without the keys whose value is null (nulls in lists stay), of JSON values.

    What is no JSON value is kept, to be refused.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return value
