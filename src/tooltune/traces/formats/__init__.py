"""Row formats: one file each, and one line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tooltune.traces.formats import (
    anthropic,
    bfcl,
    chatml,
    content_parts,
    gemini,
    glaive,
    hermes,
    openai,
    request_log,
    responses,
    sharegpt,
    toolace,
    xlam,
)
from tooltune.traces.formats.shared.common import find_turns
from tooltune.traces.jsonio import check_value
from tooltune.traces.types import Trace


class Format(NamedTuple):
    """How rows of one format are told and read.

    read: one row (a JSON value that `jsonio.check_value` accepts) to a trace; raises `RowError`.
    recognise: why a row is of this format, in words that name the place; None where it is not.
    per_request: each row is one request that repeats the history, to be stitched into sessions.
    """

    read: Callable[[Any], Trace]
    recognise: Callable[[Any], str | None]
    per_request: bool = False


# In the order of detection: what only one format has comes before what several share.
FORMATS: dict[str, Format] = {
    "request_log": Format(request_log.read, request_log.recognise, per_request=True),
    "xlam": Format(xlam.read, xlam.recognise),
    "bfcl": Format(bfcl.read, bfcl.recognise),
    "glaive": Format(glaive.read, glaive.recognise),
    "toolace": Format(toolace.read, toolace.recognise),
    "gemini": Format(gemini.read, gemini.recognise),
    "responses": Format(responses.read, responses.recognise),
    "anthropic": Format(anthropic.read, anthropic.recognise),
    "content_parts": Format(content_parts.read, content_parts.recognise),
    "hermes": Format(hermes.read, hermes.recognise),
    "sharegpt": Format(sharegpt.read, sharegpt.recognise),
    "chatml": Format(chatml.read, chatml.recognise),
    "openai": Format(openai.read, openai.recognise),
}


class Detected(NamedTuple):
    """The format chosen for a row, and why."""

    name: str
    why: str


def detect(row: Any) -> Detected:
    """Choose the first format of `FORMATS` that recognises a row.

    Raises `RowError` where none does.
    """
    for name, format in FORMATS.items():
        why = format.recognise(row)
        if why is not None:
            return Detected(name, why)
    find_turns(row)  # says what is wrong with a row that nearly is a conversation
    raise AssertionError("a row with turns is read as openai at least")


def read_row(row: Any, format: str | None = None) -> Trace:
    """Read one row of Python values, in the named format or in the one that `detect` chooses.

    Raises `RowError`, and `KeyError` for a name that is not in `FORMATS`.
    """
    check_value(row)
    return FORMATS[format or detect(row).name].read(row)
