"""`tooltune compare`: two evaluations side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tooltune.cli.output import (
    command_line,
    help_text,
    print_json,
    print_next,
    print_text,
    user_errors,
)

HELP = help_text(
    "Compare two evaluations of the same samples: paired differences, intervals, flips.",
    "tooltune compare runs/my/eval/step_0 runs/my/eval/final",
    "tooltune compare eval/base eval/tuned --out comparison",
    remark="An evaluation is a folder that `tooltune eval --out` or a run wrote. Intervals are of "
    "the difference (95 %, bootstrap by conversation); p is McNemar's exact one.",
)


@user_errors
def command(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Folder of the first evaluation.")],
    tuned: Annotated[
        Path, typer.Argument(metavar="TUNED", help="Folder of the second evaluation.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write comparison.json and report.html there."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    from tooltune.evaluate.compare import (
        compare_evaluations,
        load_evaluation,
        render_table,
        write_comparison,
    )
    from tooltune.report.build import write_comparison_report

    if out is not None:
        _check_out(out)
    comparison = compare_evaluations(
        load_evaluation(base), load_evaluation(tuned), base_name=str(base), tuned_name=str(tuned)
    )
    if out is not None:
        write_comparison(out / "comparison.json", comparison)
        report = write_comparison_report(base, tuned, comparison, out / "report.html")
    if json:
        print_json(comparison)
        return
    print_text(render_table(comparison))
    if out is not None:
        print_text(f"\nreport: {report} (every sample, base beside tuned)")
    else:
        again = command_line("tooltune", "compare", base, tuned, "--out", "comparison")
        print_next([(again, "a page with every sample, base beside tuned")])


def _check_out(out: Path) -> None:
    """Raise UserError before the work, not after it, where the results may not be written."""
    from tooltune.errors import UserError

    if (out / "config.yaml").exists():
        raise UserError(
            f"--out {out} is the folder of a training run, whose own comparison and report would "
            "be overwritten",
            fix="choose another folder",
        )
    out.mkdir(parents=True, exist_ok=True)
