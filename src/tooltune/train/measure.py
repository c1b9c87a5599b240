"""What a run measures: the loss and the tool calls of what it holds out, before, during, after."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.evaluate.compare import compare_evaluations, load_evaluation, write_comparison
from tooltune.train.batches import CostModel, pack_in_parts
from tooltune.train.data import RunData
from tooltune.train.log import RunLog
from tooltune.train.trainee import Trainee
from tooltune.train.validate import evaluate_tool_calls, load_saved_model, validation_loss
from tooltune.train.watch.signals import StopRequests
from tooltune.train.watch.watchdog import Watchdog

HEADLINE = "tool_call/balanced_accuracy"  # picks the best checkpoint
BASE, FINAL = "step_0", "final"  # evaluations before training, and of the saved last model
COMPARISON = "comparison.json"


@dataclass(frozen=True, slots=True)
class Measuring:
    """The measurements of one run, by name (`eval/NAME`). Every rank makes them together."""

    config: Config
    tokenizer: Any
    data: RunData
    directory: Path
    trainee: Trainee
    cost: CostModel
    log: RunLog
    watchdog: Watchdog
    stop: StopRequests

    def loss(self) -> dict[str, float] | None:
        """`loss` over the held-out traces, and `seconds`; None where nothing is held out."""
        if not self.data.held_out:
            return None
        started = time.monotonic()
        local = self.config.step_scheduler.local_batch_size
        batches = pack_in_parts(self.data.held_out, self.cost, max_traces=local)
        with self.watchdog.phase("validating"):
            loss = validation_loss(self.trainee, batches, on_batch=self.watchdog.beat)
        return None if loss is None else {"loss": loss, "seconds": time.monotonic() - started}

    @property
    def generates_between_steps(self) -> bool:
        """Whether tool calls are measured while training goes on."""
        switched_off = self.trainee.is_sharded and not self.config.tool_call_eval.run_on_fsdp2
        return bool(self.data.samples) and not switched_off

    def tool_calls_before_training(self) -> dict[str, Any]:
        """Base scores; those of an earlier start that was killed before a checkpoint are kept."""
        path = self.directory / "eval" / BASE / "metrics.json"
        kept = self.trainee.world.lead(lambda: read_json(path), "reading the run's folder")
        return _tool_call_keys(kept) if kept is not None else self.tool_calls(BASE)

    def tool_calls(self, name: str) -> dict[str, Any]:
        """The `tool_call/*` metrics of the model as it is now."""
        model_name = self.config.model.pretrained_model_name_or_path
        with self.watchdog.phase("evaluating"), self.trainee.evaluation_weights() as model:
            return evaluate_tool_calls(
                model,
                self.tokenizer,
                self.data,
                self.config,
                self.directory / "eval" / name,
                self.trainee.world,
                name=model_name if name == BASE else f"{model_name} at {name}",
                say=self.log.info,
                between=self._between_turns,
                on_forward=self.watchdog.beat,
            )

    def tool_calls_of_saved(self, model: Path) -> dict[str, Any]:
        """The same of a consolidated model on disk, as the run's final evaluation.

        The trainee is over with that: two models may not fit into a GPU.

        Raises: UserError where even the one does not.
        """
        self.trainee.release()
        try:
            with self.watchdog.phase("loading the model", limited=False):
                loaded = load_saved_model(model, self.config, self.trainee.world)
            with self.watchdog.phase("evaluating"):
                return evaluate_tool_calls(
                    loaded,
                    self.tokenizer,
                    self.data,
                    self.config,
                    self.directory / "eval" / FINAL,
                    self.trainee.world,
                    name=str(model),
                    say=self.log.info,
                    between=self._between_turns,
                    on_forward=self.watchdog.beat,
                )
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"training is done, but the saved model {model} does not fit into the memory of "
                "this GPU to be evaluated (quantized weights are saved merged, in bf16)",
                fix="start the same command on a larger GPU, or on several: it only evaluates; or "
                "serve the model and run tooltune eval --engine openai",
            ) from error

    def _between_turns(self) -> None:
        self.watchdog.beat()
        self.stop.raise_if_requested()

    def compare(self, step: int) -> dict[str, Any]:
        """The comparison of base and tuned; for rank 0."""
        evaluations = self.directory / "eval"
        return compare_evaluations(
            load_evaluation(evaluations / BASE),
            load_evaluation(evaluations / FINAL),
            base_name=self.config.model.pretrained_model_name_or_path,
            tuned_name=f"{self.directory.name} (step {step})",
        )

    def write(self, comparison: dict[str, Any]) -> None:
        """Write comparison.json, which marks the end of a run; for rank 0."""
        write_comparison(self.directory / COMPARISON, comparison)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file of the run; None where there is no such file."""
    found: dict[str, Any] | None = None
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
    return found


def _tool_call_keys(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if key.startswith("tool_call/")}
