"""Several processes: what each finds is what one would find."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.integrations.runs import tiny_files, tiny_model, tiny_trainer
from tests.ranks import results_of, run_ranks
from tooltune import ToolCallAccuracyCallback, ToolCallAccuracyEvaluator
from tooltune.errors import UserError
from tooltune.evaluate.prepare import shard
from tooltune.integrations.ranks import _in_turn, evaluate_together, in_agreement, in_step


@given(st.lists(st.integers(1, 3), max_size=12), st.integers(1, 5))
def test_shards_are_put_together_in_the_order_of_the_samples(
    answers: list[int], ranks: int
) -> None:
    samples = [
        [{"dataset": "d", "sample_id": str(i), "repeat": r} for r in range(n)]
        for i, n in enumerate(answers)
    ]
    shards = [list(chain(*shard(samples, (rank, ranks)))) for rank in range(ranks)]
    assert _in_turn(shards) == list(chain(*samples))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> tuple[Path, Path]:
    return tiny_files(tmp_path_factory.mktemp("tiny"), builtin_tokenizer)


def the_evaluator(traces: Path, samples: int | None = None) -> ToolCallAccuracyEvaluator:
    return ToolCallAccuracyEvaluator(path=traces, max_new_tokens=4, max_eval_samples=samples)


def the_tokenizer() -> Any:
    from tooltune.models.load import load_tokenizer

    return load_tokenizer("builtin:smollm2-135m-instruct")


def train_together(world: Any, files: tuple[Path, Path], out: Path) -> Any:
    """A `Trainer` run with DDP, as on each rank of a launcher."""
    torch.manual_seed(1)
    trainer = tiny_trainer(
        tiny_model(files[0]),
        the_tokenizer(),
        files[1],
        out,
        per_device_train_batch_size=2 // world.size,
        ddp_backend="gloo",
    )
    assert trainer.args.world_size == world.size
    evaluator = the_evaluator(files[1], 5)
    ToolCallAccuracyCallback(evaluator, out=out / "samples").attach(trainer)
    trainer.train()
    entries = [e for e in trainer.state.log_history if "eval_tool_call/_count" in e]
    return entries, [record["text"] for record in evaluator.records], evaluator.sample_shard


@pytest.mark.slow
def test_two_ranks_of_a_trainer_report_what_one_reports(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    (alone,) = results_of(train_together, 1, files, tmp_path / "alone")
    first, second = results_of(train_together, 2, files, tmp_path / "two")
    assert first == second
    entries, texts, shard_after = first
    assert shard_after is None
    assert [entry["step"] for entry in entries] == [0, 2, 4]
    assert entries[0] == alone[0][0]  # before the weights differ in their last bits
    assert [e["eval_tool_call/_count"] for e in entries] == [5.0, 5.0, 5.0]
    assert len(texts) == 5
    lines = (tmp_path / "two" / "samples" / "step_4" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts


def split_model(folder: Path, world: Any, how: str) -> Any:
    """FSDP2, HSDP with one shard, or tensor parallelism of a layer's MLP; "whole" for DDP."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    model = tiny_model(folder)
    if how == "tensor":
        mesh = init_device_mesh("cpu", (world.size,))
        plan = {"up_proj": ColwiseParallel(), "down_proj": RowwiseParallel()}
        for layer in model.model.layers:
            parallelize_module(layer.mlp, mesh, {**plan, "gate_proj": ColwiseParallel()})
    elif how != "whole":
        shape = {"fsdp2": (world.size,), "hsdp": (world.size, 1)}[how]
        names = ("replicate", "shard")[-len(shape) :]
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


def evaluate_on_each(world: Any, files: tuple[Path, Path], samples: int, how: str) -> Any:
    model = split_model(files[0], world, how)
    evaluator = the_evaluator(files[1], samples)
    metrics = evaluate_together(evaluator, model, the_tokenizer())
    return in_step(model), metrics, evaluator.records


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "fsdp2", "hsdp", "tensor"])
@pytest.mark.parametrize("samples", [1, 5])
def test_any_number_of_samples_gives_the_metrics_of_one_process(
    files: tuple[Path, Path], samples: int, how: str
) -> None:
    metrics, records = evaluate_on_each_alone(files, samples)
    for alike, theirs, answers in results_of(evaluate_on_each, 2, files, samples, how):
        assert alike == (how == "tensor")
        assert theirs == metrics
        assert [r["text"] for r in answers] == [r["text"] for r in records]


def skip_on_each(world: Any, files: tuple[Path, Path]) -> Any:
    model = split_model(files[0], world, "fsdp2")
    evaluator = ToolCallAccuracyEvaluator(path=files[1], run_on_fsdp2=False)
    return evaluate_together(evaluator, model, the_tokenizer())


@pytest.mark.slow
def test_the_evaluator_can_be_told_to_skip_a_sharded_model(files: tuple[Path, Path]) -> None:
    assert results_of(skip_on_each, 2, files) == [{}, {}]


def evaluate_on_each_alone(files: tuple[Path, Path], samples: int) -> Any:
    evaluator = the_evaluator(files[1], samples)
    metrics = evaluate_together(evaluator, tiny_model(files[0]), the_tokenizer())
    assert metrics["tool_call/_count"] == samples
    return metrics, evaluator.records


def fail_on_second(world: Any, kind: type[Exception]) -> None:
    def work() -> None:
        if world.rank == 1:
            raise kind("the disk is full")

    in_agreement(work, "writing")


@pytest.mark.slow
def test_a_failure_on_one_rank_ends_all() -> None:
    first, second = run_ranks(fail_on_second, 2, OSError)
    assert isinstance(second, OSError)
    assert str(first) == "process 1 failed writing: OSError: the disk is full"
    first, second = run_ranks(fail_on_second, 2, UserError)
    assert isinstance(first, UserError)
    assert str(first) == "the disk is full (process 1)"


def own_shard(world: Any, files: tuple[Path, Path]) -> None:
    evaluator = the_evaluator(files[1])
    evaluator.sample_shard = (0, 3)
    evaluate_together(evaluator, tiny_model(files[0]), the_tokenizer())


@pytest.mark.slow
def test_a_shard_that_is_not_the_processes_own_is_refused(files: tuple[Path, Path]) -> None:
    for found in run_ranks(own_shard, 2, files):
        assert isinstance(found, UserError)
        assert "sample_shard" in str(found)


def test_fsdp_of_version_1_is_refused() -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    wrapped = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    with pytest.raises(UserError, match="version 1"):
        evaluate_together(the_evaluator(Path("any")), wrapped, None)
