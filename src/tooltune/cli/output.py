"""What every command prints the same way: help, errors, progress, results, and what to do next."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from tooltune.errors import UserError
from tooltune.exits import EXIT_FAILED as EXIT_FAILED
from tooltune.exits import EXIT_INTERRUPTED as EXIT_INTERRUPTED
from tooltune.exits import EXIT_PREEMPTED as EXIT_PREEMPTED
from tooltune.exits import EXIT_USER_ERROR as EXIT_USER_ERROR

# What a command was asked for goes to stdout, remarks and errors to stderr: `--json > FILE` works.
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

# C0 and C1 controls but for tab and line feed, line ends that are none, bidirectional controls
# (https://www.unicode.org/reports/tr9/ 2.1 to 2.4), and surrogates, which no terminal can encode.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff]"
)
_NO_ROOM_OR_RIGHT = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_WIDEST = 64  # columns that a suggested command may push the remarks beside it to the right

P = ParamSpec("P")
R = TypeVar("R")


def help_text(summary: str, *examples: str, remark: str = "", resumes: bool = False) -> str:
    """The help of a verb: what it does, a remark, command lines to copy, and the exit codes.

    `resumes`: the verb saves and leaves when a signal asks it to, with exit codes of their own.
    """
    shown = escape("\n".join(f"  {example}" for example in examples))
    # The closing line stands at the margin: typer takes away the indentation that all lines share.
    parts = [summary, remark, f"[bold]Examples[/]\n{shown}"]
    parts.append(_EXIT_CODES + (_EXIT_CODES_OF_SIGNALS if resumes else "") + ".")
    return "\n\n".join(part for part in parts if part)


_EXIT_CODES = "Exit code: 0 done, 1 failed, 2 something in the input or the options to mend"
_EXIT_CODES_OF_SIGNALS = (
    f", {EXIT_PREEMPTED} saved and left after SIGTERM, SIGUSR1 or SIGHUP (run it again to go on), "
    f"{EXIT_INTERRUPTED} left after Ctrl-C"
)


def printable(text: str) -> str:
    r"""`text` of unknown origin for a terminal: control characters become `\x1b`, `\u202e`, ….

    Tab and line feed stay. Nothing in data can colour, move or hide what a terminal shows.
    """
    return _UNPRINTABLE.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def user_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print a `UserError`, or a file that cannot be written, as one message; exit with code 2."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except UserError as error:
            if not error.told_elsewhere:
                print_error(error)
        except OSError as error:
            if error.errno not in _NO_ROOM_OR_RIGHT:
                raise
            print_error(
                UserError(
                    f"{error.filename or 'a file'}: {error.strerror}",
                    fix="give another place, or make room or the right to write there",
                )
            )
        except KeyboardInterrupt:
            if is_main_rank():  # one Ctrl-C reaches all that train together
                errors.print("interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        raise typer.Exit(EXIT_USER_ERROR)

    return wrapped


def print_error(error: UserError) -> None:
    errors.print(f"[bold red]error:[/] {escape(printable(error.message))}")
    if error.fix:
        errors.print(f"  [bold]fix:[/] {escape(printable(error.fix))}")


def print_json(value: Any) -> None:
    """JSON in ASCII, whatever the terminal's encoding; numbers that JSON lacks are refused."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_text(text: str, style: str | None = None) -> None:
    """Print text of unknown origin: no markup, no control characters."""
    console.print(printable(text), style=style, markup=False)


def is_main_rank() -> bool:
    """Whether this process speaks for all that train together (torchrun sets `RANK`)."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """One line of progress, on stderr."""
    errors.print(printable(text), style="dim", markup=False)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show that something takes its time: a spinner on a terminal, a line elsewhere."""
    if errors.is_terminal:
        with errors.status(escape(printable(text))):
            yield
    else:
        say(text)
        yield


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield `progress(done, total)`: a bar on a terminal, else a line each tenth of the work."""
    if not errors.is_terminal:
        yield _Tenths(what)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (f"{what} {{task.description}}", BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Tenths:
    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        tenth = done * 10 // max(total, 1)
        if tenth > self._shown:
            self._shown = tenth
            say(f"{self._what} {done}/{total}")


def tallying(what: str, every: float = 10.0) -> Callable[[int], None]:
    """`progress(done)` for work whose end is not known: a line each `every` seconds, on stderr."""
    shown = time.monotonic()

    def progress(done: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= every:
            shown = time.monotonic()
            say(f"{what}: {done:,}")

    return progress


def many(count: int, what: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def command_line(*words: str | Path | int) -> str:
    """A shell command, each word quoted where it must be."""
    return shlex.join(str(word) for word in words)


def print_next(commands: Sequence[tuple[str, str]]) -> None:
    """The last block of a command: lines that can be copied as they are, each with its reason."""
    width = min(max(len(command) for command, _ in commands), _WIDEST)
    console.print("\n[bold]next:[/]")
    for command, why in commands:
        shown = escape(printable(command.ljust(width)))
        console.print(f"  {shown}  [dim]# {escape(why)}[/]")
