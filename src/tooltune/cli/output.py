"""What every command prints the same way: errors, results, and what to do next."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from tooltune.errors import UserError

EXIT_FAILED = 1
EXIT_USER_ERROR = 2

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

P = ParamSpec("P")
R = TypeVar("R")


def user_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print a `UserError` as one message and exit with code 2; an interrupt exits with 130."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except UserError as error:
            errors.print(f"[bold red]error:[/] {escape(error.message)}")
            if error.fix:
                errors.print(f"  [bold]fix:[/] {escape(error.fix)}")
            raise typer.Exit(EXIT_USER_ERROR) from None
        except KeyboardInterrupt:
            errors.print("interrupted")
            raise typer.Exit(130) from None

    return wrapped


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_next(commands: Sequence[tuple[str, str]]) -> None:
    """The last block of a command: what one would run now, and why."""
    width = max(len(command) for command, _ in commands)
    console.print()
    for i, (command, why) in enumerate(commands):
        lead = "next:" if i == 0 else "     "
        console.print(f"[dim]{lead}[/] {escape(command.ljust(width))}  [dim]{escape(why)}[/]")
