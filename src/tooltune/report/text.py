"""Texts out of records that may hold anything, cut to what a page can bear."""

from __future__ import annotations

from typing import Any

from tooltune.report.diff import compact_json

Row = dict[str, Any]


def clip(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, and how many more there were."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {len(text) - limit:,} characters more"


def as_text(value: Any) -> str:
    """Text as it is, nothing for `None`, JSON for whatever else a file may hold."""
    if value is None:
        return ""
    return value if isinstance(value, str) else compact_json(value)


def as_line(text: str, limit: int) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 2 * limit].split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def as_objects(value: Any) -> list[Row]:
    """The objects of a list, nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_function(item: Row) -> Row:
    """What an OpenAI tool or tool call wraps in `function`, or the bare object itself."""
    inner = item.get("function")
    return inner if isinstance(inner, dict) else item
