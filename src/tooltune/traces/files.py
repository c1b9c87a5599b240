"""Rows of local files. What is on disk decides how it is read, the name only where it must."""

from __future__ import annotations

import difflib
import glob
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.traces.jsonio import RowError
from tooltune.traces.jsonrows import document_rows, holds_lines, line_rows
from tooltune.traces.streams import Kind, kind_of, open_bytes, stem_suffix
from tooltune.traces.tables import table_rows

READ_SUFFIXES = (
    *(".json", ".jsonl", ".ndjson", ".jsonlines"),
    *(".gz", ".zst", ".zstd", ".parquet", ".arrow", ".feather"),
)
_LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")
_TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")


def file_rows(path: Path) -> Iterator[Any | RowError]:
    """Yield the rows of a file in order, each a JSON value or the `RowError` that it is.

    JSON lines (blank lines are no rows), a JSON array of rows or one JSON object, each plain or
    compressed with gzip or zstd; Parquet; an Arrow file or stream.
    Raises `UserError` where there is no such file, or it is a folder, empty, broken or something
    else; for a file that breaks in the middle after the rows before that.
    """
    check_file(path)
    rows_read = 0
    try:
        for row in _rows(path, kind_of(path)):
            yield row
            rows_read += 1
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error, rows_read) from None


def _rows(path: Path, kind: Kind) -> Iterator[Any | RowError]:
    if kind in ("parquet", "arrow file", "arrow stream"):
        return table_rows(path, kind)
    return _json_rows(path, kind)


def _json_rows(path: Path, kind: Kind) -> Iterator[Any | RowError]:
    try:
        with open_bytes(path, kind) as stream:
            lines = holds_lines(stream, stem_suffix(path) in _LINE_SUFFIXES)
    except RowError:
        fix = "give a file that holds at least one row"
        raise UserError(f"{path} is empty", fix=fix) from None
    with open_bytes(path, kind) as stream:
        yield from (line_rows if lines else document_rows)(stream, str(path))


def _unreadable(path: Path, error: Exception, rows_read: int) -> UserError:
    if isinstance(error, OSError) and error.strerror and not rows_read:
        fix = "check the path and its permissions"
        return UserError(f"{path} cannot be read: {error.strerror}", fix=fix)
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(
        f"{path} is broken or cut off: {rows_read} rows could be read, then: {said}",
        fix="fetch or write the file again; no row of it is used",
    )


def expand_path(path: str | Path) -> tuple[Path, ...]:
    """The files that a path names: itself, those a glob matches (sorted), or a saved data set's.

    Raises `UserError` where it is none of them, as `check_file` does.
    """
    text = str(path)
    if glob.has_magic(text) and not os.path.exists(text):
        found = sorted(name for name in glob.glob(text, recursive=True) if os.path.isfile(name))
        if not found:
            raise UserError(f"{text} matches no file", fix=_glob_fix(text))
        files = tuple(Path(name) for name in found)
    elif os.path.isfile(os.path.join(text, "state.json")):  # what datasets' save_to_disk writes
        files = tuple(sorted(Path(text).glob("*.arrow")))
    else:
        files = (Path(path),)
    for file in files:
        check_file(file)
    return files


def _glob_fix(pattern: str) -> str:
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    names = [name for name in _names_in(Path(folder or ".")) if name.endswith(READ_SUFFIXES)]
    if names:
        return f"check the pattern; the folder {folder or '.'} has {', '.join(names[:5])}"
    return f"check the pattern; the folder {folder or '.'} has no file that could be read"


def check_file(path: Path) -> None:
    """Raise `UserError` unless `path` is a file of a kind that can hold rows."""
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder, not a file", fix=_folder_fix(path))
    if not os.path.exists(path):  # unlike Path.exists, false for names that cannot exist
        raise UserError(f"{str(path)[:200]}: no such file", fix=_missing_file_fix(path))
    if path.suffix.lower() in _TABLE_SUFFIXES:
        raise UserError(
            f"{path}: {path.suffix} files are not read",
            fix="give JSON, JSON lines or Parquet, as datasets' Dataset.to_json writes",
        )


def _folder_fix(path: Path) -> str:
    names = _names_in(path)
    if "dataset_dict.json" in names:
        splits = [name for name in names if os.path.isdir(path / name)]
        return f"give the folder of one split: {' or '.join(str(path / s) for s in splits[:5])}"
    found = [name for name in names if name.endswith(READ_SUFFIXES)]
    if not found:
        return "give a JSON file"
    suffix = Path(found[0]).suffix
    return f"give one or more of its files: {', '.join(found[:5])}, or {path / f'*{suffix}'}"


def _missing_file_fix(path: Path) -> str:
    close = difflib.get_close_matches(path.name, _names_in(path.parent), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(str(path.parent / name) for name in close)}?"
    if len(path.parts) == 2 and not path.suffix:
        return f"check the path, or name a hub data set: dataset_name: {path}"
    if not os.path.isdir(path.parent):
        return f"check the path: its folder {str(path.parent)[:200]} does not exist either"
    return f"check the path: the folder {path.parent} has no file with a name like it"


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []
