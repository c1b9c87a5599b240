"""What must stay light: reading traces, rendering, configs, reports and `--help` need no torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.assets import REPOSITORY

LIGHT = [
    "tooltune",
    "tooltune.traces",
    "tooltune.toolcalls",
    "tooltune.render",
    "tooltune.config",
    "tooltune.worlds",
    "tooltune.report",
    "tooltune.cli.main",
]

# Every module below a light package, not only what its __init__ happens to import.
PROBE = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    if name != "tooltune":
        for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
            importlib.import_module(found.name)
    if "torch" in sys.modules:
        sys.exit(f"{name} imports torch")
"""


def _probe(*modules: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, *modules],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_light_packages_and_the_command_line_import_no_torch() -> None:
    done = _probe(*LIGHT)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_probe_would_notice_torch() -> None:
    done = _probe("torch.version")
    assert done.returncode == 1
    assert "torch.version imports torch" in done.stderr
