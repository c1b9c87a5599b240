"""The preview page: what is trained, token by token, for many rows at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooltune.render.branches import Branch
from tooltune.report.histogram import Histogram, histogram
from tooltune.report.page import render_page, write_page
from tooltune.traces.failures import is_error
from tooltune.traces.types import Trace

_LONGEST_QUESTION = 200


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row of the data. `branches` is None for a rejected one, whose `code` says why.

    `truncated` says what was cut to fit, in words; empty where nothing was.
    """

    source: str
    trace: Trace | None
    branches: Sequence[Branch] | None
    code: str = ""
    reason: str = ""
    truncated: str = ""


@dataclass(frozen=True, slots=True)
class PreviewPage:
    """Everything on the page beside the rows: what was looked at, and counts over all rows.

    facts are (label, value) pairs; findings are (severity, code, count, message, example).
    lengths and targets hold one number of tokens for each trace of the whole data.
    """

    name: str
    model: str
    rows_read: int
    rows_shown: int
    facts: Sequence[tuple[str, str]] = ()
    rejected: Sequence[tuple[str, int, str]] = ()
    findings: Sequence[tuple[str, str, int, str, str]] = ()
    lengths: Sequence[int] = ()
    targets: Sequence[int] = ()


def write_preview(page: PreviewPage, rows: Iterable[PreviewRow], path: Path) -> Path:
    """Write the page, one file that works offline; return its path.

    Raises `UserError` where it cannot be written.
    """
    return write_page(path, render_preview(page, rows))


def render_preview(page: PreviewPage, rows: Iterable[PreviewRow]) -> str:
    """The page as HTML text."""
    pool = _Pool()
    data = [_row(row, pool) for row in rows]
    histograms: list[Histogram] = [
        histogram(title, values)
        for title, values in (
            ("Tokens of a trace", page.lengths),
            ("Targets of a trace", page.targets),
        )
        if values
    ]
    flags = Counter(flag for row in data for flag in row["flags"])
    tools = Counter(tool for row in data for tool in row["tools"])
    return render_page(
        "preview",
        {"texts": pool.texts, "kinds": pool.kinds, "rows": data},
        page=page,
        histograms=histograms,
        filters=[("", len(data)), *((flag, flags[flag]) for flag in _FLAGS if flags[flag])],
        tools=[tool for tool, _ in tools.most_common()],
    )


_FLAGS = ("accepted", "rejected", "truncated", "parallel", "error", "branched")


class _Pool:
    """Token texts and explanations, each sent once: rows refer to them by number."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.kinds: list[list[Any]] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def kind(self, *values: Any) -> int:
        """Number of an explanation (role, part, turn, weight, reason)."""
        if values not in self._known:
            self._known[values] = len(self.kinds)
            self.kinds.append(list(values))
        return self._known[values]


def _row(row: PreviewRow, pool: _Pool) -> dict[str, Any]:
    branches = [_branch(branch, pool) for branch in row.branches or ()]
    tokens = sum(len(branch["ids"]) for branch in branches)
    targets = sum(
        count for branch in branches for count, kind in branch["runs"] if pool.kinds[kind][3] > 0
    )
    return {
        "source": row.source,
        "id": row.trace.id if row.trace else "",
        "question": _question(row.trace),
        "tools": _called(row.trace),
        "flags": _flags(row),
        "code": row.code,
        "reason": row.reason,
        "truncated": row.truncated,
        "tokens": tokens,
        "targets": targets,
        "branches": branches,
    }


def _branch(branch: Branch, pool: _Pool) -> dict[str, Any]:
    runs: list[list[int]] = []
    for spoken in branch.tokens:
        token = spoken.token
        pool.texts.setdefault(token.id, token.text)
        kind = pool.kind(spoken.role, token.part, token.turn, token.weight, token.reason)
        if runs and runs[-1][1] == kind:
            runs[-1][0] += 1
        else:
            runs.append([1, kind])
    ids = [spoken.token.id for spoken in branch.tokens]
    return {"parent": branch.parent, "ids": ids, "runs": runs}


def _flags(row: PreviewRow) -> list[str]:
    messages = row.trace.messages if row.trace else ()
    found = {
        "accepted": row.branches is not None,
        "rejected": row.branches is None,
        "truncated": bool(row.truncated),
        "parallel": any(len(message.tool_calls) > 1 for message in messages),
        "error": any(m.role == "tool" and is_error(m) for m in messages),
        "branched": len(row.branches or ()) > 1,
    }
    return [flag for flag in _FLAGS if found[flag]]


def _question(trace: Trace | None) -> str:
    users = [m.content or "" for m in trace.messages if m.role == "user"] if trace else []
    return users[0][:_LONGEST_QUESTION] if users else ""


def _called(trace: Trace | None) -> list[str]:
    messages = trace.messages if trace else ()
    return list(dict.fromkeys(call.name for m in messages for call in m.tool_calls))
