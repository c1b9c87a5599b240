"""`tooltune compare`: two evaluations side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tooltune.cli.output import console, print_json, print_next, user_errors

HELP = """Compare two evaluations of the same samples: paired differences, intervals, flips.

Examples:

  tooltune compare runs/my/eval/step_0 runs/my/eval/final

  tooltune compare eval/base eval/tuned --out runs/comparison"""


@user_errors
def command(
    base: Annotated[Path, typer.Argument(help="Folder of the first evaluation (`--out` of eval).")],
    tuned: Annotated[Path, typer.Argument(help="Folder of the second evaluation.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.json and report.html.")
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

    comparison = compare_evaluations(
        load_evaluation(base), load_evaluation(tuned), base_name=str(base), tuned_name=str(tuned)
    )
    if json:
        print_json(comparison)
    else:
        console.print(render_table(comparison), markup=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_comparison(out / "comparison.json", comparison)
        report = write_comparison_report(base, tuned, comparison, out / "report.html")
        if not json:
            print_next([(f"open {report}", "every sample, base beside tuned")])
