"""A cache for each test, a file of traces, and a renderer that counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.train.tiny_run import write_traces
from tooltune.render.turns import Renderer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which entries lie; empty."""
    monkeypatch.setenv("TOOLTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_traces(tmp_path / "traces.jsonl", 40)


@pytest.fixture
def renderer(builtin_tokenizer: Any) -> Renderer:
    return Renderer(builtin_tokenizer)
