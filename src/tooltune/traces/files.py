"""Rows of local JSON and JSON lines files. What is on disk decides how it is read.

Lines end at the byte 0x0A and nowhere else: U+2028 and U+0085 inside texts are data (trap 9).
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.traces.jsonio import (
    JSONSyntaxError,
    RowError,
    decode_at,
    decode_utf8,
    loads,
    skip_space,
    skip_value,
)

_BOM = b"\xef\xbb\xbf"
_LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")
_OTHER_KINDS = (".parquet", ".arrow", ".csv", ".tsv", ".gz", ".zip", ".zst", ".bz2", ".xz")


def file_rows(path: Path) -> Iterator[Any | RowError]:
    """Yield the rows of a file in order, each a JSON value or the `RowError` that it is.

    Read as JSON lines (blank lines are no rows), as a JSON array of rows, or as one JSON object.
    Raises `UserError` where there is no such file, or it is a folder, empty or not JSON.
    """
    check_file(path)
    try:
        with path.open("rb") as stream:
            begin = list(islice((line for line in map(_bare, stream) if line), 2))
        if not begin:
            raise UserError(f"{path} is empty", fix="give a file that holds at least one row")
        yield from _line_rows(path) if _holds_lines(path, *begin) else _document_rows(path)
    except OSError as error:
        fix = "check the path and its permissions"
        raise UserError(f"{path} cannot be read: {error.strerror}", fix=fix) from None


def check_file(path: Path) -> None:
    """Raise `UserError` unless `path` is a file of a kind that can hold rows."""
    if os.path.isdir(path):
        found = [name for name in _names_in(path) if name.endswith((".json", *_LINE_SUFFIXES))]
        names = f"one or more of its files: {', '.join(found[:5])}" if found else "a JSON file"
        raise UserError(f"{path} is a folder, not a file", fix=f"give {names}")
    if not os.path.exists(path):  # unlike Path.exists, false for names that cannot exist
        raise UserError(f"{str(path)[:200]}: no such file", fix=_missing_file_fix(path))
    if path.suffix.lower() in _OTHER_KINDS:
        raise UserError(
            f"{path}: {path.suffix} files are not read",
            fix="give JSON or JSON lines, for example what datasets' Dataset.to_json writes",
        )


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


def _bare(line: bytes) -> bytes:
    # Concatenated files have byte order marks in the middle, so any line may start with one.
    return line.removeprefix(_BOM).strip()


def _holds_lines(path: Path, first: bytes, second: bytes = b"") -> bool:
    """Whether a file whose lines (blank ones left out) begin like this holds a row per line."""
    if path.suffix.lower() in _LINE_SUFFIXES:
        return not first.startswith(b"[") or (bool(second) and _is_json(first))
    return first.startswith(b"{") and _is_json(first)


def _is_json(line: bytes) -> bool:
    try:
        loads(line)
    except RowError as error:
        return error.code not in ("invalid_json", "not_utf8")
    return True


def _line_rows(path: Path) -> Iterator[Any | RowError]:
    broken: list[RowError] = []  # rows before the first one that is JSON
    any_json = False
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not _bare(line):
                continue
            row = _line_row(line.rstrip(b"\r\n"), f"line {number}")
            if any_json:
                yield row
            elif isinstance(row, RowError) and row.code in ("invalid_json", "not_utf8"):
                broken.append(row)
            else:
                any_json = True
                yield from broken
                yield row
    if not any_json:
        raise UserError(
            f"{path} is not JSON: {broken[0].reason}",
            fix="give JSON lines (one object per line) or a JSON array of objects",
        )


def _line_row(line: bytes, where: str) -> Any | RowError:
    try:
        return loads(line, where)
    except JSONSyntaxError as error:
        what = f"{where}, column {error.column}: not JSON: {error.what}"
        return RowError(error.code, f"{what}; write one whole JSON object per line")
    except RowError as error:
        return error


def _document_rows(path: Path) -> Iterator[Any | RowError]:
    try:
        text = decode_utf8(path.read_bytes(), "the file")
        if text[skip_space(text, 0)] == "[":
            yield from _array_rows(text)
        else:
            row, end = _element(text, skip_space(text, 0))
            yield row
            _expect_end(text, end)
    except RowError as error:
        what = error.reason
        if isinstance(error, JSONSyntaxError):
            what = f"line {error.line}, column {error.column}: {error.what}"
        raise UserError(
            f"{path} is not JSON: {what}",
            fix="give a JSON array of objects, or JSON lines (one object per line)",
        ) from None


def _array_rows(text: str) -> Iterator[Any | RowError]:
    """The elements of the array that `text` is; a refused element does not hide the others."""
    at = skip_space(text, skip_space(text, 0) + 1)
    closed = text[at : at + 1] == "]"
    while not closed:
        row, at = _element(text, at)
        yield row
        at = skip_space(text, at)
        closed = text[at : at + 1] == "]"
        if not closed:
            _expect(text, at, ",")
            at = skip_space(text, at + 1)
    _expect_end(text, at + 1)


def _element(text: str, start: int) -> tuple[Any | RowError, int]:
    try:
        return decode_at(text, start, "row")
    except JSONSyntaxError:
        raise
    except RowError as error:
        end = skip_value(text, start)
        if end is None:
            raise
        return error, end


def _expect(text: str, at: int, character: str) -> None:
    if text[at : at + 1] != character:
        error = json.JSONDecodeError(f"Expecting {character!r}", text, at)
        raise JSONSyntaxError(error, "row")


def _expect_end(text: str, at: int) -> None:
    at = skip_space(text, at)
    if at != len(text):
        raise JSONSyntaxError(json.JSONDecodeError("Extra data", text, at), "row")
