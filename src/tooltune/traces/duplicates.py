"""Conversations that are in the data more than once: left alone, weighted down, or dropped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from tooltune.traces.identity import fold_text
from tooltune.traces.ledger import Ledger
from tooltune.traces.types import Source, ToolCall, Trace

Deduplicate = Literal["keep", "weight", "drop"]


def duplicate_key(trace: Trace) -> bytes:
    """16 bytes that two traces share where they say the same.

    That is: the same tools and, message by message, the same role, calls (arguments by key) and
    texts but for what `fold_text` drops. Call ids, names of results, settings and weights do not
    count. Stricter than `fingerprint`: two different answers to one question are no duplicates.
    """
    said = [
        [m.role, fold_text(m.content or ""), fold_text(m.reasoning or ""), _calls(m.tool_calls)]
        for m in trace.messages
    ]
    tools = [tool.function for tool in trace.tools]
    text = json.dumps([tools, said], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _calls(calls: Iterable[ToolCall]) -> list[list[object]]:
    return [[call.name, call.arguments] for call in calls]


def deduplicated(traces: list[Trace], how: Deduplicate, ledger: Ledger) -> list[Trace]:
    """The traces in their order, after what `how` says is done about duplicates.

    keep: nothing. weight: n duplicates have 1/n of their weight each, so that together they count
    as one. drop: the first stays; the others go to the ledger with the code `duplicate`.
    """
    if how == "keep":
        return traces
    keys = [duplicate_key(trace) for trace in traces]
    if how == "weight":
        counts = Counter(keys)
        return [
            replace(trace, weight=trace.weight / counts[key]) if counts[key] > 1 else trace
            for trace, key in zip(traces, keys, strict=True)
        ]
    first: dict[bytes, Trace] = {}
    for trace, key in zip(traces, keys, strict=True):
        if key in first:
            reject_duplicate(ledger, trace, first[key])
        else:
            first[key] = trace
    return list(first.values())


def reject_duplicate(ledger: Ledger, trace: Trace, first: Trace) -> None:
    """Note in the ledger that a trace was dropped for an earlier one; both know their source."""
    assert trace.source is not None
    reason = duplicate_reason(first.source)
    ledger.reject(trace.source.file, trace.source.row, "duplicate", reason)


def duplicate_reason(first: Source | None) -> str:
    return f"says the same as {first}; deduplicate: keep or weight would train it too"
