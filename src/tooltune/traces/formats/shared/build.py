"""Put a trace together from entries that a format read itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tooltune.traces.formats.shared.common import TURN_KEYS, read_settings
from tooltune.traces.formats.shared.pairing import Entry, pair_results
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Tool, Trace


def build_trace(
    row: Mapping[str, Any],
    entries: Iterable[Entry],
    tools: tuple[Tool, ...],
    where: str,
    settings: Mapping[str, Any] | None = None,
) -> Trace:
    """Pair the results, add tools and settings (by default those that the row gives as OpenAI's).

    Raises `RowError` (`no_assistant_turn`, or as `pair_results`).
    """
    settings = read_settings(row) if settings is None else settings
    trace = Trace(pair_results(entries), tools, settings)
    if not trace.turns:
        reason = f"{where}: no assistant turn with something before it; there is nothing to learn"
        raise RowError("no_assistant_turn", reason)
    return trace


def require_object(row: Any) -> Mapping[str, Any]:
    """The row, where it is an object. Raises `RowError("row_not_an_object", ...)`."""
    if not isinstance(row, Mapping):
        raise RowError("row_not_an_object", f"the row is {show(row)}; write an object")
    return row


def require_text(row: Mapping[str, Any], key: str) -> str:
    """The text under `key`. Raises `RowError("field_not_text", ...)`."""
    value = row.get(key)
    if not isinstance(value, str):
        raise RowError("field_not_text", f"{key} is {show(value, 30)}; write it as text")
    return value


def has_turns(row: Mapping[str, Any]) -> bool:
    """Whether a row holds a conversation under one of the usual keys."""
    return any(row.get(key) for key in TURN_KEYS)
