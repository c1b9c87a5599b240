"""The trackers of a run: what `log.trackers` names, opened, fed and ended together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.scrub import scrub, scrub_text
from tooltune.train.trackers.delivery import Delivery, in_words
from tooltune.train.trackers.mlflow import MLflow
from tooltune.train.trackers.protocol import RunFacts, Status, Tracker
from tooltune.train.trackers.tensorboard import TensorBoard
from tooltune.train.trackers.trackio import Trackio
from tooltune.train.trackers.wandb import WandB

FOLDER = "trackers"
_START_SECONDS = 120.0
_FINISH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Service:
    make: Callable[[], Tracker]
    module: str
    package: str
    help: str


SERVICES: dict[str, _Service] = {
    "tensorboard": _Service(TensorBoard, "tensorboard", "tensorboard", "make output_dir writable"),
    "wandb": _Service(
        WandB, "wandb", "wandb", "log in (wandb login, or WANDB_API_KEY), or set WANDB_MODE=offline"
    ),
    "mlflow": _Service(
        MLflow,
        "mlflow",
        "mlflow-skinny",
        "point MLFLOW_TRACKING_URI at a server (its local stores need packages of their own)",
    ),
    "trackio": _Service(
        Trackio, "trackio", "trackio", "check log.project, and TRACKIO_DIR or TRACKIO_SPACE_ID"
    ),
}
"""By the name in `log.trackers`: what it is made of, what must be installed, where to look."""


def require_trackers(names: Iterable[str]) -> None:
    """Raise a UserError that names the command to install what is missing."""
    missing = [name for name in dict.fromkeys(names) if not _installed(SERVICES[name].module)]
    if missing:
        packages = " ".join(SERVICES[name].package for name in missing)
        raise UserError(
            f"log.trackers: {', '.join(missing)} cannot be used: not installed",
            fix=f"pip install {packages}, or leave out of log.trackers what is not installed",
        )


def _installed(module: str) -> bool:
    # Trackers leave folders of their own name behind, which Python takes for empty packages.
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def open_trackers(config: Config, directory: Path, resumed_from_step: int | None) -> Trackers:
    """Start what `log.trackers` names, for the run in `directory`. Only rank 0 may call this.

    Raises: UserError for a tracker that is not installed, or that a fresh run cannot start. A
    resumed run, which may be started by a scheduler, goes on without it and says so.
    """
    require_trackers(config.log.trackers)
    trackers = Trackers()
    for name in dict.fromkeys(config.log.trackers):
        run = RunFacts(
            directory=directory / FOLDER / name,
            project=scrub_text(config.log.project),
            name=scrub_text(config.log.run_name or directory.resolve().name),
            config=scrub(config.resolved()),
            resumed_from_step=resumed_from_step,
        )
        delivery = Delivery(name, SERVICES[name].make(), run)
        try:
            trackers.add(delivery)
        except Exception as error:
            if resumed_from_step is None:
                trackers.finish("failed")
                raise UserError(
                    f"log.trackers: {name} cannot be started: {in_words(error)}",
                    fix=f"{SERVICES[name].help}, or leave it out of log.trackers",
                ) from error
            trackers.warn(
                f"{name} cannot be started, and is left out until the run is resumed again "
                f"({in_words(error)})"
            )
    return trackers


class Trackers:
    """All trackers of a run. What they have to say waits for `take_messages`."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._warnings: list[str] = []
        self._deliveries: list[Delivery] = []

    def add(self, delivery: Delivery, seconds: float = _START_SECONDS) -> None:
        """Start one. Raises what that raises, or TimeoutError."""
        started = delivery.start(seconds)
        self._deliveries.append(delivery)
        self._notes.append(f"{delivery.name}: {started.where}")

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Take one line of `metrics.jsonl`; those without a step are nothing for a tracker."""
        if isinstance(record.get("step"), int):
            for delivery in self._deliveries:
                delivery.put(record)

    def warn(self, text: str) -> None:
        self._warnings.append(text)

    def take_messages(self) -> tuple[list[str], list[str]]:
        """Notes and warnings, a line each, since the last call."""
        self._collect()
        taken = self._notes, self._warnings
        self._notes, self._warnings = [], []
        return taken

    def finish(self, status: Status, seconds: float = _FINISH_SECONDS) -> None:
        """Let all send what they have, within `seconds` together."""
        for delivery in self._deliveries:
            delivery.finish(status)
        deadline = time.monotonic() + seconds
        for delivery in self._deliveries:
            if not delivery.join(deadline - time.monotonic()):
                self._warnings.append(f"{delivery.name} was not done within {seconds:.0f} s")
        self._collect()
        self._deliveries.clear()

    def _collect(self) -> None:
        for delivery in self._deliveries:
            self._warnings += delivery.messages()
