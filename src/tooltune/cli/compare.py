"""`tooltune compare`: two evaluations, or more, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tooltune.cli.output import (
    command_line,
    help_text,
    print_json,
    print_next,
    print_text,
    user_errors,
)
from tooltune.cli.places import make_folder

HELP = help_text(
    "Compare two or more evaluations of the same samples: paired differences, intervals, flips.",
    "tooltune compare runs/my/eval/step_0 runs/my/eval/final",
    "tooltune compare eval/base eval/tuned --out comparison",
    "tooltune compare eval/base eval/a eval/b eval/c",
    "tooltune compare eval/main eval/branch --markdown - --fail-if-worse",
    remark="An evaluation is a folder that `tooltune eval --out` or a run wrote; all are compared "
    "with the first. Intervals are of the difference (95 %, bootstrap by conversation); p is of no "
    "difference, by flipping the signs of conversations; McNemar's exact one stands beside it.",
)

_GATES = "For continuous integration"


@user_errors
def command(
    evaluations: Annotated[
        list[Path],
        typer.Argument(metavar="BASE TUNED...", help="Folders of evaluations, the base first."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write comparison.json and report.html there."),
    ] = None,
    common: Annotated[
        bool,
        typer.Option("--common", help="Compare the samples that all have; the others are counted."),
    ] = False,
    markdown: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write a Markdown table for a pull request; - prints it instead."
        ),
    ] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse",
            help="Exit with code 1 if accuracy or abstain_accuracy is significantly worse than "
            "the base's (p < 0.05 by conversation).",
            rich_help_panel=_GATES,
        ),
    ] = False,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Exit with code 1 if the tuned model's is lower; may be given several times.",
            rich_help_panel=_GATES,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    from tooltune.cli.thresholds import judge, read_thresholds, shortfalls
    from tooltune.errors import UserError
    from tooltune.evaluate.compare import (
        load_evaluation,
        render_table,
        write_comparison,
        write_text,
    )
    from tooltune.evaluate.comparison_markdown import render_markdown
    from tooltune.evaluate.gates import tuned_metrics, worse_gates
    from tooltune.evaluate.results import summarise

    if len(evaluations) < 2:
        raise UserError("one evaluation is nothing to compare", fix="give the folders of two")
    if json and markdown == "-":
        raise UserError("--json and --markdown - both want the output", fix="leave one out")
    thresholds = read_thresholds(fail_under or [])
    if out is not None:
        _check_out(out)
    read = [load_evaluation(folder) for folder in evaluations]
    comparison = _compared(evaluations, read, common)
    pairs = comparison.get("comparisons", [comparison])
    report = None
    if out is not None:
        report = _write_report(evaluations, comparison, out)
        write_comparison(out / "comparison.json", comparison)
    if markdown not in (None, "-"):
        write_text(Path(markdown or ""), render_markdown(comparison))
    if json:
        print_json(comparison)
    elif markdown == "-":
        print_text(render_markdown(comparison).rstrip("\n"))
    else:
        print_text(render_table(comparison))
        _say_what_next(evaluations, common, report, markdown)
    failed = []
    if thresholds:
        for pair, records in zip(pairs, read[1:], strict=True):
            metrics = summarise(records) | tuned_metrics(pair)
            of = f"{pair['tuned_name']}: " if len(pairs) > 1 else ""
            failed += [of + line for line in shortfalls(thresholds, metrics)]
    judge(failed, worse_gates(comparison) if fail_if_worse else [])


def _compared(
    folders: Sequence[Path], read: Sequence[Sequence[Mapping[str, Any]]], common: bool
) -> dict[str, Any]:
    from tooltune.evaluate.compare import compare_evaluations, compare_several

    names = [str(folder) for folder in folders]
    if len(read) == 2:
        return compare_evaluations(read[0], read[1], names[0], names[1], common=common)
    return compare_several(list(zip(names, read, strict=True)), common=common)


def _write_report(folders: Sequence[Path], comparison: Mapping[str, Any], out: Path) -> Path:
    """The page of all evaluations; `comparison` is that of two or that of several."""
    from tooltune.report.build import write_comparison_report

    base, tuned, *others = folders
    return write_comparison_report(base, tuned, comparison, out / "report.html", others=others)


def _say_what_next(
    folders: Sequence[Path], common: bool, report: Path | None, markdown: str | None
) -> None:
    if report is not None or markdown is not None:
        print_text("")
    if report is not None:
        print_text(f"report: {report} (every sample, base beside tuned)")
    if markdown is not None:
        print_text(f"Markdown: {markdown}")
    if report is None:
        words = ["--common"] if common else []
        again = command_line("tooltune", "compare", *folders, *words, "--out", "comparison")
        print_next([(again, "a page with every sample, base beside tuned")])


def _check_out(out: Path) -> None:
    """Raise UserError, before the work and not after it, where results must not or cannot go."""
    from tooltune.errors import UserError

    if (out / "config.yaml").exists():
        raise UserError(
            f"--out {out} is the folder of a training run, whose own comparison and report would "
            "be overwritten",
            fix="choose another folder",
        )
    make_folder(out)
