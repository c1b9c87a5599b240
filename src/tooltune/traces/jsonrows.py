"""Rows of JSON texts: one per line, the elements of an array, or one object. Memory is bounded.

Lines end at the byte 0x0A and nowhere else: U+2028 and U+0085 inside texts are data (trap 9). An
array is decoded element by element out of a window that moves over the stream.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import IO, Any

from tooltune.errors import UserError
from tooltune.traces.jsonio import (
    JSONSyntaxError,
    RowError,
    decode_at,
    loads,
    skip_space,
    skip_value,
)

MAX_ROW = 100_000_000
"""Bytes (of a line) or characters (of an element) that one row may have."""

_CHUNK = 1 << 20
_MAX_BROKEN = 10_000  # lines at the beginning that are not JSON, until a file is no JSON lines
_NEAR_END = 16  # a JSON token that the window cuts begins at most so many characters before its end
_BOM = b"\xef\xbb\xbf"
_MARKS = re.compile(r'["\\\[\]{}]')
_NOT_JSON = ("invalid_json", "not_utf8")
_DOCUMENT_FIX = "give a JSON array of objects, or JSON lines (one object per line)"


def holds_lines(stream: IO[bytes], lines_by_name: bool) -> bool:
    """Whether a stream is to be read as one row per line.

    `lines_by_name`: its name says so, which is believed unless it begins with an array. Raises
    `RowError("empty", ...)` where there is nothing but white space.
    """
    begin = _next_line(stream, _CHUNK)
    if not begin:
        raise RowError("empty", "there is nothing but white space")
    if not begin.startswith(b"[" if lines_by_name else b"{"):
        return lines_by_name
    if not begin.endswith(b"\n"):
        begin += stream.readline(MAX_ROW)
    if lines_by_name:  # rows that are lists, each in a line, or one array
        return len(begin) <= MAX_ROW and _is_json(begin) and bool(_next_line(stream, _CHUNK))
    return len(begin) > MAX_ROW or _is_json(begin)


def _next_line(stream: IO[bytes], size: int) -> bytes:
    """The next line that is not blank, or `size` bytes of it; empty at the end.

    Concatenated files have byte order marks in the middle, so any line may start with one.
    """
    while line := stream.readline(size):
        if line.removeprefix(_BOM).strip():
            return line.removeprefix(_BOM).lstrip()
    return b""


def _is_json(line: bytes) -> bool:
    try:
        loads(line)
    except RowError as error:
        return error.code not in _NOT_JSON
    return True


def line_rows(stream: IO[bytes], name: str) -> Iterator[Any | RowError]:
    """Yield a row per line that is not blank. Raises `UserError` where no line is JSON."""
    broken: list[RowError] = []  # rows before the first one that is JSON
    any_json = False
    number = 0
    while line := stream.readline(MAX_ROW + 1):
        number += 1
        if len(line) > MAX_ROW:
            row: Any = _too_large(f"line {number}")
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
        elif not line.removeprefix(_BOM).strip():
            continue
        else:
            row = _line_row(line.rstrip(b"\r\n"), number)
        if any_json:
            yield row
        elif isinstance(row, RowError) and row.code in _NOT_JSON and len(broken) < _MAX_BROKEN:
            broken.append(row)
        elif len(broken) == _MAX_BROKEN:
            break
        else:
            any_json = True
            yield from broken
            yield row
    if not any_json:
        raise UserError(
            f"{name} is not JSON: {broken[0].reason}",
            fix="give JSON lines (one object per line) or a JSON array of objects",
        )


def _line_row(line: bytes, number: int) -> Any | RowError:
    try:
        return loads(line, f"line {number}")
    except JSONSyntaxError as error:
        what = f"line {number}, column {error.column}: not JSON: {error.what}"
        return RowError(error.code, f"{what}; write one whole JSON object per line")
    except RowError as error:
        return error


def _too_large(where: str) -> RowError:
    reason = f"{where}: a row of over {MAX_ROW:,} characters; split it, or leave it out"
    return RowError("row_too_large", reason)


def document_rows(stream: IO[bytes], name: str) -> Iterator[Any | RowError]:
    """Yield the elements of the array that a stream holds, or the one value that it is.

    A refused element does not hide those behind it. Raises `UserError` with line and column from
    where on the text is not JSON.
    """
    window = _Window(stream)
    try:
        if window.peek() == "[":
            yield from _elements(window)
        else:
            yield _element(window)
        if window.peek():
            raise window.wrong("Extra data")
    except JSONSyntaxError as error:
        line, column = window.place(error)
        what = f"line {line}, column {column}: {error.what}"
        raise UserError(f"{name} is not JSON: {what}", fix=_DOCUMENT_FIX) from None
    except RowError as error:
        raise UserError(f"{name} is not JSON: {error.reason}", fix=_DOCUMENT_FIX) from None


def _elements(window: _Window) -> Iterator[Any | RowError]:
    window.at += 1
    closed = window.peek() == "]"
    while not closed:
        yield _element(window)
        closed = window.peek() == "]"
        if not closed:
            if window.peek() != ",":
                raise window.wrong("Expecting ',' delimiter")
            window.at += 1
            window.peek()
    window.at += 1


def _element(window: _Window) -> Any | RowError:
    """Decode the value at the window's place, widening the window until the value is inside."""
    while True:
        text = window.text
        found: Any
        try:
            found, end = decode_at(text, window.at, "row")
        except JSONSyntaxError as error:
            cut = error.position > len(text) - _NEAR_END or error.what.startswith("Unterminated")
            if window.ended or not cut:
                raise
            found, end = error, len(text)
        except RowError as error:
            found, known = error, skip_value(text, window.at)
            if known is None and window.ended:
                raise
            end = len(text) if known is None else known
        if end < len(text) - 2 or window.ended:  # two: a number may go on behind "1." or "1e+"
            window.at = end
            return found
        if len(text) - window.at > MAX_ROW:
            return _skip_large(window)
        window.widen()


def _skip_large(window: _Window) -> RowError:
    """Go behind a value that is too large to be held, by its quotes and brackets."""
    if window.text[window.at] not in '"[{':
        raise _too_large(f"line {window.line}")
    found = _too_large(f"the row that begins near line {window.line}")
    depth, quoted, escaped = 0, False, -1
    while True:
        for mark in _MARKS.finditer(window.text, window.at):
            sign, at = mark.group(), mark.start()
            if at == escaped:
                continue
            if quoted:
                escaped = at + 1 if sign == "\\" else escaped
                quoted = sign != '"'
            elif sign == '"':
                quoted = True
            else:
                depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(sign, 0)
            if depth <= 0 and not quoted:
                window.at = mark.end()
                return found
        if window.ended:
            raise found
        escaped -= len(window.text)  # 0 where a backslash was the last character
        window.at = len(window.text)
        window.widen()


class _Window:
    """The part of a UTF-8 text that is being decoded; `at` is the place in `text`.

    `line` (from 1) and `column` (from 0) are those of `text[0]`. Raises `RowError("not_utf8")`.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.text, self.at, self.ended = "", 0, False
        self.line, self.column = 1, 0
        self._stream = stream
        self._bytes = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def widen(self) -> None:
        """Drop what lies before `at`; read as much again as is left, a chunk at least."""
        gone, rest = self.text[: self.at], self.text[self.at :]
        lines = gone.count("\n")
        self.line += lines
        self.column = len(gone) - gone.rfind("\n") - 1 if lines else self.column + len(gone)
        data = self._stream.read(max(_CHUNK, len(rest)))
        self.ended = not data
        if not self._bytes and data.startswith(_BOM):
            data, self._bytes = data[len(_BOM) :], len(_BOM)
        pending = len(self._decoder.getstate()[0])
        try:
            self.text, self.at = rest + self._decoder.decode(data, final=self.ended), 0
        except UnicodeDecodeError as error:
            where = self._bytes - pending + error.start
            reason = f"byte {where} is not UTF-8 ({error.reason}); save it as UTF-8"
            raise RowError("not_utf8", reason) from None
        self._bytes += len(data)

    def peek(self) -> str:
        """The character behind white space, to which `at` moves; "" at the end of the text."""
        while True:
            self.at = skip_space(self.text, self.at)
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.widen()

    def wrong(self, what: str) -> JSONSyntaxError:
        return JSONSyntaxError(JSONDecodeError(what, self.text, self.at), "row")

    def place(self, error: JSONSyntaxError) -> tuple[int, int]:
        """Line and column in the whole text of an error in the window."""
        first = self.column if error.line == 1 else 0
        return self.line + error.line - 1, first + error.column
