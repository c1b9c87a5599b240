"""`--help`: quick, without torch, and its examples are commands that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time

import pytest
import typer

from tests.assets import REPOSITORY
from tests.cli.command import succeeds, tooltune
from tooltune import __version__
from tooltune.cli.main import app

GROUP = typer.main.get_command(app)
VERBS = [
    "demo",
    "train",
    "eval",
    "compare",
    "export",
    "preview",
    "check",
    "init",
    "schema",
    "convert",
]


def help_of(verb: str) -> str:
    return succeeds(verb, "--help").out


def examples_of(verb: str) -> list[str]:
    text = re.split(r"\n Examples *\n", help_of(verb))[1].split("Exit code:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines).replace("\\\n", "").splitlines()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_examples_that_its_parser_accepts(verb: str) -> None:
    commands = GROUP.commands  # type: ignore[attr-defined]
    assert set(commands) == set(VERBS)
    examples = examples_of(verb)
    assert len(examples) >= 2
    for example in examples:
        program, found, *words = shlex.split(example)
        assert (program, found) == ("tooltune", verb)
        context = commands[verb].make_context(verb, words)
        for override in context.args:
            assert re.fullmatch(r"--[a-z_.]+=\S+", override), override


@pytest.mark.parametrize("verb", VERBS)
def test_examples_fit_a_terminal_of_80_columns(verb: str) -> None:
    for line in examples_of_lines(verb):
        assert len(line) <= 78, line


def examples_of_lines(verb: str) -> list[str]:
    text = re.split(r"\n Examples *\n", help_of(verb))[1].split("Exit code:")[0]
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert all(line.startswith("   ") for line in lines), "examples are indented"
    return lines


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_does(verb: str) -> None:
    for parameter in GROUP.commands[verb].params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", None), parameter.name


def test_overrides_in_examples_are_keys_of_the_config() -> None:
    from tooltune.config.hints import key_paths
    from tooltune.config.schema import Config

    keys = {".".join(path) for path in key_paths(Config)}
    used = set(re.findall(r"--([a-z_]+(?:\.[a-z_]+)+)=", "".join(map(help_of, VERBS))))
    assert used
    assert used <= keys | {"section.key"}


def test_help_is_quick_and_imports_no_torch() -> None:
    probe = (
        "import sys; from tooltune.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    words = [sys.executable, "-c", probe]
    before = time.process_time(), os.times().children_user
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "check" in done.stdout
    assert os.times().children_user - before[1] < 1.5  # seconds of CPU; usually 0.2


def test_the_version_is_the_packages() -> None:
    assert succeeds("--version").out.strip() == __version__


def test_no_command_shows_the_help() -> None:
    printed = tooltune()
    assert "preview" in printed.out + printed.err


def test_an_unknown_command_is_refused() -> None:
    printed = tooltune("trian", "my.yaml")
    assert printed.code == 2
    assert "trian" in printed.err
