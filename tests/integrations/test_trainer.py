"""The callback inside real `Trainer` runs: where its scores go, and that nothing else changes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback

import tooltune
from tests.integrations.runs import (
    Scripted,
    Tracker,
    scores_of,
    tiny_files,
    tiny_model,
    tiny_trainer,
)
from tooltune import ToolCallAccuracyCallback, ToolCallAccuracyEvaluator
from tooltune.errors import UserError
from tooltune.integrations.undisturbed import undisturbed

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> tuple[Path, Path]:
    return tiny_files(tmp_path_factory.mktemp("tiny"), builtin_tokenizer)


@pytest.fixture
def make(files: tuple[Path, Path], tmp_path: Path, builtin_tokenizer: Any) -> Make:
    """A trainer of a fresh tiny model; see `tiny_trainer`."""
    model, traces = files

    def trainer(dropout: float = 0.0, **options: Any) -> Any:
        torch.manual_seed(1)
        options = {"out": tmp_path / "run", **options}
        return tiny_trainer(tiny_model(model, dropout), builtin_tokenizer, traces, **options)

    return trainer


def test_it_is_part_of_the_public_interface() -> None:
    assert tooltune.ToolCallAccuracyCallback is ToolCallAccuracyCallback
    assert "ToolCallAccuracyCallback" in tooltune.__all__


def test_scores_of_the_base_and_of_each_evaluation_reach_log_and_trackers(make: Make) -> None:
    tracker, evaluator = Tracker(), Scripted(0.1, 0.2, 0.3)
    trainer = make(callbacks=[tracker])
    ToolCallAccuracyCallback(evaluator).attach(trainer)
    trainer.train()
    assert scores_of(trainer) == [(0, 0.1), (2, 0.2), (4, 0.3)]
    told = [(step, logs) for step, logs in tracker.logs if "eval_tool_call/accuracy" in logs]
    assert [(step, logs["eval_tool_call/accuracy"]) for step, logs in told] == scores_of(trainer)
    assert [logs["epoch"] for _, logs in told] == [0, 0.5, 1.0]


class LogEveryStep(TrainerCallback):
    """Asks for it before the step is over, and so before ours."""

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        control.should_log = True


def test_what_the_trainer_logs_besides_is_what_it_logs_alone(make: Make) -> None:
    def losses(trainer: Any) -> list[Any]:
        trainer.train()
        keys = ("loss", "eval_loss", "grad_norm")
        found = [{k: e[k] for k in (*keys, "step") if k in e} for e in trainer.state.log_history]
        return [entry for entry in found if len(entry) > 1]

    options = {"callbacks": [LogEveryStep()], "logging_strategy": "no"}
    watched = make(**options)
    ToolCallAccuracyCallback(Scripted(0.5), every_steps=1).attach(watched)
    alone = losses(make(**options))
    assert [entry["step"] for entry in alone if "loss" in entry] == [1, 2, 3, 4]
    assert losses(watched) == alone


def test_the_best_checkpoint_is_chosen_by_it_and_loaded(make: Make, tmp_path: Path) -> None:
    trainer = make(
        callbacks=[ToolCallAccuracyCallback(Scripted(0.0, 0.6, 0.2))],
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_tool_call/accuracy",
    )
    trainer.train()
    assert trainer.state.best_metric == 0.6
    assert trainer.state.best_model_checkpoint == str(tmp_path / "run" / "checkpoint-2")
    best = tiny_model(tmp_path / "run" / "checkpoint-2").state_dict()
    assert all(torch.equal(best[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("attached", [True, False])
def test_early_stopping_can_wait_for_it(make: Make, attached: bool) -> None:
    ours = ToolCallAccuracyCallback(Scripted(0.9, 0.5, 0.4, 0.3, 0.2), at_start=False)
    stopping = EarlyStoppingCallback(early_stopping_patience=2)
    trainer = make(
        callbacks=[stopping] if attached else [ours, stopping],
        max_steps=10,
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="tool_call/accuracy",
    )
    if attached:
        ours.attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 3


def test_attaching_twice_is_attaching_once(make: Make) -> None:
    evaluator = Scripted(0.5)
    callback = ToolCallAccuracyCallback(evaluator)
    trainer = make(callbacks=[callback])
    callback.attach(trainer).attach(trainer)
    assert trainer.callback_handler.callbacks.count(callback) == 1
    assert trainer.callback_handler.callbacks[0] is callback


def test_any_step_can_be_scored_and_none_is_scored_twice(make: Make) -> None:
    evaluator = Scripted(0.1, 0.2, 0.3, 0.4, 0.5)
    trainer = make()
    ToolCallAccuracyCallback(evaluator, every_steps=1).attach(trainer)
    trainer.train()
    assert [step for step, _ in scores_of(trainer)] == [0, 1, 2, 3, 4]
    assert evaluator.asked == 5


def test_without_evaluations_of_its_own_the_trainer_is_scored_all_the_same(make: Make) -> None:
    trainer = make(eval_strategy="no")
    ToolCallAccuracyCallback(Scripted(0.5), every_steps=3).attach(trainer)
    trainer.train()
    assert [step for step, _ in scores_of(trainer)] == [0, 3]


def test_eval_on_start_scores_the_base_once(make: Make) -> None:
    evaluator = Scripted(0.5)
    trainer = make(eval_on_start=True)
    ToolCallAccuracyCallback(evaluator).attach(trainer)
    trainer.train()
    assert [step for step, _ in scores_of(trainer)] == [0, 2, 4]


def test_several_evaluation_sets_are_one_evaluation(make: Make) -> None:
    evaluator = Scripted(0.1, 0.2, 0.3)
    rows = make().train_dataset
    trainer = make(eval_dataset={"one": rows[:1], "two": rows[1:2]})
    ToolCallAccuracyCallback(evaluator, at_start=False).attach(trainer)
    trainer.train()
    assert scores_of(trainer) == [(2, 0.1), (4, 0.2)]


def test_after_training_each_evaluate_asks_anew(make: Make) -> None:
    evaluator = Scripted(0.1, 0.2, 0.3, 0.4)
    trainer = make(max_steps=1, eval_strategy="no")
    ToolCallAccuracyCallback(evaluator, at_start=False).attach(trainer)
    trainer.train()
    assert trainer.evaluate()["eval_tool_call/accuracy"] == 0.1
    assert trainer.evaluate()["eval_tool_call/accuracy"] == 0.2


def test_a_resumed_run_does_not_score_its_start(make: Make, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2}
    first = make(max_steps=2, **saving)
    ToolCallAccuracyCallback(Scripted(0.1, 0.2)).attach(first)
    first.train()
    second = make(**saving)
    ToolCallAccuracyCallback(Scripted(0.4)).attach(second)
    second.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert scores_of(second) == [(0, 0.1), (2, 0.2), (4, 0.4)]


def test_the_model_card_can_be_written(make: Make, tmp_path: Path) -> None:
    class Growing(Scripted):
        def evaluate(self, model: Any, tokenizer: Any) -> dict[str, float]:
            scores = super().evaluate(model, tokenizer)
            return scores if self.asked == 1 else {**scores, "tool_call/_skip_overlong": 1.0}

    trainer = make()
    ToolCallAccuracyCallback(Growing(0.1, 0.2), at_start=False).attach(trainer)
    trainer.train()
    trainer.create_model_card()
    assert (tmp_path / "run" / "README.md").is_file()


@pytest.mark.parametrize("do_sample", [False, True])
def test_training_goes_on_as_if_nothing_had_been_evaluated(
    make: Make, files: tuple[Path, Path], do_sample: bool
) -> None:
    def after(watched: bool) -> tuple[dict[str, torch.Tensor], list[Any]]:
        trainer = make(dropout=0.2, gradient_checkpointing=True)
        if watched:
            evaluator = ToolCallAccuracyEvaluator(
                path=files[1], max_new_tokens=3, max_eval_samples=2, do_sample=do_sample
            )
            ToolCallAccuracyCallback(evaluator, every_steps=1).attach(trainer)
        trainer.train()
        config, modes = trainer.model.config, [m.training for m in trainer.model.modules()]
        state = [config.use_cache, config._attn_implementation, modes]
        return dict(trainer.model.state_dict()), state

    (alone, before), (watched, left) = after(False), after(True)
    assert left == before
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


def test_the_scores_are_those_of_the_evaluator_itself(
    make: Make, files: tuple[Path, Path], tmp_path: Path, builtin_tokenizer: Any
) -> None:
    def evaluator() -> ToolCallAccuracyEvaluator:
        return ToolCallAccuracyEvaluator(path=files[1], max_new_tokens=6, max_eval_samples=4)

    trainer = make(bf16=True)
    ToolCallAccuracyCallback(evaluator(), out=tmp_path / "samples").attach(trainer)
    trainer.train()
    model = tiny_model(files[0])
    model.load_state_dict(trainer.model.state_dict())
    own = evaluator()
    expected = {f"eval_{key}": v for key, v in own.evaluate(model, builtin_tokenizer).items()}
    entry = next(e for e in trainer.state.log_history[::-1] if "eval_tool_call/_count" in e)
    assert {key: entry[key] for key in expected} == expected
    assert entry["eval_tool_call/_count"] == 4.0
    lines = (tmp_path / "samples" / "step_4" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [r["text"] for r in own.records]
    written = json.loads((tmp_path / "samples" / "step_0" / "metrics.json").read_text())
    assert written["n_samples"] == 4


def test_autocast_is_off_meanwhile_and_on_again() -> None:
    from accelerate import Accelerator

    model = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(torch.nn.Linear(2, 2))
    model.forward_types = []
    model.register_forward_hook(lambda m, i, o: model.forward_types.append(o.dtype))

    def inner() -> torch.dtype:
        with torch.no_grad():
            return torch.equal(model(ones), torch.nn.functional.linear(ones, w, b))

    ones, w, b = torch.full((1, 2), 1 / 3), model.weight, model.bias
    wrapped = model.forward
    assert not inner()
    with undisturbed(model):
        assert inner()
    assert model.forward is wrapped
    with pytest.raises(KeyError), undisturbed(model):
        raise KeyError
    assert model.forward is wrapped
    assert not inner()


def test_all_generators_of_random_numbers_are_as_before() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    for _ in range(2):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        expected = draw()
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        with undisturbed(None):
            draw()
        assert draw() == expected


def test_a_trainer_without_a_tokenizer_is_told_what_to_give(make: Make) -> None:
    evaluator = Scripted(0.5)
    trainer = make()
    trainer.processing_class = trainer.callback_handler.processing_class = None
    ToolCallAccuracyCallback(evaluator).attach(trainer)
    with pytest.raises(UserError, match="processing_class=tokenizer"):
        trainer.train()
    trainer.pop_callback(ToolCallAccuracyCallback)
    ToolCallAccuracyCallback(evaluator, tokenizer="any").attach(trainer)
    trainer.train()
    assert evaluator.asked == 3


def test_a_fault_of_the_data_is_an_error_before_the_first_step(make: Make, tmp_path: Path) -> None:
    trainer = make()
    missing = ToolCallAccuracyEvaluator(path=tmp_path / "missing.jsonl")
    ToolCallAccuracyCallback(missing).attach(trainer)
    with pytest.raises(UserError, match=r"missing\.jsonl"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_an_interval_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UserError, match="every_steps=0"):
        ToolCallAccuracyCallback(Scripted(0.5), every_steps=0)
