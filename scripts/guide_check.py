"""Without running anything: does the guide's source name what exists?"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from scripts.guide_page import Block, Part, blocks_of
from tooltune.cli.main import app
from tooltune.config.load import load_config

ROOT = Path(__file__).parents[1]
_SHELL = re.compile(r"[|&;<>()]+")  # what ends a command, or takes its output elsewhere


def problems(parts: Sequence[Part]) -> Iterator[str]:
    """A line for each command, option, config key or Python block that cannot work."""
    with tempfile.TemporaryDirectory() as folder:
        configs = _write_configs(parts, Path(folder))
        for block in blocks_of(parts):
            try:
                _check(block, configs)
            except Exception as error:  # whatever it is: the block cannot work
                yield f"{block.name}: {str(error) or type(error).__name__}"


def _write_configs(parts: Sequence[Part], folder: Path) -> Path:
    for block in blocks_of(parts):
        if block.file:
            (folder / block.file).write_text(block.code + "\n", encoding="utf-8")
    return folder


def _check(block: Block, configs: Path) -> None:
    """Raises: SyntaxError, ValueError, UserError or an error of typer for what cannot work."""
    if block.language == "python":
        compile(block.code, block.name, "exec")
    elif block.language == "yaml" and block.file:
        load_config(configs / block.file)
    elif block.language == "bash":
        for words in tooltune_commands(block.code):
            _check_command(words, configs)


def tooltune_commands(code: str) -> Iterator[list[str]]:
    """The words behind `tooltune` of each call in a piece of bash, up to a pipe or the like."""
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        while "tooltune" in words:
            words = words[words.index("tooltune") + 1 :]
            ends = (i for i, word in enumerate(words) if _SHELL.fullmatch(word))
            end = next(ends, len(words))
            redirected = end < len(words) and words[end][0] == ">" and words[end - 1].isdigit()
            yield words[: end - redirected]
            words = words[end:]


def _check_command(words: list[str], configs: Path) -> None:
    group: Any = typer.main.get_command(app)
    if words and words[0].startswith("-"):
        group.make_context("tooltune", [*words, "--help"], resilient_parsing=True)
        return
    verb = words[0] if words else ""
    command = group.commands.get(verb)
    if command is None:
        raise ValueError(f"there is no command `tooltune {verb}`")
    context = command.make_context(verb, words[1:])
    # what is left are overrides, of the config that the command names
    named = next((word for word in words[1:] if word.endswith((".yaml", ".yml"))), None)
    if named is None:
        if context.args:
            raise ValueError(f"`tooltune {verb}` takes no {context.args}")
        return
    path = configs / named
    if not path.exists():
        path = ROOT / named
    if path.exists():
        load_config(path, context.args)
