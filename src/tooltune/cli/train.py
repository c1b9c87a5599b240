"""`tooltune train`: the recipe, from a YAML file and overrides."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tooltune.cli.output import (
    EXIT_FAILED,
    command_line,
    errors,
    help_text,
    is_main_rank,
    print_next,
    print_text,
    printable,
    say,
    tallying,
    user_errors,
)
from tooltune.exits import EXIT_PREEMPTED

if TYPE_CHECKING:
    from tooltune.config.schema import Config

HELP = help_text(
    "Fine-tune a model as a YAML file says; run it again to resume.",
    "tooltune train my.yaml",
    "tooltune train my.yaml --optimizer.lr=1e-4 --step_scheduler.num_epochs=2",
    "tooltune train my.yaml --dataset.path=other.jsonl --output_dir=runs/other",
    "tooltune train my.yaml --nproc-per-node 8",
    remark="Any key can be overridden with --section.key=value. Everything is written to "
    "output_dir (runs/ and the file's name, unless it says otherwise): metrics.jsonl and "
    "comparison.json for programs, report.html for people.",
    resumes=True,
)


@user_errors
def command(
    context: typer.Context,
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file; three lines are enough.")
    ],
    nproc_per_node: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Processes on this machine, one for each GPU; under torchrun or srun leave it "
            "out.",
        ),
    ] = 1,
) -> None:
    with _leaving_early():
        _command(config, context.args, nproc_per_node)


def _command(config: Path, overrides: list[str], nproc_per_node: int) -> None:
    from tooltune.config.load import load_config
    from tooltune.train.parallel.slurm import torchrun_variables

    os.environ |= torchrun_variables(os.environ)
    # Before anything is started: a mistake is told once, and not by every process.
    loaded = load_config(config, overrides)
    launching = nproc_per_node > 1 and "WORLD_SIZE" not in os.environ
    if launching:
        check_devices(nproc_per_node)
    check_place(loaded, nproc_per_node if launching else int(os.environ.get("WORLD_SIZE", "1")))
    if launching:
        from tooltune.train.parallel.launch import launch

        code = launch(nproc_per_node, ["train", str(config), *overrides], say=say)
        raise typer.Exit(code)
    run(loaded)


@contextmanager
def _leaving_early() -> Iterator[None]:
    """Until the run minds signals by itself, they end it as one that may be started again.

    The first seconds go into imports, and a job may be pre-empted in them.
    """

    def leave(number: int, _: FrameType | None) -> None:
        if is_main_rank():
            say(f"{signal.Signals(number).name}: left; the same command starts it, or goes on")
        raise SystemExit(EXIT_PREEMPTED)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for heeded in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            if (handler := signal.getsignal(heeded)) is not signal.SIG_IGN:  # nohup
                before[heeded] = handler
                signal.signal(heeded, leave)
    try:
        yield
    finally:
        for heeded, handler in before.items():
            signal.signal(heeded, handler)


def check_place(config: Config, processes: int) -> None:
    """Raises: UserError where the strategy has no place for so many processes."""
    from tooltune.train.sizing.advice import mesh_problem

    if (problem := mesh_problem(config, processes)) is not None:
        problem.told_elsewhere = not is_main_rank()
        raise problem


def check_devices(processes: int) -> None:
    """Raises: UserError where there are GPUs, but fewer than processes."""
    import torch

    from tooltune.errors import UserError

    count = torch.cuda.device_count() if torch.cuda.is_available() else processes
    if processes > count:
        raise UserError(
            f"--nproc-per-node {processes}: this machine has {count} CUDA "
            f"device{'s' if count > 1 else ''}",
            fix=f"--nproc-per-node {count}" if count > 1 else "leave the option out",
        )


def run(config: Config) -> Path:
    """Run the recipe, write its report, and say where everything is (rank 0 does the latter)."""
    if is_main_rank():
        say(f"starting {config.output_dir}: {config.model.pretrained_model_name_or_path}")
    from tooltune.evaluate.compare import render_table
    from tooltune.report.build import write_report
    from tooltune.train.parallel.world import join_world
    from tooltune.train.preparation.build import Preparing
    from tooltune.train.recipe import train

    with _endings(config), join_world() as world:
        preparing = Preparing(tallying("rows prepared"), say) if world.is_main else None
        result = train(config, preparing, world)
    if not is_main_rank():
        return result.directory
    report = write_report(result.directory)
    if result.comparison is not None:
        print_text("\n" + render_table(result.comparison))
    print_text(f"\nreport: {report} (every held-out turn, base beside tuned)")
    model = result.directory / "checkpoints" / "LATEST" / "model" / "consolidated"
    if model.is_dir():
        print_text(f"model:  {model}")
        command = _look_at_one_row(config, result.directory, model)
        if command is not None:
            print_next([(command, "watch it answer")])
    return result.directory


@contextmanager
def _endings(config: Config) -> Iterator[None]:
    """How a run ends before its end: one message by one process, and an exit code."""
    from tooltune.evaluate.synchronous import Torn
    from tooltune.train.optim import NonFiniteError
    from tooltune.train.parallel.world import RankFailure
    from tooltune.train.watch.signals import Preempted
    from tooltune.train.watch.watchdog import LOST

    def stopped(text: object, *, by_all: bool = True) -> typer.Exit:
        if is_main_rank() or not by_all:
            errors.print(f"[bold red]stopped:[/] {escape(printable(str(text)))}")
        return typer.Exit(EXIT_FAILED)

    try:
        yield
    except Preempted as request:
        if is_main_rank():
            errors.print(escape(printable(str(request))))
        raise typer.Exit(request.exit_code) from None
    except NonFiniteError as error:
        raise stopped(f"{error}\n  the run so far is kept in {config.output_dir}") from None
    except RankFailure as error:  # that rank shows its own trace
        raise stopped(error) from None
    except (Torn, RuntimeError) as error:
        notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(LOST)]
        if not notes and not isinstance(error, Torn):
            raise
        # A collective may break because another rank is gone: the watchdog noted which.
        raise stopped(notes[-1] if notes else error, by_all=False) from None


def _look_at_one_row(config: Config, directory: Path, model: Path) -> str | None:
    """An `eval` of the first accepted row of the data that the run measured on.

    Of the first turn where rows are requests, not all of which are a trace. None where `eval`
    could not read the rows, since it renames no columns.
    """
    from tooltune.train.folder.rundir import read_run_facts

    own = [config.tool_call_eval, config.validation_dataset, config.dataset]
    source = next(s for s in own if s is not None and s.names_a_place)
    part = source.sources[0] if source.sources else source
    if part.columns:
        return None
    paths = [part.path] if isinstance(part.path, str) else part.path or [part.dataset_name]
    words = ["tooltune", "eval", "--model", str(model), "--data", str(paths[0])]
    words += ["--format", part.format] if part.format else []
    if part.split != "train" and part.path is None:
        words += ["--split", part.split]
    if read_run_facts(directory).get("rows", {}).get("absorbed"):
        return command_line(*words, "--max-samples", "1", "--print")
    ledger = (directory / "ledger.jsonl").read_text(encoding="utf-8").split("\n")
    refused = {
        row["row"] for row in map(json.loads, filter(None, ledger)) if row["file"] == str(paths[0])
    }
    row = next(number for number in range(len(refused) + 1) if number not in refused)
    return command_line(*words, "--row", str(row), "--print")
