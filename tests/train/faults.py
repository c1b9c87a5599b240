"""Whole runs of one or two ranks that are stopped at a moment of the test's choice.

Moments are counted: each time the process opens a file of the run's folder for writing, renames,
links or deletes one there, and each step. The count is the same in each run of one configuration.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from tooltune.config.schema import Config
from tooltune.train import recipe
from tooltune.train.parallel.world import World
from tooltune.train.recipe import train

_EVENTS = {
    *("open", "os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"),
    "shutil.rmtree",
}
STEP = "step"


@dataclass(frozen=True)
class Strike:
    """A signal that rank `victim` sends to itself at the `count`-th moment, or step (`at_step`).

    The moment's name is appended to `log`.
    """

    number: signal.Signals
    count: int
    log: Path
    victim: int = 0
    at_step: bool = False


def run(world: World, config: Config, strike: Strike | None = None) -> list[str]:
    """Train; return the moments that there were."""
    moments: list[str] = []
    folder = str(Path(config.output_dir).resolve())

    def at(moment: str) -> None:
        moments.append(moment)
        if strike is None or world.rank != strike.victim:
            return
        counted = moments.count(STEP) if strike.at_step else len(moments)
        if counted == strike.count and moment == (STEP if strike.at_step else moment):
            descriptor = os.open(strike.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{moment}\n".encode())
            os.close(descriptor)
            os.kill(os.getpid(), strike.number)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS or not listening:
            return
        if event == "open" and not _writes(arguments):
            return
        paths = [os.fsdecode(a) for a in arguments[:2] if isinstance(a, str | bytes | os.PathLike)]
        if any(os.path.abspath(path).startswith(folder) for path in paths):
            at(f"{event} {paths[-1].removeprefix(folder)}")

    original = recipe.Run.train_step

    def step(self: recipe.Run, *arguments: Any) -> None:
        at(STEP)
        original(self, *arguments)

    listening = [True]
    sys.addaudithook(heard)
    recipe.Run.train_step = step  # type: ignore[method-assign]
    try:
        train(config, world=world)
    finally:
        listening.clear()
        recipe.Run.train_step = original  # type: ignore[method-assign]
    return moments


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    if mode is not None:
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def in_a_save(moment: str) -> bool:
    return "/checkpoints/" in moment


def weights(run: Path) -> dict[str, Tensor]:
    """Every tensor of the latest checkpoint: trained weights, optimizer, consolidated model."""
    latest = (run / "checkpoints/LATEST").resolve()
    return {
        f"{path.relative_to(latest)}:{name}": tensor
        for path in sorted(latest.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
