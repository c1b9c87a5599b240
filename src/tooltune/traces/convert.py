"""Traces as canonical JSON lines: OpenAI chat rows that read back as equal traces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from tooltune.errors import UserError
from tooltune.traces.formats import FORMATS
from tooltune.traces.jsonio import RowError, loads
from tooltune.traces.types import Trace

Arguments = Literal["object", "string"]
"""How a call's arguments are written: as an object, which chat templates want, or as the JSON
text that OpenAI's own endpoints want."""


def canonical_line(trace: Trace, arguments: Arguments = "object") -> str:
    """One trace as a line of JSON, without its line end; key order is that of the trace.

    Raises: UserError where the line would not read back as an equal trace: it is not written.
    """
    row = trace.to_openai()
    if arguments == "string":
        for message in row["messages"]:
            for call in message.get("tool_calls", ()):
                function = call["function"]
                function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    line = json.dumps(row, ensure_ascii=False)
    try:
        back = FORMATS["openai"].read(loads(line))
    except RowError as error:
        raise _not_said(trace, str(error)) from error
    if (back.messages, back.tools, back.settings) != (trace.messages, trace.tools, trace.settings):
        raise _not_said(trace, _difference(trace, back))
    return line


def write_canonical(
    traces: Iterable[Trace], path: str | Path, arguments: Arguments = "object"
) -> int:
    """Write the lines of `traces` to a new file, whole or not at all; return their number.

    Raises: UserError as `canonical_line`, and where `path` exists: data are never overwritten.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path} exists", fix="name another file, or move that one away")
    staged = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with staged.open("w", encoding="utf-8", newline="\n") as stream:
            for trace in traces:
                stream.write(canonical_line(trace, arguments) + "\n")
                count += 1
        staged.rename(path)
    finally:
        staged.unlink(missing_ok=True)
    return count


def _not_said(trace: Trace, why: str) -> UserError:
    return UserError(
        f"{trace.source or trace.id} cannot be written as an OpenAI row without loss: {why}",
        fix="report this as a bug, with the row",
    )


def _difference(trace: Trace, back: Trace) -> str:
    """The first place at which a trace and its reading differ."""
    if len(trace.messages) != len(back.messages):
        return f"{len(trace.messages)} messages become {len(back.messages)}"
    for i, (one, other) in enumerate(zip(trace.messages, back.messages, strict=True)):
        for field in one.__slots__:
            mine: Any = getattr(one, field)
            if mine != getattr(other, field):
                return f"messages[{i}].{field} changes"
    return "its tools change" if trace.tools != back.tools else "its settings change"
