"""Rows of data sets on the Hugging Face hub, through the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.traces.jsonio import RowError, check_value


def hub_rows(
    dataset_name: str, split: str, revision: str | None, limit: int | None
) -> Iterator[Any | RowError]:
    """Yield the first `limit` rows of a hub data set as JSON values, or as the `RowError` they are.

    `split` may be a slice (`train[:100]`). Keys whose value is null are dropped at every depth:
    Arrow gives each object of a column the keys of all others, with null (trap 7), so a null
    there says nothing, be it in a tool's schema, in arguments or in a message. JSON columns
    stored as text keep their nulls.
    Raises `UserError` where the data set cannot be had: no such name, split or network.
    """
    if Path(dataset_name).exists():
        raise UserError(
            f"dataset_name {dataset_name!r} is a local file or folder",
            fix=f"give it as path: {dataset_name}",
        )
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(
            "hub data sets need the library 'datasets'", fix="pip install datasets"
        ) from None
    try:
        rows = load_dataset(dataset_name, split=split, revision=revision)
    except Exception as error:  # its own classes, and those of four libraries below it
        raise _unreachable(dataset_name, split, error) from error
    for row in islice(rows, limit):
        yield _checked(row)


def _checked(row: Any) -> Any | RowError:
    try:
        check_value(row)
    except RowError as error:
        return error
    return drop_nulls(row)


def drop_nulls(value: Any) -> Any:
    """A copy of a JSON value without the keys whose value is `None`; nulls in lists stay."""
    if isinstance(value, dict):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [drop_nulls(item) for item in value]
    return value


def _unreachable(dataset_name: str, split: str, error: Exception) -> UserError:
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return UserError(
        f"hub data set {dataset_name!r} (split {split!r}) cannot be loaded: {said}",
        fix=(
            "check the name, the split and the network; offline, download a JSON or JSON lines "
            "file of it elsewhere and give that as path instead of dataset_name"
        ),
    )
