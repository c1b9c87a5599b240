"""Run a command of `tooltune` in this process and look at what it printed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from tooltune.cli.main import app

ADVICE = ("fix:", "did you mean", "--help")


@dataclass(frozen=True)
class Printed:
    """What a command left: its exit code and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


def tooltune(*words: str | Path) -> Printed:
    """Run `tooltune WORDS`; an exception that a user would see as a traceback fails the test."""
    arguments = [str(word) for word in words]
    environment = {"TERMINAL_WIDTH": "80"}  # what typer takes for the width of its help
    result = CliRunner().invoke(app, arguments, env=environment, prog_name="tooltune")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"traceback for the user: {result.exception!r}") from result.exception
    return Printed(result.exit_code, result.stdout, result.stderr)


def succeeds(*words: str | Path) -> Printed:
    printed = tooltune(*words)
    assert printed.code == 0, printed.err
    return printed


def refused(*words: str | Path) -> str:
    """Run a command that the user got wrong: exit code 2, a message with a fix; the message."""
    printed = tooltune(*words)
    assert printed.code == 2, (printed.code, printed.err)
    assert "error:" in printed.err
    assert any(word in printed.err for word in ADVICE), printed.err
    assert "Traceback" not in printed.err + printed.out
    return printed.err


def write_rows(path: Path, *rows: Any) -> Path:
    """A JSON lines file of rows; text and bytes stand as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_config(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def next_commands(printed: Printed) -> list[str]:
    """The command lines of the last block, without the remarks behind them."""
    block = printed.out.split("next:\n")[-1] if "next:\n" in printed.out else ""
    return [line.split("  # ")[0].strip() for line in block.splitlines() if line.strip()]


def files_below(folder: Path) -> list[str]:
    return sorted(os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file())
