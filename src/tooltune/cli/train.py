"""`tooltune train`: the recipe, from a YAML file and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tooltune.cli.output import EXIT_FAILED, console, errors, print_next, user_errors

HELP = """Fine-tune a model as a YAML file says; run it again to resume.

Examples:

  tooltune train my.yaml

  tooltune train my.yaml --optimizer.lr=1e-4 --step_scheduler.num_epochs=2

Any key can be overridden with --section.key=value."""


@user_errors
def command(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML file; three lines are enough.")],
    nproc_per_node: Annotated[
        int, typer.Option(help="Processes on this machine. This version trains in one.")
    ] = 1,
) -> None:
    from tooltune.config.load import load_config
    from tooltune.errors import UserError

    if nproc_per_node != 1:
        raise UserError(
            f"--nproc-per-node {nproc_per_node}: this version trains in one process",
            fix="leave the option out",
        )
    run(load_config(config, context.args))


def run(config: object) -> Path:
    """Run the recipe, write its report, and say where everything is."""
    from tooltune.config.schema import Config
    from tooltune.evaluate.compare import render_table
    from tooltune.report.build import write_report
    from tooltune.train.optim import NonFiniteError
    from tooltune.train.recipe import train

    assert isinstance(config, Config)
    try:
        result = train(config)
    except NonFiniteError as error:
        errors.print(f"[bold red]stopped:[/] {error}")
        raise typer.Exit(EXIT_FAILED) from None
    report = write_report(result.directory)
    if result.comparison is not None:
        console.print()
        console.print(render_table(result.comparison), markup=False)
    latest = result.directory / "checkpoints" / "LATEST" / "model" / "consolidated"
    print_next(
        [
            (f"open {report}", "every held-out turn, base beside tuned"),
            (f"tooltune eval --model {latest} --data DATA", "score it on other traces"),
        ]
    )
    return result.directory
