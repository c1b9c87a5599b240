"""The JSON that most families write: `{"name": …, "arguments": {…}}`, or a list of such."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from tooltune.toolcalls.json_text import (
    InvalidJSON,
    is_truncated,
    read_json,
    read_scanned,
    scan_json,
    skip_space,
)
from tooltune.toolcalls.scan import Attempt
from tooltune.toolcalls.types import Status

Interpret: TypeAlias = Callable[[str, int, int], Attempt]
"""Reads the whole JSON value `text[start:end]` as a call."""


# Keys of a call that has no arguments; another one, without them, is arguments in a wrong place.
_BESIDE_ARGUMENTS = {"name", "id", "type", "index", "tool_call_id"}


class Payload(NamedTuple):
    """The attempts read, the index after them, and whether the JSON ended well."""

    attempts: list[Attempt]
    end: int
    whole: bool


def read_payload(
    text: str,
    start: int,
    end: int,
    resync: re.Pattern[str],
    interpret: Interpret | None = None,
) -> Payload:
    """Read one object or a list of objects from `start` (white space skipped).

    Broken JSON ends where `resync` next matches, or at `end`: the literal next marker, so that
    one bad call does not swallow those behind it. No attempt at all where something else begins.
    `interpret` reads each object; by default `as_object`.
    """
    interpret = interpret or as_object
    pos = skip_space(text, start, end)
    if pos == end:
        return Payload([Attempt(pos, end, status="unclosed")], end, False)
    if text.startswith("{", pos, end):
        return _read_object(text, pos, end, resync, interpret)
    if text.startswith("[", pos, end):
        return _read_list(text, pos, end, resync, interpret)
    return Payload([], pos, False)


def _read_object(
    text: str, start: int, end: int, resync: re.Pattern[str], interpret: Interpret
) -> Payload:
    after, whole = scan_json(text, start, end)
    if not whole:
        attempt = broken(text, start, after, end, resync)
        return Payload([attempt], attempt.end, False)
    return Payload([interpret(text, start, after)], after, True)


def _read_list(
    text: str, start: int, end: int, resync: re.Pattern[str], interpret: Interpret
) -> Payload:
    attempts: list[Attempt] = []
    pos = skip_space(text, start + 1, end)
    while not text.startswith("]", pos, end):
        after, whole = scan_json(text, pos, end)
        if whole:
            attempts.append(interpret(text, pos, after))
            comma = skip_space(text, after, end)
            if text.startswith(",", comma, end):
                pos = skip_space(text, comma + 1, end)
                continue
            if text.startswith("]", comma, end):
                pos = comma
                break
            status: Status = "unclosed" if comma == end else "invalid_json"
            return Payload(spoil_last(attempts, status), after, False)
        attempts.append(broken(text, pos, after, end, resync))
        return Payload(attempts, attempts[-1].end, False)
    if not attempts:
        attempts.append(Attempt(start, pos + 1))
    return Payload(attempts, pos + 1, True)


def broken(text: str, start: int, failure: int, end: int, resync: re.Pattern[str]) -> Attempt:
    """The attempt at `start` whose JSON grammar broke at index `failure`.

    It is `unclosed` if it was fine up to the end of the text or the next call, else
    `invalid_json`. A match of `resync` closes the call if it is of its group `close` or `</…`.
    """
    mark = resync.search(text, start, end)
    stop = mark.start() if mark else end
    closed = mark is not None and (mark.lastgroup == "close" or mark[0].startswith("</"))
    unclosed = not closed and is_truncated(text, failure, stop)
    return Attempt(start, stop, status="unclosed" if unclosed else "invalid_json")


def spoil_last(attempts: list[Attempt], status: Status) -> list[Attempt]:
    """Give the last attempt `status` if what surrounds it is wrong though its own JSON is right.

    An unclosed call still can be read; one that is no JSON as a whole (`invalid_json`) cannot.
    """
    if attempts and attempts[-1].status == "ok":
        last = attempts[-1]
        attempts[-1] = (
            last._replace(status=status)
            if status == "unclosed"
            else Attempt(last.start, last.end, status=status)
        )
    return attempts


def as_object(text: str, start: int, end: int) -> Attempt:
    """Read the whole JSON value `text[start:end]` as a call."""
    try:
        value = read_scanned(text[start:end])
    except InvalidJSON:
        return Attempt(start, end, status="invalid_json")
    return as_call(value, start, end)


def as_call(value: Any, start: int, end: int) -> Attempt:
    """Take name and arguments from a decoded value.

    The arguments are under `arguments` or `parameters`, an object or a JSON string of one;
    absent ones are `{}`. OpenAI's `{"type": "function", "function": {…}}` wrapper is taken off.
    """
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        return Attempt(start, end)
    name = value.get("name")
    if not isinstance(name, str) or not name.strip():
        name = None
    if not value.keys() & {"arguments", "parameters"} and value.keys() - _BESIDE_ARGUMENTS:
        return Attempt(start, end, name)
    given = value.get("arguments", value.get("parameters", {}))
    arguments, status = as_arguments(given)
    if status == "ok" and name is None:
        status = "missing_name"
    return Attempt(start, end, name, arguments or {}, arguments is not None, status)


def as_arguments(given: Any) -> tuple[dict[str, Any] | None, Status]:
    """The arguments object, or `None` and the status that says what is wrong with it."""
    if isinstance(given, str):
        try:
            given = read_json(given)
        except InvalidJSON:
            return None, "invalid_json"
    if not isinstance(given, dict):
        return None, "malformed"
    return given, "ok"
