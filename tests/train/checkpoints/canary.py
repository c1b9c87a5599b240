"""Files that do something when a program unpickles them: they make a file, the canary."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import torch


class Payload:
    """Whoever unpickles one makes the file `canary`."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.canary, "w")


def raw(canary: Path) -> bytes:
    return pickle.dumps(Payload(canary))


def zipped(canary: Path) -> bytes:
    """As `torch.save` writes it: what a loader of `.bin`, `.pt` or `.distcp` expects."""
    stream = io.BytesIO()
    torch.save({"weight": Payload(canary)}, stream)
    return stream.getvalue()


KINDS = {"raw": raw, "zipped": zipped}
