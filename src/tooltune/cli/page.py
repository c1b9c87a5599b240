"""The preview page of data, for `tooltune preview --html` and `tooltune check --html`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tooltune.render.turns import Renderer
    from tooltune.report.preview import PreviewRow
    from tooltune.traces.load import Traces

Findings = Sequence[tuple[str, str, int, str, str]]


def write_data_page(
    traces: Traces,
    renderer: Renderer,
    out: Path,
    *,
    name: str,
    model: str,
    limit: int,
    lengths: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
    findings: Findings = (),
) -> Path:
    """Write the page of the first `limit` rows and of as many rejected ones; return its path.

    `lengths` and `targets` count the tokens of each trace of the data; by default, of the traces
    shown. Rows that the template cannot say stand among the rejected.
    """
    from tooltune.report.preview import PreviewPage, write_preview

    rejected_when_read = len(traces.ledger)
    rows = [_rendered(trace, renderer) for trace in traces[:limit]]
    rows += [_refused(rejection) for rejection in traces.ledger.rejections[:limit]]
    shown = [_lengths(row) for row in rows if row.branches is not None]
    page = PreviewPage(
        name=name,
        model=model,
        rows_read=traces.rows_read,
        rows_shown=min(limit, len(traces)) + min(limit, rejected_when_read),
        facts=_facts(renderer, traces),
        rejected=_codes(rows, traces),
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
    return PreviewRow(source, trace, branches)


def _refused(rejection: Any) -> PreviewRow:
    from tooltune.report.preview import PreviewRow

    source = f"{rejection.file}:{rejection.row}"
    return PreviewRow(source, None, None, rejection.code, rejection.reason)


def _lengths(row: PreviewRow) -> tuple[int, int]:
    tokens = [spoken.token for branch in row.branches or () for spoken in branch.tokens]
    return len(tokens), sum(token.weight > 0 for token in tokens)


def _codes(rows: Sequence[PreviewRow], traces: Traces) -> list[tuple[str, int, str]]:
    """(code, rows, example), the most frequent first: all of the reading, and those shown."""
    counts = dict(traces.ledger.counts)
    examples = {r.code: f"{r.file}:{r.row} {r.reason}" for r in reversed(traces.ledger.rejections)}
    for row in reversed(rows):
        if row.code and row.trace is not None:
            counts[row.code] = counts.get(row.code, 0) + 1
            examples[row.code] = f"{row.source} {row.reason}"
    return [
        (code, count, examples[code])
        for code, count in sorted(counts.items(), key=lambda pair: -pair[1])
    ]


def _facts(renderer: Renderer, traces: Traces) -> list[tuple[str, str]]:
    profile = renderer.profile
    yes = {True: "yes", False: "no"}
    return [
        ("Format of the data", traces.format or "unknown"),
        ("Turns end in", ", ".join(sorted({stop.text for stop in profile.stops.values()}))),
        ("Calls are read as", profile.call_format or "no parser here reads them"),
        ("Tools rendered", yes[profile.tools]),
        ("Parallel calls", yes[profile.parallel_calls]),
        ("Text beside calls", yes[profile.content_beside_calls]),
        ("Tool results", profile.tool_results),
        ("Reasoning", yes[profile.reasoning]),
    ]
