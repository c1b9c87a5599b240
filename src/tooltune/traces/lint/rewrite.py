"""Traces rewritten one after the other, every change on record in a ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from tooltune.traces.ledger import Ledger
from tooltune.traces.types import Trace


class Change(NamedTuple):
    """What was changed in a row: a stable code, and the place in words."""

    code: str
    what: str


Rewrite = Callable[[Trace], tuple[Trace | None, list[Change]]]
"""A trace to its new form, or None where it goes; without a change the trace itself."""


def rewrite_traces(
    traces: Iterable[Trace], rewrites: Sequence[Rewrite], ledger: Ledger
) -> Iterator[Trace]:
    """Apply all rewrites to each trace, in their order; the changes go to `ledger`."""
    for trace in traces:
        file, row = (trace.source.file, trace.source.row) if trace.source else ("", -1)
        rewritten: Trace | None = trace
        for rewrite in rewrites:
            if rewritten is None:
                break
            rewritten, changes = rewrite(rewritten)
            for change in changes:
                ledger.reject(file, row, change.code, change.what)
        if rewritten is not None:
            yield rewritten
