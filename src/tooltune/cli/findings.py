"""The findings of `tooltune check`: looked for, printed, and mended in a new file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tooltune.cli.output import console, many, printable
from tooltune.cli.places import require_writable

if TYPE_CHECKING:
    from tooltune.render.turns import Renderer
    from tooltune.traces.ledger import Ledger
    from tooltune.traces.lint import LintReport
    from tooltune.traces.lint.rows import LintRows

_EXAMPLES_SHOWN = 3
_COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_PLURALS = {"error": "error", "warning": "warning", "info": "note"}


def look_at(rows: LintRows, renderer: Renderer | None, ledger: Ledger) -> LintReport:
    """All checks: those of traces, those that need schemas, and those of the template, if any."""
    from tooltune.toolcalls.lint import CALL_CHECKS
    from tooltune.traces.lint import CHECKS, SET_CHECKS, SetCheck, lint
    from tooltune.traces.lint.copies import Copies

    checks = {**CHECKS, **CALL_CHECKS}
    if renderer is not None:
        from tooltune.render.lint import template_checks

        checks |= template_checks(renderer)
    copies = partial(Copies, exact=rows.source.deduplicate == "keep")
    set_checks: dict[str, Callable[[], SetCheck]] = {**SET_CHECKS, "copies": copies}
    return lint(rows, checks=checks, set_checks=set_checks, ledger=ledger)


def formats_found(rows: LintRows) -> dict[str, Any]:
    """Which formats were read, how often, and by what the first row of each was recognised."""
    return {
        name: {
            "rows": count,
            "why": rows.recognised[name].why,
            "file": rows.recognised[name].place.file,
            "row": rows.recognised[name].place.row,
        }
        for name, count in rows.format_counts.most_common()
    }


def print_formats(formats: dict[str, Any]) -> None:
    for number, (name, found) in enumerate(formats.items()):
        first = f"{found['file']}:{found['row']}: {found['why']}"
        label = "" if number else "formats"
        text = f"{name}: {many(found['rows'], 'row')} [dim]({_data(first)})[/]"
        console.print(f"[bold]{label:<10}[/]{text}")


def print_findings(report: LintReport) -> None:
    """Worst first, each code with its count, what it means, examples and the fix."""
    counts = report.by_severity
    said = [many(counts[severity], _PLURALS[severity]) for severity in counts]
    console.print(f"[bold]{'findings':<10}[/]{', '.join(said) if report.codes else 'none'}")
    for item in report.codes:
        rows = f" in {many(item.rows, 'row')}" if item.rows not in (0, item.count) else ""
        console.print(
            f"  [{_COLOURS[item.severity]}]{item.severity:<8}[/]{_data(item.code)}: "
            f"{item.count:,}{rows}  [dim]{escape(item.meaning)}[/]"
        )
        for example in item.examples[:_EXAMPLES_SHOWN]:
            place = f"{example.place}: " if example.place else ""
            console.print(f"            {_data(place + example.message)}")
        console.print(f"            [dim]fix: {_data(item.examples[0].fix)}[/]")


def check_outputs(outputs: Iterable[Path | None]) -> None:
    """Raise UserError where a file to write exists, or cannot be written."""
    from tooltune.errors import UserError

    given = [path for path in outputs if path is not None]
    for path in given:
        require_writable(path)
        for file in (path, ledger_of(path)):
            if file.exists():
                raise UserError(
                    f"{file} exists, and data are never overwritten",
                    fix="name another file, or move that one away",
                )
    if len(set(given)) < len(given):
        raise UserError(f"--fix and --redact both write {given[0]}", fix="name two files")


def ledger_of(path: Path) -> Path:
    """Where the changes of a written file are listed, and the rows that it lacks."""
    return path.with_name(path.name + ".ledger.jsonl")


def mend(rows: LintRows, fixed: Path | None, redacted: Path | None) -> dict[str, Any]:
    """Write the files asked for, redacted rows fixed too if both are; what changed in each."""
    from tooltune.toolcalls.fix import all_repairs
    from tooltune.traces.lint.redact import redact_trace

    written: dict[str, Any] = {}
    if fixed is not None:
        written["fix"] = _write(rows, fixed, all_repairs())
    if redacted is not None:
        repairs = all_repairs() if fixed is not None else []
        written["redact"] = _write(rows, redacted, [*repairs, redact_trace])
    return written


def _write(rows: LintRows, out: Path, rewrites: list[Any]) -> dict[str, Any]:
    """Write `rows`, rewritten, as canonical rows, and the ledger of all that changed."""
    from tooltune.traces.convert import write_canonical
    from tooltune.traces.ledger import Ledger
    from tooltune.traces.lint.rewrite import rewrite_traces

    changes = Ledger()
    count = write_canonical(rewrite_traces(rows, rewrites, changes), out)
    counts = changes.counts
    changes.rejections.extend(rows.ledger.rejections)
    if changes.rejections:
        changes.write(ledger_of(out))
    return {
        "file": str(out),
        "rows": count,
        "changes": counts,
        "rows_left_out": len(rows.ledger),
        "ledger": str(ledger_of(out)) if changes.rejections else None,
    }


def print_mended(written: dict[str, Any]) -> None:
    for what, file in written.items():
        name = {"fix": "fixed", "redact": "redacted"}[what]
        changes = file["changes"].items()
        counts = [f"{count:,} {code.removeprefix('fixed_')}" for code, count in changes]
        left = f"; {many(file['rows_left_out'], 'rejected row')} left out"
        text = f"{_data(file['file'])}: {many(file['rows'], 'row')}, "
        text += f"{', '.join(counts) or 'nothing to change'}{left if file['rows_left_out'] else ''}"
        if file["ledger"]:
            text += f" [dim](each in {_data(file['ledger'])})[/]"
        console.print(f"[bold]{name:<10}[/]{text}")


def _data(text: str) -> str:
    """Text of unknown origin, to stand within markup."""
    return escape(printable(text))
