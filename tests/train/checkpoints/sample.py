"""Small checkpoints of made-up files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tooltune.train.checkpoints.store import CheckpointStore, checkpoint_name


def fill(step: int, tag: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model/consolidated").mkdir(parents=True)
        (folder / "model/adapter").mkdir()
        (folder / "optim").mkdir()
        (folder / "model/consolidated/weights").write_bytes(bytes([step % 256]) * 300)
        (folder / "model/adapter/adapter").write_bytes(b"adapter" + tag.encode())
        (folder / "optim/moments").write_bytes(random.Random(step).randbytes(200))

    return write


def save(store: CheckpointStore, step: int, tag: str = "") -> Path:
    return store.save(checkpoint_name(0, step), fill(step, tag), {"step": step, "tag": tag})


def names(store: CheckpointStore) -> list[str]:
    return [path.name for path in store.all()]


def python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """A process that runs `code`, which may import the tests; what it prints is kept."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
