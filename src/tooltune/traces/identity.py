"""What makes two traces the same conversation: folded texts, groups and fingerprints."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import replace

from tooltune.traces.frozen import thaw
from tooltune.traces.types import Source, Trace


def fold_text(text: str) -> str:
    """`text` without what does not tell conversations apart: case, white space, Unicode forms."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def group_of(trace: Trace) -> str:
    """16 hexadecimal digits: the SHA-256 of the folded first user message.

    Continuations and variants of one conversation share it, so a split by group keeps them on
    one side. A trace without user message is a group with its exact copies.
    """
    first = next((m.content or "" for m in trace.messages if m.role == "user"), None)
    if first is None:
        return trace.content_id
    return hashlib.sha256(fold_text(first).encode()).hexdigest()[:16]


def fingerprint(trace: Trace) -> str | None:
    """SHA-256 of the folded user texts and all calls, arguments by key; `None` without user text.

    Equal for traces that differ only in how the assistant words its answers, in what the tools
    returned, and in what `fold_text` drops.
    """
    users = [fold_text(m.content or "") for m in trace.messages if m.role == "user"]
    if not any(users):
        return None
    calls = [(c.name, thaw(c.arguments)) for m in trace.messages for c in m.tool_calls]
    text = json.dumps([users, calls], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def identify(trace: Trace, source: Source, seen: dict[str, int]) -> Trace:
    """A trace as read, with source, group and an id that is unique among those counted in `seen`.

    The id is the content id, which `trace` has from its reading (computing it again would double
    the time of a load); copies are numbered `ID-2`, `ID-3` in reading order.
    """
    count = seen[trace.id] = seen.get(trace.id, 0) + 1
    unique = trace.id if count == 1 else f"{trace.id}-{count}"
    return replace(trace, id=unique, group=group_of(trace), source=source)
