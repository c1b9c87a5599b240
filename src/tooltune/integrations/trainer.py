"""`ToolCallAccuracyCallback`: tool-call accuracy inside a Hugging Face `Trainer` or a TRL run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tooltune.errors import UserError
from tooltune.evaluate.evaluator import ToolCallAccuracyEvaluator
from tooltune.evaluate.results import write_evaluation
from tooltune.integrations.ranks import evaluate_together, in_agreement, rank_and_size
from tooltune.integrations.undisturbed import undisturbed

PREFIX = "eval_"
"""What `Trainer` puts before a metric before it looks for `metric_for_best_model`."""


class ToolCallAccuracyCallback(TrainerCallback):
    """Runs `evaluator` whenever the trainer evaluates.

    Scores go into the trainer's metrics as `eval_tool_call/accuracy` and so on (`eval_` and the
    evaluator's own names), so that `metric_for_best_model="eval_tool_call/accuracy"`,
    `load_best_model_at_end` and `EarlyStoppingCallback` can use them, and into
    `state.log_history`. `attach` also hands them to the trainer's trackers.

    at_start: also score the model before its first step, unless `eval_on_start` does.
    every_steps: also score it every so many steps, whatever `eval_strategy` is.
    tokenizer: instead of the trainer's `processing_class`.
    out: a folder; the samples of step S are written to `OUT/step_S`, as by `tooltune eval --out`,
    for `tooltune compare` to read.

    Training goes on as if nothing had been evaluated: modes of modules, random numbers and what
    the trainer had decided to do next are as before. Model weights are used in the type they are
    held in, without autocast. Processes (DDP, FSDP2) share the samples, and all get the scores of
    all.

    Raises (from the trainer's `train` and `evaluate`): UserError for a trainer without a tokenizer,
    for FSDP of version 1, and whatever `ToolCallAccuracyEvaluator.evaluate` raises, on every
    process.
    """

    def __init__(
        self,
        evaluator: ToolCallAccuracyEvaluator,
        *,
        at_start: bool = True,
        every_steps: int | None = None,
        tokenizer: Any = None,
        out: str | Path | None = None,
    ) -> None:
        if every_steps is not None and every_steps < 1:
            raise UserError(f"every_steps={every_steps}", fix="give a number of steps, or None")
        self.evaluator = evaluator
        self.at_start = at_start
        self.every_steps = every_steps
        self.tokenizer = tokenizer
        self.out = None if out is None else Path(out)
        self._handler: Any = None
        self._in_training = False
        self._scores: dict[str, float] | None = None  # of the model as it is since the last step

    def attach(self, trainer: Any) -> ToolCallAccuracyCallback:
        """Join `trainer` as the first of its callbacks, and report to its trackers.

        A callback in `Trainer(callbacks=[...])` cannot reach the trackers, and must stand before
        an `EarlyStoppingCallback` that waits for its scores.
        """
        self._handler = trainer.callback_handler
        callbacks = self._handler.callbacks
        callbacks[:] = [self, *(callback for callback in callbacks if callback is not self)]
        return self

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        processing_class: Any = None,
        **others: Any,
    ) -> None:
        self._in_training, self._scores = True, None
        if self.at_start and state.global_step == 0 and not args.eval_on_start:
            self._score(args, state, control, model, processing_class)

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._scores = None  # this step changes the model

    def on_step_end(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        processing_class: Any = None,
        **others: Any,
    ) -> None:
        if self.every_steps is not None and state.global_step % self.every_steps == 0:
            self._score(args, state, control, model, processing_class)

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, float],
        model: Any = None,
        processing_class: Any = None,
        **others: Any,
    ) -> None:
        # Of several evaluation sets each comes here, with the same model.
        metrics |= self._scores or self._score(args, state, control, model, processing_class)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._in_training, self._scores = False, None  # the best model may have been loaded

    def _score(
        self, args: Any, state: Any, control: Any, model: Any, processing_class: Any
    ) -> dict[str, float]:
        tokenizer = self._tokenizer_of(processing_class)
        with undisturbed(model):
            found = evaluate_together(self.evaluator, model, tokenizer)
        if not found:  # `run_on_fsdp2` is off
            return {}
        if self.out is not None:
            folder = self.out / f"step_{state.global_step}"
            in_agreement(lambda: self._write(folder, model), "writing")
        scores = {PREFIX + name: value for name, value in found.items()}
        if self._in_training:
            self._scores = scores
        self._report(args, state, control, scores)
        return scores

    def _tokenizer_of(self, processing_class: Any) -> Any:
        tokenizer = processing_class if self.tokenizer is None else self.tokenizer
        if tokenizer is None:
            raise UserError(
                "the trainer has no tokenizer to write prompts with",
                fix="give it `processing_class=tokenizer`, or the callback `tokenizer=tokenizer`",
            )
        return getattr(tokenizer, "tokenizer", tokenizer)  # a processor holds one

    def _write(self, folder: Path, model: Any) -> None:
        if rank_and_size()[0] == 0:
            name = getattr(getattr(model, "config", None), "_name_or_path", "") or "model"
            write_evaluation(
                folder,
                self.evaluator.records,
                model_name=f"{name}, {folder.name}",
                prefix=self.evaluator.metric_prefix,
                excluded=self.evaluator.excluded,
            )

    def _report(self, args: Any, state: Any, control: Any, scores: dict[str, float]) -> None:
        """An entry of its own: the trainer has logged its own metrics before it asks callbacks, and
        its model card expects the same keys in every entry of those."""
        logs = scores if state.epoch is None else {**scores, "epoch": state.epoch}
        state.log_history.append({**logs, "step": state.global_step})
        if self._handler is not None:
            about_to_log = control.should_log
            self._handler.on_log(args, state, control, dict(logs))
            control.should_log = about_to_log  # `on_log` clears it; the loss is still to come
