"""The tiny LoRA run of the commands' tests: read here, never written to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun, data, model, run

__all__ = ["data", "model", "run"]  # fixtures


@pytest.fixture
def copied(run: TinyRun, tmp_path: Path) -> Path:
    """A copy of the run's folder, to be damaged."""
    return Path(shutil.copytree(run.folder, tmp_path / "copied", symlinks=True))
