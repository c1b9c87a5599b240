"""What a run keeps of itself: what a checkpoint of it holds, and how it goes on from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tooltune.config.schema import Config
from tooltune.train.batches import StepPlan
from tooltune.train.checkpoints.meeting import Meeting
from tooltune.train.checkpoints.rng import restore_rng_states, rng_states
from tooltune.train.checkpoints.state import training_tensors, write_training_tensors
from tooltune.train.checkpoints.store import (
    BEST_TOOL_CALL,
    LATEST,
    LOWEST_VAL,
    CheckpointStore,
    checkpoint_name,
    read_state,
)
from tooltune.train.data import RunData
from tooltune.train.folder.card import write_run_cards
from tooltune.train.log import RunLog
from tooltune.train.parallel.world import World
from tooltune.train.trainee import Trainee

_LINKS = (LATEST, LOWEST_VAL, BEST_TOOL_CALL)


@dataclass(slots=True)
class Progressed:
    """What a run has done so far: everything that a checkpoint must remember beside tensors.

    best maps a link (`LOWEST_VAL`, `BEST_TOOL_CALL`) to its value and checkpoint name.
    unmeasured: the run was asked to leave before it measured what is due after this step.
    """

    step: int = 0
    skipped_steps: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    best: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopping: dict[str, Any] = field(default_factory=dict)
    unmeasured: bool = False


@dataclass(slots=True)
class Keeping:
    """The checkpoints of one run. Every rank has one, and calls each method."""

    config: Config
    tokenizer: Any
    data: RunData
    directory: Path
    plan: StepPlan
    trainee: Trainee
    log: RunLog
    store: CheckpointStore = field(init=False)

    def __post_init__(self) -> None:
        place = self.directory / "checkpoints"
        self.store = CheckpointStore(place, warn=self.log.warning, world=self.world)

    @property
    def world(self) -> World:
        return self.trainee.world

    def name(self, step: int) -> str:
        return checkpoint_name(self.plan.epoch(step - 1), step)

    def newest(self) -> Path | None:
        """The newest checkpoint that is sound, once leftovers of a killed process are gone."""
        return self.store.settle()

    def latest(self) -> Path | None:
        """Where LATEST points, every save being done. Raises what a save in the background did."""
        self.store.wait()
        return self.world.lead(lambda: self.store.resolve(LATEST), "reading the run's folder")

    def restore(self, checkpoint: Path) -> Progressed:
        """Make the trainee, and the random states, what they were at `checkpoint`."""
        self.trainee.load_training_state(checkpoint / "optim")
        state = self.world.lead(lambda: read_state(checkpoint), "reading a checkpoint")
        done = Progressed(**state["done"])
        for remark in restore_rng_states(
            state["rng"], self.world, seed=self.config.seed, step=done.step
        ):
            self.log.warning(remark)
        # A kill between a save and its links is made good here: the links follow the state.
        self.link({link: best["name"] for link, best in done.best.items()})
        return done

    def save(self, done: Progressed, improved: Sequence[str]) -> None:
        """Save a checkpoint, and move the links `improved` to it once it is there.

        One that is written beside the training (`checkpoint.async_save`) is a copy of this moment.
        """
        if not self.config.checkpoint.enabled:
            return
        name, renderer = self.name(done.step), self.data.renderer
        blocking = not self.config.checkpoint.async_save
        so_far = asdict(done)
        state = {
            "done": so_far,
            "rng": rng_states(self.world),
            "render": renderer.spec.to_dict(),
            "stop_ids": list(renderer.stop_ids),
        }
        masters = self.trainee.masters.parameters()
        tensors = training_tensors(masters, self.trainee.optimizer, copy=not blocking)

        def write(path: Path) -> None:
            self.trainee.save_model(
                path / "model",
                self.tokenizer,
                stop_ids=renderer.stop_ids,
                render=renderer.spec,
                consolidated=True,
            )
            if self.world.is_main:
                write_run_cards(path / "model", self.directory, so_far)

        def later(path: Path, world: Meeting) -> None:
            write_training_tensors(tensors, path / "optim", world)

        def then() -> None:
            for link in improved:
                self.store.link(link, name)
            self._tidy()

        self.store.save(name, write, state, later=later, then=then, blocking=blocking)

    def raise_if_failed(self) -> None:
        """Raise on all ranks, between two steps, what a save beside the training raised on any."""
        if self.config.checkpoint.async_save:
            failed = self.store.failure is not None
            if self.world.max(float(failed))[0]:
                self.wait()

    def wait(self) -> None:
        """Until no save is under way. Raises what the last one raised."""
        self.store.wait()

    def link(self, links: dict[str, str], *, tidy: bool = False) -> None:
        """Point each link at the checkpoint of that name, if it is there."""

        def do() -> None:
            for link, name in links.items():
                if self.store.is_complete(name):
                    self.store.link(link, name)
            if tidy:
                self._tidy()

        self.world.lead(do, "linking checkpoints")

    def _tidy(self) -> None:
        """Forget old checkpoints; merged LoRA copies stay only where a link points."""
        self.store.prune(self.config.checkpoint.keep_last)
        if not self.trainee.is_lora or self.config.checkpoint.save_consolidated == "all":
            return
        linked = {path.name for link in _LINKS if (path := self.store.resolve(link))}
        for path in self.store.all():
            if path.name not in linked:
                self.store.drop(path.name, "model/consolidated")
