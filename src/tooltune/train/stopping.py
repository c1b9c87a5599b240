"""Early stopping: when held-out results have stopped improving."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tooltune.config.schema import Config
from tooltune.config.schema import EarlyStopping as Settings
from tooltune.errors import UserError
from tooltune.evaluate.samples import HELD_OUT, EvalSample

_NAMES = {"tool_call": "tool_call/balanced_accuracy", "val_loss": "the validation loss"}


@dataclass(slots=True)
class EarlyStopping:
    """Told of each measurement of the metric that `settings` name; `stop` says when to end.

    `best` is None until there is a value; `without_new_best` counts the measurements since.
    """

    settings: Settings
    best: float | None = None
    without_new_best: int = 0

    def note(self, value: float | None) -> bool:
        """Take in one measurement, and return `stop`.

        None, where nothing could be measured, is no measurement: it neither counts nor resets.
        A value that is not finite is one, and never a best.
        """
        if value is None:
            return self.stop
        if self._is_better(value):
            self.best, self.without_new_best = value, 0
        else:
            self.without_new_best += 1
        return self.stop

    @property
    def stop(self) -> bool:
        """Whether the last `patience` measurements brought no new best."""
        return self.without_new_best >= self.settings.patience

    @property
    def reason(self) -> str:
        """One line for the log, once `stop` is true."""
        best = "has never been finite" if self.best is None else f"was at best {self.best:.4f}"
        return (
            f"stopped early: {_NAMES[self.settings.metric]} {best}, and the last "
            f"{self.without_new_best} measurements did not improve on it by more than "
            f"{self.settings.min_delta:g} (early_stopping)"
        )

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self.settings.metric == "val_loss" else value - self.best
        return gain > self.settings.min_delta

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {
            "metric": self.settings.metric,
            "best": self.best,
            "without_new_best": self.without_new_best,
        }

    @classmethod
    def from_dict(cls, settings: Settings, state: Mapping[str, Any]) -> EarlyStopping:
        """The state of a checkpoint under `settings`, which may be others than before.

        An empty state, or one of another metric, is that of a fresh start.
        """
        if state.get("metric") != settings.metric:
            return cls(settings)
        return cls(settings, state["best"], state["without_new_best"])


def require_measurable(
    config: Config, *, held_out: int, samples: Iterable[EvalSample], sharded: bool
) -> None:
    """Raise a UserError where `early_stopping` names a metric that this run does not measure.

    held_out: validation traces; samples: the turns to generate; sharded: whether FSDP2 splits the
    weights over several processes.
    """
    settings = config.early_stopping
    if settings is None:
        return
    if settings.metric == "val_loss":
        if held_out == 0:
            raise UserError(
                "early_stopping.metric is val_loss, and there are no validation traces",
                fix="give a validation_dataset, or delete early_stopping",
            )
        return
    if not config.tool_call_eval.enabled:
        raise UserError(
            "early_stopping.metric is tool_call, and tool_call_eval is not enabled",
            fix="tool_call_eval.enabled: true, or early_stopping.metric: val_loss",
        )
    if not any(sample.dataset == HELD_OUT for sample in samples):
        raise UserError(
            "early_stopping.metric is tool_call, and no held-out turn can be generated",
            fix="hold traces out that call tools (validation_dataset, tool_call_eval.path), or "
            "early_stopping.metric: val_loss",
        )
    if sharded and not config.tool_call_eval.run_on_fsdp2:
        raise UserError(
            "early_stopping.metric is tool_call, and tool_call_eval.run_on_fsdp2 is false: "
            "nothing is generated before the run's end",
            fix="tool_call_eval.run_on_fsdp2: true, or early_stopping.metric: val_loss",
        )


def never_stops(config: Config, *, total_steps: int, steps_per_epoch: int) -> str | None:
    """A warning where the run measures its metric too seldom for `patience` to run out."""
    settings = config.early_stopping
    if settings is None:
        return None
    every = config.step_scheduler.val_every_steps
    if settings.metric == "tool_call":
        every = config.tool_call_eval.every_steps or every
    measured = (total_steps - 1) // (every or steps_per_epoch)  # to stop at the end saves nothing
    if measured > settings.patience:  # the first one is the first best
        return None
    key = "tool_call_eval.every_steps" if settings.metric == "tool_call" else "val_every_steps"
    return (
        f"early_stopping cannot end this run: {measured} measurements before its last step, and "
        f"a patience of {settings.patience} (measure more often: {key})"
    )
