"""Evaluation of a sharded model: ranks with unequal shares, and the numbers of one process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import results_of, run_ranks
from tests.train.parallel.test_sharded_training import config_of
from tests.train.tiny_run import save_tiny_model, write_traces
from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.evaluate.synchronous import Torn, synchronous_forwards
from tooltune.models.load import load_tokenizer
from tooltune.train.batches import cost_model, pack_in_parts
from tooltune.train.data import RunData, prepare_data
from tooltune.train.parallel.world import RankFailure, World
from tooltune.train.trainee import build_trainee
from tooltune.train.validate import evaluate_tool_calls, load_saved_model, validation_loss


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    directory = tmp_path_factory.mktemp("sharded_evaluation")
    save_tiny_model(directory / "model", builtin_tokenizer)
    write_traces(directory / "traces.jsonl", 10)
    return directory


def evaluated(
    world: World, config: Config, out: str, n: int
) -> tuple[dict[str, Any], float | None]:
    """Metrics of the first `n` samples, and the validation loss."""
    tokenizer, data = _read(config)
    data = replace(data, samples=data.samples[:n])
    trainee = build_trainee(config, tokenizer, world)
    batches = pack_in_parts(data.held_out, cost_model("cpu"), max_traces=1)
    loss = validation_loss(trainee, batches)  # first, as in a run: it leaves gathered weights
    with trainee.evaluation_weights() as model:
        metrics = evaluate_tool_calls(
            model, tokenizer, data, config, Path(out), world, name="m", say=lambda _: None
        )
    return metrics, loss


def _read(config: Config) -> tuple[Any, RunData]:
    tokenizer = load_tokenizer(config.model.pretrained_model_name_or_path)
    return tokenizer, prepare_data(config, tokenizer, date="2026-01-31")


def samples_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("strategy", ["fsdp2", "ddp"])
def test_any_number_of_samples_gives_the_metrics_of_one_process(
    strategy: str, n: int, place: Path, tmp_path: Path
) -> None:
    config = config_of(place, strategy, tool_call_eval={"max_eval_samples": 5, "max_new_tokens": 4})
    alone = World.alone(torch.device("cpu"))
    metrics, loss = evaluated(alone, config, str(tmp_path / "one"), n)
    for theirs, their_loss in results_of(evaluated, 2, config, str(tmp_path / "two"), n):
        assert theirs == metrics
        assert their_loss == pytest.approx(loss, abs=1e-6)
    assert [r["sample_id"] for r in samples_of(tmp_path / "one")] == [
        r["sample_id"] for r in samples_of(tmp_path / "two")
    ]
    if n:
        assert metrics["tool_call/_count"] + metrics["tool_call/_skipped"] == n


@pytest.mark.parametrize("peft", [None, {"dim": 4}])
def test_on_a_cpu_a_bf16_run_is_evaluated_in_fp32_sharded_or_not(
    peft: dict[str, Any] | None, place: Path, tmp_path: Path
) -> None:
    config = config_of(place, "fsdp2", dtype="bfloat16", peft=peft)
    one = evaluated(World.alone(torch.device("cpu")), config, str(tmp_path / "one"), 3)[0]
    two = results_of(evaluated, 2, config, str(tmp_path / "two"), 3)[0][0]
    assert two == one
    for mine, theirs in zip(
        samples_of(tmp_path / "one"), samples_of(tmp_path / "two"), strict=True
    ):
        assert mine["text"] == theirs["text"]


def saved(world: World, config: Config, out: str) -> dict[str, Any]:
    tokenizer, data = _read(config)
    model = load_saved_model(Path(config.model.pretrained_model_name_or_path), config, world)
    return evaluate_tool_calls(
        model, tokenizer, data, config, Path(out), world, name="m", say=lambda _: None
    )


def test_a_saved_model_is_loaded_sharded_and_scores_the_same(place: Path, tmp_path: Path) -> None:
    config = config_of(place, "fsdp2")
    one = saved(World.alone(torch.device("cpu")), config, str(tmp_path / "one"))
    assert results_of(saved, 2, config, str(tmp_path / "two")) == [one, one]


def _unequal_forwards(world: World, config: Config, failing: int | None) -> int:
    trainee = build_trainee(
        config, load_tokenizer(config.model.pretrained_model_name_or_path), world
    )
    forwards = 0
    trainee.model.eval()
    with torch.no_grad(), synchronous_forwards(trainee.model):
        for _ in range(3 * world.rank):
            trainee.model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
            forwards += 1
            if world.rank == failing:
                raise UserError("this one fails")
    trainee.model(input_ids=torch.tensor([[1, 2]]), use_cache=False)  # and all go on together
    return forwards


def test_a_rank_that_is_done_keeps_pace_with_those_that_are_not(place: Path) -> None:
    assert results_of(_unequal_forwards, 3, config_of(place, "fsdp2"), None) == [0, 3, 6]


def _torn_forward(world: World, config: Config) -> None:
    tokenizer = load_tokenizer(config.model.pretrained_model_name_or_path)
    model: Any = build_trainee(config, tokenizer, world).model

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    if world.rank == 1:
        model.model.layers[1].register_forward_pre_hook(fail)
    with torch.no_grad(), synchronous_forwards(model):
        model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)


def test_a_forward_that_fails_half_way_ends_its_rank_at_once(place: Path) -> None:
    """The others wait in a collective, and end with their launcher or their time limit."""
    first, second = run_ranks(_torn_forward, 2, config_of(place, "fsdp2"), limit=5)
    assert isinstance(second, Torn)
    assert "out of memory" in str(second)
    assert isinstance(first, Exception)


def _failing_evaluation(world: World, config: Config, out: str) -> None:
    tokenizer, data = _read(config)
    trainee = build_trainee(config, tokenizer, world)

    def fail() -> None:
        if world.rank == 1:
            raise RuntimeError("no more")

    with trainee.evaluation_weights() as model:
        evaluate_tool_calls(
            model,
            tokenizer,
            data,
            config,
            Path(out),
            world,
            name="m",
            say=lambda _: None,
            between=fail,
        )


def test_an_evaluation_that_fails_on_one_rank_ends_on_all(place: Path, tmp_path: Path) -> None:
    first, second = run_ranks(_failing_evaluation, 2, config_of(place, "fsdp2"), str(tmp_path))
    assert isinstance(second, Exception)
    assert isinstance(first, RankFailure)
    assert "rank 1" in str(first)
    assert not (tmp_path / "metrics.json").exists()


def test_results_that_cannot_be_written_end_all_ranks(place: Path, tmp_path: Path) -> None:
    """Rank 0 alone writes: the others must not wait for it."""
    (tmp_path / "file").write_text("")
    config = config_of(place, "fsdp2", tool_call_eval={"max_new_tokens": 4})
    found = run_ranks(evaluated, 2, config, str(tmp_path / "file" / "eval"), 1, limit=30)
    assert isinstance(found[0], NotADirectoryError), found
    assert isinstance(found[1], RankFailure)
    assert "writing the evaluation" in str(found[1])
