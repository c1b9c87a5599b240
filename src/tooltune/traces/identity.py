"""What makes two traces the same conversation: folded texts, fingerprints and keys."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass, replace
from typing import Protocol

from tooltune.traces.types import Source, Trace


class Placed(Protocol):
    """What a split needs to know of a trace."""

    @property
    def id(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def source(self) -> Source | None: ...


class Keyed(Placed, Protocol):
    """What comparing traces needs: a `Trace` has it by `key_of`, a store may hold it on its own."""

    @property
    def content_id(self) -> str: ...
    @property
    def fingerprint(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class TraceKey:
    """A trace without its messages: who it is, and what it is compared by."""

    id: str
    group: str
    content_id: str
    fingerprint: str | None
    source: Source | None = None


def key_of(item: Trace | Keyed) -> Keyed:
    """The key of a trace, computed from its messages; keys are returned as they are."""
    if not isinstance(item, Trace):
        return item
    return TraceKey(item.id, item.group, item.content_id, fingerprint(item), item.source)


def fold_text(text: str) -> str:
    """`text` without what does not tell conversations apart: case, white space, Unicode forms."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def fingerprint(trace: Trace) -> str | None:
    """SHA-256 of the folded user texts and all calls, arguments by key; `None` without user text.

    Equal for traces that differ only in how the assistant words its answers, in what the tools
    returned, and in what `fold_text` drops.
    """
    users = [fold_text(m.content or "") for m in trace.messages if m.role == "user"]
    if not any(users):
        return None
    calls = [(call.name, call.arguments) for m in trace.messages for call in m.tool_calls]
    text = json.dumps([users, calls], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def identify(trace: Trace, source: Source, seen: dict[str, int]) -> Trace:
    """A trace as read, with its source and an id that is unique among those counted in `seen`.

    The id is the content id, which `trace` has from its reading (computing it again would double
    the time of a load); copies are numbered `ID-2`, `ID-3` in reading order. The group stays: a
    named one, or the content id, which copies share (`groups.assign_groups` finds the others).
    """
    count = seen[trace.id] = seen.get(trace.id, 0) + 1
    unique = trace.id if count == 1 else f"{trace.id}-{count}"
    return replace(trace, id=unique, source=source)
