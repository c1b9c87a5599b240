"""Rows of data sets on the Hugging Face hub, through the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.traces.jsonio import RowError
from tooltune.traces.slices import stream_slice
from tooltune.traces.tables import json_row


def hub_rows(
    dataset_name: str,
    split: str,
    revision: str | None,
    limit: int | None,
    streaming: bool = False,
) -> Iterator[Any | RowError]:
    """Yield the first `limit` rows of a hub data set as JSON values, or as the `RowError` they are.

    `split` may be a slice (`train[:100]`; of a stream by numbers of rows only). `streaming`: rows
    are fetched as they are read, and nothing is kept on disk. What nulls mean: `tables.json_row`.
    Raises `UserError` where the data set cannot be had: no such name, split or network.
    """
    if Path(dataset_name).exists():
        raise UserError(
            f"dataset_name {dataset_name!r} is a local file or folder",
            fix=f"give it as path: {dataset_name}",
        )
    name, bounds = stream_slice(split) if streaming else (split, None)
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(
            "hub data sets need the library 'datasets'", fix="pip install datasets"
        ) from None
    extra = {"streaming": True} if streaming else {}
    rows_read = 0
    try:
        rows = load_dataset(dataset_name, split=name, revision=revision, **extra)
        if bounds is not None:
            start, stop = bounds.bounds(0)
            rows = rows.skip(start)
            wanted = [n for n in (limit, None if stop is None else stop - start) if n is not None]
            limit = min(wanted, default=None)
        for row in islice(rows, limit):
            yield json_row(row)
            rows_read += 1
    except Exception as error:  # its own classes, and those of four libraries below it
        raise _unreachable(dataset_name, split, error, rows_read) from error


def _unreachable(dataset_name: str, split: str, error: Exception, rows_read: int) -> UserError:
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    far = f"after {rows_read} rows " if rows_read else ""
    return UserError(
        f"hub data set {dataset_name!r} (split {split!r}) cannot be loaded: {far}{said}",
        fix=(
            "check the name, the split and the network; offline, download a JSON, JSON lines or "
            "Parquet file of it elsewhere and give that as path instead of dataset_name"
        ),
    )
