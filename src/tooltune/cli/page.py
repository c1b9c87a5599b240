"""The preview page of data, for `tooltune preview --html` and `tooltune check --html`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooltune.cli.output import many

if TYPE_CHECKING:
    from tooltune.render.truncate import Cut
    from tooltune.render.turns import Renderer
    from tooltune.report.preview import PreviewRow
    from tooltune.traces.ledger import Ledger
    from tooltune.traces.types import Trace

SHOWN = 100
"""Rows on a page, unless more are asked for."""

Findings = Sequence[tuple[str, str, int, str, str]]
"""(severity, code, count, meaning, example) of each code."""


@dataclass(frozen=True, slots=True)
class Account:
    """What was read of the whole data: rows, the formats by name, and what was rejected."""

    rows_read: int
    formats: str
    ledger: Ledger


def write_data_page(
    traces: Sequence[Trace],
    account: Account,
    renderer: Renderer,
    out: Path,
    *,
    name: str,
    lengths: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
    findings: Findings = (),
) -> Path:
    """Write the page of `traces` and of as many rejected rows; return its path.

    `lengths` and `targets` count the tokens of each trace of the data; by default, of the traces
    shown. Rows that the template cannot say stand among the rejected.
    """
    from tooltune.render.turns import Renderer
    from tooltune.report.preview import PreviewPage, write_preview

    renderer = Renderer(renderer.tokenizer, renderer.spec, mark_parts=True)
    rows = [_rendered(trace, renderer) for trace in traces]
    known = {row.source for row in rows}
    refused = [_refused(rejection) for rejection in account.ledger.rejections]
    rows += [row for row in refused if row.source not in known][: len(traces) or None]
    shown = [_lengths(row) for row in rows if row.branches is not None]
    page = PreviewPage(
        name=name,
        model=str(renderer.tokenizer.name_or_path) or "a tokenizer",
        rows_read=account.rows_read,
        rows_shown=len(rows),
        facts=_facts(renderer, account.formats),
        rejected=_codes(rows, refused),
        findings=findings,
        lengths=[length for length, _ in shown] if lengths is None else lengths,
        targets=[target for _, target in shown] if targets is None else targets,
    )
    return write_preview(page, rows, out)


def _rendered(trace: Any, renderer: Renderer) -> PreviewRow:
    from tooltune.render.branches import explain_branches
    from tooltune.render.representable import RowRejected
    from tooltune.report.preview import PreviewRow

    source = str(trace.source or trace.id)
    try:
        row = renderer.render(trace)
    except RowRejected as rejection:
        return PreviewRow(source, trace, None, rejection.code, rejection.reason)
    branches = explain_branches(row, renderer.tokenizer, renderer.spec)
    return PreviewRow(source, trace, branches, truncated=_said(row.cut))


def _said(cut: Cut) -> str:
    """What a row lost to fit, in words; nothing where it lost nothing."""
    if not cut:
        return ""
    lost = ((cut.exchanges, "exchange"), (cut.turns, "turn"), (cut.tokens, "token"))
    return "to fit seq_length: " + ", ".join(many(n, what) for n, what in lost if n) + " cut"


def _refused(rejection: Any) -> PreviewRow:
    from tooltune.report.preview import PreviewRow

    source = f"{rejection.file}:{rejection.row}"
    return PreviewRow(source, None, None, rejection.code, rejection.reason)


def _lengths(row: PreviewRow) -> tuple[int, int]:
    tokens = [spoken.token for branch in row.branches or () for spoken in branch.tokens]
    return len(tokens), sum(token.weight > 0 for token in tokens)


def _codes(rows: Sequence[PreviewRow], refused: Sequence[PreviewRow]) -> list[tuple[str, int, str]]:
    """(code, rows, example), the most frequent first: of the whole data, and of the rows shown."""
    by_source = {row.source: row for row in [*rows, *refused] if row.code}
    counts = Counter(row.code for row in by_source.values())
    examples = {row.code: f"{row.source} {row.reason}" for row in reversed(by_source.values())}
    return [(code, count, examples[code]) for code, count in counts.most_common()]


def _facts(renderer: Renderer, formats: str) -> list[tuple[str, str]]:
    profile = renderer.profile
    yes = {True: "yes", False: "no"}
    return [
        ("Format of the data", formats or "unknown"),
        ("Turns end in", ", ".join(sorted({stop.text for stop in profile.stops.values()}))),
        ("Calls are read as", profile.call_format or "no parser here reads them"),
        ("Tools rendered", yes[profile.tools]),
        ("Parallel calls", yes[profile.parallel_calls]),
        ("Text beside calls", yes[profile.content_beside_calls]),
        ("Tool results", profile.tool_results),
        ("Reasoning", yes[profile.reasoning]),
    ]
