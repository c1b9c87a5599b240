"""Calls written as Python: `f(a=1, b="x")`, one or several, in brackets or one a line.

The reader for generated text. Traces have their own (`traces.formats.shared.python_calls`), which
refuses a row at its first fault; here every attempt gets a record, what is cut off is told from
what is wrong, and the text goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from tooltune.toolcalls.json_text import skip_space
from tooltune.toolcalls.nested import Value
from tooltune.toolcalls.payload import Payload
from tooltune.toolcalls.python_text import is_partial, read_value
from tooltune.toolcalls.scan import Attempt, Reading, Schemas
from tooltune.toolcalls.types import Status

NAME = r"[^\s()\[\]{}\"'=,;:<>`|][^()\[\]{}\"'=,;<>`|\n]{0,200}+"
_HEAD = re.compile(rf"({NAME})?+\((\s*+\))?+")
_PARTIAL_NAME = re.compile(rf"(?:{NAME})?\s*+")
_KEY = re.compile(r"([^\s()\[\]{}\"'=,][^()\[\]{}\"'=,\n]{0,200}+)=(?!=)")
# The arguments that stand in most calls, at one match; what any other is takes `_KEY` and more.
_PLAIN = re.compile(r"([^\W\d]\w{0,200}+)=(?:(0|-?[1-9][0-9]{0,14}+)|\"([ !#-\[\]-~]*+)\")(?=[,)])")
_PARTIAL_KEY = re.compile(r"[^()\[\]{}\"'=,\n<>]*+")
_KEY_AHEAD = r"[^\s()\[\]{}\"'=,][^()\[\]{}\"'=,\n]{0,200}+="
# Quotes inside a text in single quotes count as its own unless something that can follow an
# argument stands behind them. The text ends before the next marker at the latest: linear time.
_UNESCAPED = re.compile(
    rf"""'((?:[^'\\<]++|\\.|<(?!\|)|'(?!\s*+(?:
        \Z|,\s*+(?:{_KEY_AHEAD}|["'\[{{(\d+-])|\)\s*+(?:\Z|[\],;]|<\||{NAME}\())))*+)'""",
    re.DOTALL | re.VERBOSE,
)
_PRINT = re.compile(rf"print\(\s*+(?=(?:{NAME})?+\()")
_APOSTROPHE = re.compile(r"(\\.)|'", re.DOTALL)


class Style(NamedTuple):
    """How a family writes its calls.

    `resync` matches where reading goes on behind a broken call, `closer` is what it matches where
    the call was closed. `raw_quotes`: texts in single quotes may hold such quotes unescaped.
    `wrapped`: a call may stand in `print(…)`. `by_line`: there are no markers, and a broken
    call ends where it broke; the caller goes on to the end of that line if it is one.
    """

    resync: re.Pattern[str]
    closer: str
    raw_quotes: bool = False
    wrapped: bool = False
    by_line: bool = False


_Read: TypeAlias = tuple[Attempt, int | None]
"""One call: its attempt, and where the grammar broke (None where it did not)."""


def read_calls(text: str, start: int, end: int, schemas: Schemas, style: Style) -> Payload:
    """Read calls from `start` (white space skipped): a list in brackets, or one after the other.

    Broken calls end where `style.resync` next matches, or at `end`. There is no attempt where
    neither a bracket nor a call begins.
    """
    pos = skip_space(text, start, end)
    if pos == end:
        return Payload([Attempt(pos, end, status="unclosed")], end, False)
    listed = text[pos] == "["
    if listed:
        pos = skip_space(text, pos + 1, end)
    attempts: list[Attempt] = []
    read_one = _read_wrapped if style.wrapped else _read_call
    after = pos
    while not (listed and pos < end and text[pos] == "]"):
        read = read_one(text, pos, end, schemas, style)
        if read is None:
            if attempts and not listed:
                return Payload(attempts, after, True)
            attempt = _no_call(text, pos, end, style)
            if not (listed or attempts) and attempt.status == "malformed":
                return Payload([], pos, False)
            return Payload([*attempts, attempt], attempt.end, False)
        attempt, broken = read
        attempts.append(attempt)
        after = attempt.end
        if broken is not None:
            return Payload(attempts, after, False)
        pos = skip_space(text, after, end)
        sign = text[pos] if pos < end else ""
        if listed and sign == "]":
            break
        if sign == "," or sign == ";":
            pos = after = skip_space(text, pos + 1, end)
        elif not listed and "\n" not in text[after:pos]:
            return Payload(attempts, after, True)
        elif listed:
            status: Status = "unclosed" if is_partial(text, pos, end) else "malformed"
            attempts[-1] = attempts[-1]._replace(status=_worse(attempts[-1].status, status))
            return Payload(attempts, after, False)
    if not attempts:
        attempts.append(Attempt(start, pos + 1))
    return Payload(attempts, pos + 1 if listed else pos, True)


def read_tagged(text: str, payload: Payload, end: int, style: Style) -> Reading:
    """The reading of what stands between an opener and `style.closer`: `payload` and its end.

    Without attempts in `payload` something else stood there, which is one malformed attempt.
    """
    attempts = payload.attempts or [Attempt(payload.end, payload.end)]
    after = skip_space(text, payload.end, end)
    if payload.attempts and text.startswith(style.closer, after, end):
        return Reading(attempts, after + len(style.closer))
    mark = style.resync.search(text, payload.end, end)
    closed = mark is not None and mark[0] == style.closer
    last = attempts[-1]
    attempts[-1] = last._replace(status=_worse(last.status, "malformed" if closed else "unclosed"))
    if mark is not None and closed:
        return Reading(attempts, mark.end())
    if payload.attempts:
        return Reading(attempts, payload.end)
    return Reading(attempts, mark.start() if mark else end)


def _worse(status: Status, surrounding: Status) -> Status:
    return surrounding if status == "ok" else status


def _no_call(text: str, start: int, end: int, style: Style) -> Attempt:
    """The attempt that begins at `start` with something that is no call."""
    if style.by_line:
        cut = _PARTIAL_NAME.fullmatch(text, start, end) is not None
        return Attempt(start, end if cut else start, status="unclosed" if cut else "malformed")
    mark = style.resync.search(text, start, end)
    stop = mark.start() if mark else end
    closed = mark is not None and mark[0] == style.closer
    cut = not closed and _PARTIAL_NAME.fullmatch(text, start, stop) is not None
    return Attempt(start, stop, status="unclosed" if cut else "malformed")


def _read_wrapped(text: str, start: int, end: int, schemas: Schemas, style: Style) -> _Read | None:
    wrap = _PRINT.match(text, start, end)
    if wrap is None:
        return _read_call(text, start, end, schemas, style)
    read = _read_call(text, wrap.end(), end, schemas, style)
    if read is None or read[1] is not None:
        return read
    attempt = read[0]
    close = skip_space(text, attempt.end, end)
    if text.startswith(")", close, end):
        return attempt._replace(start=start, end=close + 1), None
    return _broken(text, start, attempt.name, close, end, style), close


def _read_call(text: str, start: int, end: int, schemas: Schemas, style: Style) -> _Read | None:
    """Read the call that begins at `start`; None where none does."""
    head = _HEAD.match(text, start, end)
    if head is None:
        return None
    name = head[1].strip() if head[1] else None
    if name and head[2]:
        return Attempt(start, head.end(), name, {}, True, "ok"), None
    pos = skip_space(text, head.end(1) + 1 if name else start + 1, end)
    named: list[tuple[str, Any]] = []
    positional: list[Any] = []
    sound = True
    read_argument = _read_argument if style.raw_quotes else read_value
    while not text.startswith(")", pos, end):
        if plain := _PLAIN.match(text, pos, end):
            key_text, number, quoted = plain.groups()
            named.append((key_text, quoted if number is None else int(number)))
            pos = plain.end()
            if text[pos] == ",":
                pos = skip_space(text, pos + 1, end)
            continue
        key = _KEY.match(text, pos, end)
        value = read_argument(text, key.end() if key else pos, end)
        after = skip_space(text, value.end, end) if value.whole else value.end
        comma = text.startswith(",", after, end)
        if not value.whole or not (comma or text.startswith(")", after, end)):
            if key is None and _PARTIAL_KEY.fullmatch(text, pos, end):
                after = end
            return _broken(text, start, name, after, end, style), after
        sound = sound and value.sound and (key is not None or not named)
        if key:
            named.append((key[1].strip(), value.value))
        else:
            positional.append(value.value)
        pos = skip_space(text, after + 1, end) if comma else after
    return _attempt(start, pos + 1, name, named, positional, schemas, sound), None


def _read_argument(text: str, start: int, end: int) -> Value:
    """`read_value` where texts in single quotes may hold such quotes."""
    if quoted := _UNESCAPED.match(text, skip_space(text, start, end), end):
        escaped = _APOSTROPHE.sub(lambda m: m[1] or "\\'", quoted[1])
        value = read_value(f"'{escaped}'", 0, len(escaped) + 2)
        return value._replace(end=quoted.end())
    return read_value(text, start, end)


def _attempt(
    start: int,
    end: int,
    name: str | None,
    named: list[tuple[str, Any]],
    positional: list[Any],
    schemas: Schemas,
    sound: bool,
) -> Attempt:
    parameters = parameter_names(schemas, name) if positional else []
    if sound and len(positional) > len(parameters):
        return Attempt(start, end, name)  # nobody can say which parameters these are
    pairs = [*zip(parameters, positional, strict=False), *named] if positional else named
    arguments = dict(pairs)
    if not sound or len(arguments) != len(pairs):
        return Attempt(start, end, name, status="invalid_json")
    return Attempt(start, end, name, arguments, True, "ok" if name else "missing_name")


def parameter_names(schemas: Schemas, name: str | None) -> list[str]:
    """The parameters of a tool in the order of its schema; none of an unknown tool."""
    schema = schemas.get(name or "", {})
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return [str(key) for key in properties] if isinstance(properties, Mapping) else []


def _broken(
    text: str, start: int, name: str | None, broken: int, end: int, style: Style
) -> Attempt:
    """The attempt at `start` whose grammar broke at `broken`.

    It is `unclosed` if it was fine up to the end of the text or the next call, else
    `invalid_json`: its arguments cannot be read.
    """
    if style.by_line:
        cut = is_partial(text, broken, end)
        stop = end if cut else max(broken, start + 1)
        return Attempt(start, stop, name, status="unclosed" if cut else "invalid_json")
    mark = style.resync.search(text, start, end)
    stop = mark.start() if mark else end
    closed = mark is not None and mark[0] == style.closer
    unclosed = not closed and is_partial(text, broken, stop)
    return Attempt(start, stop, name, status="unclosed" if unclosed else "invalid_json")
