"""The training recipe, to be read from top to bottom."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from tooltune.config.schema import Config
from tooltune.models.load import load_tokenizer
from tooltune.train.announce import announce
from tooltune.train.batches import StepPlan, step_plan
from tooltune.train.checkpoints.rng import seed_everything
from tooltune.train.checkpoints.store import BEST_TOOL_CALL, LOWEST_VAL
from tooltune.train.data import RunData, prepare_data
from tooltune.train.determinism import deterministic_kernels
from tooltune.train.folder.inputs import require_same_on_all
from tooltune.train.folder.rundir import note_changes, open_run_directory, run_date, write_run_facts
from tooltune.train.keep import Keeping, Progressed
from tooltune.train.log import METRICS, RunLog
from tooltune.train.measure import COMPARISON, FINAL, HEADLINE, Measuring, read_json
from tooltune.train.optim import NonFiniteError, learning_rate
from tooltune.train.parallel.silent import open_log
from tooltune.train.parallel.world import World
from tooltune.train.preparation.build import Preparing
from tooltune.train.progress import Progress
from tooltune.train.sizing.memory_error import out_of_memory
from tooltune.train.sizing.scale import cost_of_run
from tooltune.train.step import train_step
from tooltune.train.stopping import EarlyStopping, require_measurable
from tooltune.train.trackers.open import open_trackers, require_trackers
from tooltune.train.trainee import Trainee, build_trainee
from tooltune.train.watch.signals import Preempted, StopRequests
from tooltune.train.watch.watchdog import Watchdog

_WARMUP_SHARE = 0.03
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where the run is, and its comparison of base and tuned (None where nothing is held out)."""

    directory: Path
    comparison: dict[str, Any] | None


def train(
    config: Config, preparing: Preparing | None = None, world: World | None = None
) -> TrainResult:
    """Fine-tune as `config` says; the same call on an unfinished run resumes it.

    `preparing` is told how the preparation of the data goes. With several processes, each of them
    makes this call with its place in the `world`; rank 0 writes the run's files. SIGTERM, SIGUSR1
    and SIGINT are handled meanwhile: the run saves and leaves.

    Raises: UserError for what the user can fix, NonFiniteError when a loss or gradient is not
    finite (nothing was updated; the last checkpoint is untouched), Preempted where a signal asked
    the run to leave. A run that has its comparison is finished, and left as it is.
    """
    world = world or World.alone()
    limit, directory = config.distributed.timeout_seconds, Path(config.output_dir)
    with (
        deterministic_kernels(config.deterministic),
        StopRequests(tell=world.is_main) as stop,
        Watchdog(world, limit, directory) as watchdog,
    ):
        return _train(config, preparing, world, stop, watchdog)


def _train(
    config: Config,
    preparing: Preparing | None,
    world: World,
    stop: StopRequests,
    watchdog: Watchdog,
) -> TrainResult:
    world.lead(lambda: require_trackers(config.log.trackers), "looking for trackers")
    date = world.lead(lambda: run_date(config), "reading the run's folder")
    with watchdog.phase("preparing the data", limited=False):
        # Rank 0 leaves the prepared data, and a built-in model, in the cache for the others.
        tokenizer, data = world.main_first(lambda: _read(config, date, preparing))
        require_same_on_all(config, data, world)
    directory = world.lead(lambda: open_run_directory(config), "opening the run's folder")
    plan = step_plan(config, len(data.train))
    progress = Progress(plan.total_steps, every=config.log.every_steps)
    with open_log(directory, progress, world) as log:

        def open_run() -> list[str]:
            name = config.model.pretrained_model_name_or_path
            remarks = write_run_facts(directory, data, tokenizer, model=name, world_size=world.size)
            return remarks + note_changes(config, plan.total_steps)

        with watchdog.phase("describing the run", limited=False):  # hashes data and model
            for remark in world.lead(open_run, "describing the run"):
                log.warning(remark)
        path = directory / COMPARISON
        comparison = world.lead(lambda: read_json(path), "reading the run's folder")
        if comparison is not None:
            log.info("this run is finished already; its comparison is kept")
            return TrainResult(directory, comparison)
        try:
            with watchdog.phase("loading the model", limited=False):
                run = Run(config, tokenizer, data, directory, plan, log, world, stop, watchdog)
            if world.size > 1:  # ranks must leave together: from here on they agree to
                stop.defer()
            run.start()
            stop.defer()
            while not run.is_over:
                if not run.done.unmeasured:
                    run.train_step()
                run.leave_if_asked()
                run.keeping.raise_if_failed()
                run.validate_and_save()
            comparison = run.finish()
        except BaseException as error:
            log.error(f"{type(error).__name__}: {error}")
            if isinstance(error, NonFiniteError):  # every rank is here: what is saved stays
                with watchdog.phase("saving", limited=False):
                    run.keeping.wait()
            raise
    return TrainResult(directory, comparison)


def _read(config: Config, date: str, preparing: Preparing | None) -> tuple[Any, RunData]:
    tokenizer = load_tokenizer(
        config.model.pretrained_model_name_or_path, chat_template=config.model.chat_template
    )
    return tokenizer, prepare_data(config, tokenizer, date=date, how=preparing)


class Run:
    """One run: `start`, then `train_step` and `validate_and_save` for each step, `finish`.

    Every rank has one, and all do the same in the same order; what only one does, it does through
    `lead`.
    """

    def __init__(
        self,
        config: Config,
        tokenizer: Any,
        data: RunData,
        directory: Path,
        plan: StepPlan,
        log: RunLog,
        world: World,
        stop: StopRequests,
        watchdog: Watchdog,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.data = data
        self.directory = directory
        self.plan = plan
        self.log = log
        self.world = world
        self.stop = stop
        self.watchdog = watchdog
        self.done = Progressed()
        self.trainee: Trainee = build_trainee(config, tokenizer, world)
        # Dropout differs by rank, as it would by row on one.
        seed_everything(config.seed + world.rank)
        self.cost = cost_of_run(config, self.trainee.model, world)
        self.measuring = Measuring(
            config, tokenizer, data, directory, self.trainee, self.cost, log, watchdog, stop
        )
        self.keeping = Keeping(config, tokenizer, data, directory, plan, self.trainee, log)
        self.has_trained = False
        settings = config.early_stopping
        self.stopping = None if settings is None else EarlyStopping(settings)
        share = math.ceil(_WARMUP_SHARE * plan.total_steps)
        warmup = config.lr_scheduler.lr_warmup_steps
        self.warmup_steps = share if warmup is None else warmup

    def lead(self, do: Callable[[], _T], doing: str = "writing the run's files") -> _T:
        return self.world.lead(do, doing)

    @property
    def is_over(self) -> bool:
        """Whether no step is left to make, and nothing to be measured after the last one."""
        if self.done.unmeasured:
            return False
        stopped = self.stopping is not None and self.stopping.stop
        return stopped or self.done.step >= self.plan.total_steps

    # --- start: fresh, or from the last complete checkpoint ---------------------------------

    def start(self) -> None:
        self.world.together(self._require_measurable, "looking at early_stopping")
        announce(self.config, self.data, self.plan, self.trainee, self.log)
        with self.watchdog.phase("reading checkpoints", limited=False):
            checkpoint = self.keeping.newest()
        if checkpoint is not None:
            self._resume(checkpoint)
            return
        self.lead(lambda: self.log.truncate_after(-1))
        self._track(None)
        self._validate_loss()
        if self.data.samples:
            self._log_metrics("tool_call", self.measuring.tool_calls_before_training())

    def _require_measurable(self) -> None:
        require_measurable(
            self.config,
            held_out=len(self.data.held_out),
            samples=self.data.samples,
            sharded=self.trainee.is_sharded,
        )

    def _resume(self, checkpoint: Path) -> None:
        with self.watchdog.phase("reading checkpoints", limited=False):
            self.done = self.keeping.restore(checkpoint)
        step = self.done.step
        if self.stopping is not None:
            self.stopping = EarlyStopping.from_dict(self.stopping.settings, self.done.stopping)
        # A finished run that goes on: the best found at its very end is not in its checkpoint.
        path = self.directory / "eval" / f"step_{step}" / "metrics.json"
        scored = self.lead(lambda: read_json(path))
        if scored is not None:
            self._note_best(BEST_TOOL_CALL, scored.get(HEADLINE))
        self.lead(self._continue_history)
        self.log.info(f"resumed from {checkpoint.name} at step {step}")
        self._track(step)

    def _continue_history(self) -> None:
        step = self.done.step
        self.log.truncate_after(step, measured=not self.done.unmeasured)
        if not (self.directory / METRICS).stat().st_size:
            self.log.warning(f"{METRICS} is gone or empty: its history begins at step {step}")

    def _track(self, resumed_from_step: int | None) -> None:
        def track() -> None:
            self.log.track(open_trackers(self.config, self.directory, resumed_from_step))

        self.lead(track, "starting trackers")

    # --- one step ----------------------------------------------------------------------------

    def train_step(self) -> None:
        """Forward, backward and update on the next `global_batch_size` traces (invariant 6)."""
        started = time.monotonic()
        step = self.done.step
        lr = self._learning_rate(step)
        rows = [self.data.train[i] for i in self.plan.traces(step)]
        self.watchdog.beat("training", step=step)
        compiling = self.config.model.compile and not self.has_trained
        try:
            with self.watchdog.phase("training", limited=not compiling):
                result = train_step(
                    self.trainee,
                    rows,
                    number=step + 1,
                    lr=lr,
                    max_grad_norm=self.config.optimizer.max_grad_norm,
                    max_traces=self.config.step_scheduler.local_batch_size,
                    cost=self.cost,
                    on_batch=self.watchdog.beat,
                )
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self.config, self.trainee, self.cost, rows, step + 1) from error
        self.has_trained = True
        self.done.step += 1
        if result is None:
            self.done.skipped_steps += 1
            self.log.warning(f"step {step + 1} has no targets and was skipped")
            return
        self.done.tokens += result.tokens
        self.done.trained_tokens += result.trained_tokens
        self.log.train_step(
            step=step + 1,
            epoch=self.plan.epoch(step),
            lr=lr,
            seconds=time.monotonic() - started,
            **asdict(result),
        )

    def _learning_rate(self, step: int) -> float:
        schedule = self.config.lr_scheduler
        return learning_rate(
            step,
            self.plan.total_steps,
            lr=self.config.optimizer.lr,
            min_lr=schedule.min_lr,
            warmup_steps=self.warmup_steps,
            style=schedule.lr_decay_style,
        )

    def leave_if_asked(self) -> None:
        """Save and raise `Preempted` where a signal asked any rank to stop.

        Before what is due after the step is measured: that may take longer than a scheduler waits.
        """
        name = self.stop.agreed(self.world)
        if name is not None:
            self._leave(name)

    def _leave(self, signal_name: str) -> None:
        self.done.unmeasured = True
        with self.watchdog.phase("saving", limited=False):
            self._save([])
            self.keeping.wait()
        raise Preempted(signal_name)

    # --- validation and checkpoints ----------------------------------------------------------

    def validate_and_save(self) -> None:
        """Whatever is due after the step just made; a new best is always saved."""
        self.done.unmeasured = False
        before = copy.deepcopy(self.done)
        try:
            improved, stop = self._measure()
        except Preempted as request:
            self.done = before
            self._leave(request.signal_name)
            raise
        last = stop or self.done.step == self.plan.total_steps
        if last or improved or self._due(self.config.step_scheduler.ckpt_every_steps):
            self._save(improved)

    def _measure(self) -> tuple[list[str], bool]:
        """The links that move to this step, and whether the run shall stop here."""
        step, schedule = self.done.step, self.config.step_scheduler
        improved: list[str] = []
        measured: dict[str, float | None] = {}
        if self._due(schedule.val_every_steps) and (loss := self._validate_loss()) is not None:
            improved += self._note_best(LOWEST_VAL, -loss)
            measured["val_loss"] = loss
        every = self.config.tool_call_eval.every_steps or schedule.val_every_steps
        # After the last step the *saved* model is generated from, in `finish`.
        last = step == self.plan.total_steps
        if self.measuring.generates_between_steps and self._due(every) and not last:
            metrics = self.measuring.tool_calls(f"step_{step}")
            self._log_metrics("tool_call", metrics)
            measured["tool_call"] = metrics.get(HEADLINE)
            improved += self._note_best(BEST_TOOL_CALL, metrics.get(HEADLINE))
        if self.stopping is None or self.stopping.settings.metric not in measured:
            return improved, False
        stop = self.stopping.note(measured[self.stopping.settings.metric])
        self.done.stopping = self.stopping.to_dict()
        if stop:
            self.log.info(self.stopping.reason)
        return improved, stop

    def _due(self, every: int | None) -> bool:
        return self.done.step % (every or self.plan.steps_per_epoch) == 0 or (
            self.done.step == self.plan.total_steps
        )

    def _validate_loss(self) -> float | None:
        measured = self.measuring.loss()
        if measured is None:
            return None
        self._log_metrics("val", measured)
        return measured["loss"]

    def _log_metrics(self, kind: str, metrics: dict[str, Any]) -> None:
        step = self.done.step
        epoch = self.plan.epoch(max(0, step - 1))
        self.log.metrics({"step": step, "epoch": epoch, "kind": kind, **metrics})

    def _note_best(self, link: str, value: float | None) -> list[str]:
        """Record a new best (higher is better) under the current step; the links it moves.

        `value` is None where the main evaluation set has no turns.
        """
        best = self.done.best.get(link, {"value": -math.inf})
        if value is None or not value > best["value"]:  # NaN is no best
            return []
        self.done.best[link] = {"value": value, "name": self.keeping.name(self.done.step)}
        return [link]

    def _save(self, improved: list[str]) -> None:
        with self.watchdog.phase("saving", limited=False):
            self.keeping.save(self.done, improved)

    # --- the end -----------------------------------------------------------------------------

    def finish(self) -> dict[str, Any] | None:
        """Score the final model as saved, and compare it with the base model of step 0."""
        with self.watchdog.phase("saving", limited=False):
            latest = self.keeping.latest()
        if not self.data.samples:
            return None
        if latest is None:
            metrics = self.measuring.tool_calls(FINAL)
        else:
            metrics = self.measuring.tool_calls_of_saved(latest / "model" / "consolidated")
            improved = self._note_best(BEST_TOOL_CALL, metrics.get(HEADLINE))
            self.keeping.link(dict.fromkeys(improved, latest.name), tidy=True)
        comparison = self.lead(lambda: self.measuring.compare(self.done.step), "comparing")
        self._log_metrics("tool_call", metrics)
        self.lead(lambda: self.measuring.write(comparison))  # last: it marks the end
        return comparison
