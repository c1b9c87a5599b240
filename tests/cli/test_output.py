"""What all commands share: exit codes, progress, and the last block."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer
from rich.console import Console

from tooltune.cli import output
from tooltune.errors import UserError


def exit_code_of(error: BaseException) -> int:
    @output.user_errors
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    return int(caught.value.exit_code)


def test_what_the_user_can_mend_exits_with_2_and_an_interrupt_with_130(capsys: Any) -> None:
    assert exit_code_of(UserError("x is wrong", fix="mend x")) == 2
    assert capsys.readouterr().err == "error: x is wrong\n  fix: mend x\n"
    assert exit_code_of(KeyboardInterrupt()) == 130


def test_processes_that_train_together_say_once_that_they_were_interrupted(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in "0123":
        monkeypatch.setenv("RANK", rank)
        assert exit_code_of(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_help_of_a_verb_that_resumes_names_the_codes_of_signals() -> None:
    assert output.help_text("Do.", "tooltune do").endswith("the options to mend.")
    said = output.help_text("Do.", "tooltune do", resumes=True).rpartition("\n")[2]
    assert said.startswith("Exit code: 0 done, 1 failed, 2 ")
    assert f", {output.EXIT_PREEMPTED} saved and left" in said
    assert f", {output.EXIT_INTERRUPTED} left after Ctrl-C" in said


def test_a_full_disk_is_named_and_not_a_traceback(capsys: Any) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x/model.safetensors")
    assert exit_code_of(error) == 2
    assert "runs/x/model.safetensors: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ZeroDivisionError()])
def test_what_only_we_can_mend_keeps_its_traceback(error: Exception) -> None:
    @output.user_errors
    def command() -> None:
        raise error

    with pytest.raises(type(error)):
        command()


def test_json_is_ascii_and_refuses_what_json_lacks(capsys: Any) -> None:
    output.print_json({"text": "ü\x1b\ud800\u2028"})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"text": "ü\x1b\ud800\u2028"}
    with pytest.raises(ValueError):
        output.print_json({"loss": float("nan")})


def counted(console: Console, use: Callable[[Callable[[int, int], None]], None]) -> None:
    original, output.errors = output.errors, console
    try:
        with output.counting("turns") as progress:
            use(progress)
    finally:
        output.errors = original


def test_progress_is_at_most_ten_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    counted(Console(file=stream), lambda p: [p(i, 200) for i in range(201)] and None)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1] == "turns 200/200"


def test_progress_is_a_bar_on_a_terminal_and_is_gone_afterwards() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    counted(console, lambda p: p(100, 200))
    assert "100/200" in stream.getvalue()
    assert stream.getvalue().rstrip("\n").endswith("\x1b[2K")


def test_the_last_block_can_be_pasted_into_a_shell(capsys: Any) -> None:
    output.print_next(
        [(output.command_line("tooltune", "check", "my file"), "first"), ("ls", "then")]
    )
    assert capsys.readouterr().out == (
        "\nnext:\n  tooltune check 'my file'  # first\n  ls                        # then\n"
    )


def test_libraries_that_advise_when_they_are_imported_are_not_heard() -> None:
    """bitsandbytes does on CPUs that know bf16, and PEFT imports it."""
    code = (
        "import sys; sys.argv = ['tooltune', '--version']\n"
        "from tooltune.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: import peft, bitsandbytes\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "kernels" not in done.stderr
