"""What the families that write JSON between markers share: the JSON, its closer, what is wrong.

A family's `marks` are where reading goes on behind broken JSON: its openers and closers, the
closers in a group named `close` (`payload.broken`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from tooltune.toolcalls.json_text import InvalidJSON, read_scanned, scan_json, skip_space
from tooltune.toolcalls.payload import Interpret, as_arguments, broken, read_payload, spoil_last
from tooltune.toolcalls.scan import THINK, Attempt, Reading
from tooltune.toolcalls.types import ParsedTurn


class Marks(NamedTuple):
    """How a family ends its JSON.

    `marks` is searched for: it must not begin with white space. `close` matches the closer and
    the white space before it, and `close_required` says whether a call without one is unclosed.
    """

    close: re.Pattern[str]
    marks: re.Pattern[str]
    close_required: bool = True


def read_calls(
    text: str, start: int, body: int, end: int, marks: Marks, interpret: Interpret | None = None
) -> Reading:
    """Read the object or list of objects at `body`, behind an opener that stands at `start`."""
    payload = read_payload(text, body, end, marks.marks, interpret)
    attempts = payload.attempts
    if attempts and (closer := marks.close.match(text, payload.end, end)):
        return Reading(attempts, closer.end())
    if payload.whole and not marks.close_required:
        return Reading(attempts, payload.end)
    mark = marks.marks.search(text, payload.end, end)
    if mark is not None and mark.lastgroup == "close":
        # Something else stands between the JSON and the closer: together they are no JSON.
        found = spoil_last(attempts, "invalid_json") or [Attempt(start, start)]
        return Reading(found, mark.end())
    if attempts:
        return Reading(spoil_last(attempts, "unclosed"), payload.end)
    return Reading([Attempt(start, start)], mark.start() if mark else end)


def read_arguments(
    text: str, start: int, name: str | None, body: int, end: int, marks: Marks
) -> Attempt:
    """Read the arguments at `body` of a call that begins at `start` and is named before them."""
    body = skip_space(text, body, end)
    after, whole = scan_json(text, body, end)
    if not whole:
        attempt = broken(text, body, after, end, marks.marks)
        closer = marks.close.match(text, attempt.end, end)
        stop = closer.end() if closer else attempt.end
        return attempt._replace(start=start, end=stop, name=name)
    closer = marks.close.match(text, after, end)
    mark = None if closer else marks.marks.search(text, skip_space(text, after, end), end)
    if mark is not None and mark.lastgroup == "close" and text[after : mark.start()].strip():
        return Attempt(start, mark.end(), name, status="invalid_json")
    stop = closer.end() if closer else after
    try:
        arguments, status = as_arguments(read_scanned(text[body:after]))
    except InvalidJSON:
        return Attempt(start, stop, name, status="invalid_json")
    if status == "ok" and not closer and marks.close_required:
        status = "unclosed"
    elif status == "ok" and name is None:
        status = "missing_name"
    return Attempt(start, stop, name, arguments or {}, arguments is not None, status)


def first_think(text: str, *pairs: tuple[str, str]) -> tuple[str, str]:
    """The one of `pairs` that opens or closes first in `text`, for families with several."""
    places = [(place, pair) for pair in pairs for mark in pair if (place := text.find(mark)) >= 0]
    return min(places)[1] if places else THINK


def without_wrappers(turn: ParsedTurn, wrappers: re.Pattern[str]) -> ParsedTurn:
    """`turn` with the markers that surround its content taken out of it."""
    return replace(turn, content=wrappers.sub("", turn.content).strip())
