"""The training recipe, to be read from top to bottom."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tooltune.config.schema import Config
from tooltune.evaluate.compare import compare_evaluations, load_evaluation, write_comparison
from tooltune.models.load import load_tokenizer
from tooltune.train.batches import StepPlan, cost_model, pack, pack_in_parts, step_plan
from tooltune.train.checkpoint import CheckpointStore, checkpoint_name, read_state
from tooltune.train.data import RunData, prepare_data
from tooltune.train.log import RunLog
from tooltune.train.optim import NonFiniteError, clip_gradients, learning_rate, set_learning_rate
from tooltune.train.preparation.build import Preparing
from tooltune.train.progress import Progress
from tooltune.train.rundir import open_run_directory, run_date, write_run_facts
from tooltune.train.state import restore_rng, rng_state
from tooltune.train.trainee import Trainee, build_trainee
from tooltune.train.validate import evaluate_saved_model, evaluate_tool_calls, validation_loss

_WARMUP_SHARE = 0.03
_FINAL, _BASE = "final", "step_0"  # evaluations of the saved last model, and before training
_HEADLINE = "tool_call/balanced_accuracy"  # picks the best checkpoint
COMPARISON = "comparison.json"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where the run is, and its comparison of base and tuned (None where nothing is held out)."""

    directory: Path
    comparison: dict[str, Any] | None


@dataclass(slots=True)
class Progressed:
    """What a run has done so far: everything that a checkpoint must remember beside tensors.

    best maps a link (`LOWEST_VAL`, `BEST_TOOL_CALL`) to its value and checkpoint name.
    """

    step: int = 0
    skipped_steps: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    best: dict[str, dict[str, Any]] = field(default_factory=dict)


def train(config: Config, preparing: Preparing | None = None) -> TrainResult:
    """Fine-tune as `config` says; the same call on an unfinished run resumes it.

    `preparing` is told how the preparation of the data goes.

    Raises: UserError for what the user can fix, NonFiniteError when a loss or gradient is not
    finite (nothing was updated; the last checkpoint is untouched). A run that has its comparison
    is finished, and left as it is.
    """
    tokenizer = load_tokenizer(
        config.model.pretrained_model_name_or_path, chat_template=config.model.chat_template
    )
    data = prepare_data(config, tokenizer, date=run_date(config), how=preparing)
    directory = open_run_directory(config)
    plan = step_plan(config, len(data.train))
    progress = Progress(plan.total_steps, every=config.log.every_steps)
    with RunLog(directory, progress=progress) as log:
        write_run_facts(directory, data, tokenizer)
        if (comparison := _written_comparison(directory)) is not None:
            log.info("this run is finished already; its comparison is kept")
            return TrainResult(directory, comparison)
        run = Run(config, tokenizer, data, directory, plan, log)
        try:
            run.start()
            while run.done.step < plan.total_steps:
                run.train_step()
                run.validate_and_save()
            comparison = run.finish()
        except BaseException as error:
            log.error(f"{type(error).__name__}: {error}")
            raise
    return TrainResult(directory, comparison)


class Run:
    """One run: `start`, then `train_step` and `validate_and_save` for each step, `finish`."""

    def __init__(
        self,
        config: Config,
        tokenizer: Any,
        data: RunData,
        directory: Path,
        plan: StepPlan,
        log: RunLog,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.data = data
        self.directory = directory
        self.plan = plan
        self.log = log
        self.done = Progressed()
        self.store = CheckpointStore(directory / "checkpoints", warn=log.warning)
        _seed_everything(config.seed)
        self.trainee: Trainee = build_trainee(config, tokenizer)
        self.cost = cost_model(self.trainee.device.type)
        share = math.ceil(_WARMUP_SHARE * plan.total_steps)
        warmup = config.lr_scheduler.lr_warmup_steps
        self.warmup_steps = share if warmup is None else warmup

    # --- start: fresh, or from the last complete checkpoint ---------------------------------

    def start(self) -> None:
        self._announce()
        self.store.recover()
        checkpoint = self.store.latest_complete()
        if checkpoint is not None:
            self._resume(checkpoint)
            return
        self.log.truncate_after(-1)
        self._validate_loss()
        if self.data.samples:
            self._log_tool_calls(self._tool_calls_before_training())

    def _announce(self) -> None:
        data, trainee, plan = self.data, self.trainee, self.plan
        say = self.log.info
        say(
            f"{data.rows_read} rows read, {data.rows_accepted} accepted, "
            f"{len(data.ledger.rejections)} rejected (ledger.jsonl): {len(data.train)} traces to "
            f"train on, {len(data.held_out)} held out, {len(data.samples)} turns to generate"
        )
        say(
            f"{plan.total_steps} steps of {plan.global_batch_size} traces, "
            f"{trainee.trainable_parameters:,} trained parameters, {trainee.compute_dtype} on "
            f"{trainee.device}"
        )
        if trainee.flat_reason is not None:
            say(f"flat sequences, no prefix sharing: {trainee.flat_reason}")

    def _resume(self, checkpoint: Path) -> None:
        self.trainee.load_training_state(checkpoint / "optim")
        state = read_state(checkpoint)
        self.done = Progressed(**state["done"])
        for remark in restore_rng(state["rng"]):
            self.log.warning(remark)
        # A kill between a save and its links is made good here: the links follow the state.
        for link, best in self.done.best.items():
            if self.store.is_complete(best["name"]):
                self.store.link(link, best["name"])
        self.log.truncate_after(self.done.step)
        self.log.info(f"resumed from {checkpoint.name} at step {self.done.step}")

    def _tool_calls_before_training(self) -> dict[str, Any]:
        """Base scores; those of an earlier start that was killed before a checkpoint are kept."""
        kept = self.directory / "eval" / _BASE / "metrics.json"
        if kept.is_file():
            metrics: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            return {k: v for k, v in metrics.items() if k.startswith("tool_call/")}
        return self._evaluate_in_memory(_BASE)

    # --- one step ----------------------------------------------------------------------------

    def train_step(self) -> None:
        """Forward, backward and update on the next `global_batch_size` traces (invariant 6)."""
        started = time.monotonic()
        step = self.done.step
        rows = [self.data.train[i] for i in self.plan.traces(step)]
        batches = pack(rows, self.cost, max_traces=self.config.step_scheduler.local_batch_size)
        total_weight = sum(batch.forest.total_weight for batch in batches)
        self.done.step += 1
        if total_weight == 0:
            self.done.skipped_steps += 1
            self.log.warning(f"step {step + 1} has no targets and was skipped")
            return
        loss = 0.0
        for batch in batches:
            share = self.trainee.nll(batch) / total_weight
            loss += float(share.detach())
            if not math.isfinite(loss):
                raise NonFiniteError(_non_finite_message(step + 1, batch.turns[0].trace_id))
            share.backward()
        lr = self._learning_rate(step)
        masters = self.trainee.masters.parameters()
        grad_norm = clip_gradients(masters, self.config.optimizer.max_grad_norm)
        set_learning_rate(self.trainee.optimizer, lr)
        self.trainee.optimizer.step()
        self.trainee.optimizer.zero_grad(set_to_none=True)
        self.trainee.masters.write_back()
        tokens = sum(len(batch.forest) for batch in batches)
        trained = sum(turn.n_targets for batch in batches for turn in batch.turns)
        self.done.tokens += tokens
        self.done.trained_tokens += trained
        self.log.train_step(
            step=step + 1,
            epoch=self.plan.epoch(step),
            loss=loss,
            lr=lr,
            grad_norm=grad_norm,
            tokens=tokens,
            trained_tokens=trained,
            seconds=time.monotonic() - started,
            micro_batches=len(batches),
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

    # --- validation and checkpoints ----------------------------------------------------------

    def validate_and_save(self) -> None:
        """Whatever is due after the step just made; a new best is always saved."""
        step, schedule = self.done.step, self.config.step_scheduler
        last = step == self.plan.total_steps
        improved: list[str] = []
        if self._due(schedule.val_every_steps) and (loss := self._validate_loss()) is not None:
            improved += self._note_best("LOWEST_VAL", -loss)
        every = self.config.tool_call_eval.every_steps or schedule.val_every_steps
        # After the last step the *saved* model is generated from, in `finish`.
        if self.data.samples and self._due(every) and not last:
            metrics = self._evaluate_in_memory(f"step_{step}")
            self._log_tool_calls(metrics)
            improved += self._note_best("BEST_TOOL_CALL", metrics.get(_HEADLINE))
        if last or improved or self._due(schedule.ckpt_every_steps):
            self._save(improved)

    def _due(self, every: int | None) -> bool:
        return self.done.step % (every or self.plan.steps_per_epoch) == 0 or (
            self.done.step == self.plan.total_steps
        )

    def _validate_loss(self) -> float | None:
        if not self.data.held_out:
            return None
        started = time.monotonic()
        local = self.config.step_scheduler.local_batch_size
        batches = pack_in_parts(self.data.held_out, self.cost, max_traces=local)
        loss = validation_loss(self.trainee, batches)
        self._log_metrics("val", {"loss": loss, "seconds": time.monotonic() - started})
        return loss

    def _evaluate_in_memory(self, tag: str) -> dict[str, Any]:
        name = self.config.model.pretrained_model_name_or_path
        with self.trainee.evaluation_weights() as model:
            return evaluate_tool_calls(
                model,
                self.tokenizer,
                self.data,
                self.config,
                self.directory / "eval" / tag,
                name=name if tag == _BASE else f"{name} at {tag}",
                say=self.log.info,
            )

    def _log_tool_calls(self, metrics: Mapping[str, Any]) -> None:
        self._log_metrics("tool_call", metrics)

    def _log_metrics(self, kind: str, metrics: Mapping[str, Any]) -> None:
        step = self.done.step
        epoch = self.plan.epoch(max(0, step - 1))
        self.log.metrics({"step": step, "epoch": epoch, "kind": kind, **metrics})

    def _note_best(self, link: str, value: float | None) -> list[str]:
        """Record a new best (higher is better) under the current step; the links it moves.

        `value` is None where the main evaluation set has no turns.
        """
        best = self.done.best.get(link)
        if value is None or (best is not None and value <= best["value"]):
            return []
        self.done.best[link] = {"value": value, "name": self._name()}
        return [link]

    def _name(self) -> str:
        return checkpoint_name(self.plan.epoch(self.done.step - 1), self.done.step)

    def _save(self, improved: list[str]) -> None:
        settings = self.config.checkpoint
        if not settings.enabled:
            return
        name = self._name()
        state = {
            "done": asdict(self.done),
            "rng": rng_state(),
            "render": self.data.renderer.spec.to_dict(),
            "stop_ids": list(self.data.renderer.stop_ids),
        }

        def write(path: Path) -> None:
            self.trainee.save_training_state(path / "optim")
            self.trainee.save_model(
                path / "model",
                self.tokenizer,
                stop_ids=self.data.renderer.stop_ids,
                render=self.data.renderer.spec,
                consolidated=True,
            )

        self.store.save(name, write, state)
        for link in improved:
            self.store.link(link, name)
        self._tidy()

    def _tidy(self) -> None:
        """Forget old checkpoints; merged LoRA copies stay only where a link points."""
        self.store.prune(self.config.checkpoint.keep_last)
        if not self.trainee.is_lora or self.config.checkpoint.save_consolidated == "all":
            return
        links = ("LATEST", "LOWEST_VAL", "BEST_TOOL_CALL")
        linked = {path.name for link in links if (path := self.store.resolve(link))}
        for path in self.store.all():
            if path.name not in linked:
                self.store.drop(path.name, "model/consolidated")

    # --- the end -----------------------------------------------------------------------------

    def finish(self) -> dict[str, Any] | None:
        """Score the final model as saved, and compare it with the base model of step 0."""
        if not self.data.samples:
            return None
        latest = self.store.resolve("LATEST")
        if latest is None:
            metrics = self._evaluate_in_memory(_FINAL)
        else:
            metrics = evaluate_saved_model(
                latest / "model" / "consolidated",
                self.tokenizer,
                self.data,
                self.config,
                self.directory / "eval" / _FINAL,
                self.trainee.device,
                say=self.log.info,
            )
            for link in self._note_best("BEST_TOOL_CALL", metrics.get(_HEADLINE)):
                self.store.link(link, latest.name)
            self._tidy()
        comparison = self._compare()
        self._log_tool_calls(metrics)
        write_comparison(self.directory / COMPARISON, comparison)  # last: it marks the end
        return comparison

    def _compare(self) -> dict[str, Any]:
        evaluations = self.directory / "eval"
        return compare_evaluations(
            load_evaluation(evaluations / _BASE),
            load_evaluation(evaluations / _FINAL),
            base_name=self.config.model.pretrained_model_name_or_path,
            tuned_name=f"{self.directory.name} (step {self.done.step})",
        )


def _written_comparison(directory: Path) -> dict[str, Any] | None:
    path = directory / COMPARISON
    found: dict[str, Any] | None = None
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
    return found


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _non_finite_message(step: int, trace_id: str) -> str:
    return (
        f"the loss of step {step} is not finite (first trace of its micro-batch: {trace_id}); the "
        "update was not made\n"
        "  fix: a lower optimizer.lr, more lr_scheduler.lr_warmup_steps, or model.dtype: float32"
    )
