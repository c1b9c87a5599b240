"""What only one rank can see ends all of them, with its reason, and without a hang."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.assets import REPOSITORY
from tests.ranks import free_port, results_of, run_ranks
from tests.train.parallel.test_sharded_evaluation import _read
from tests.train.parallel.test_sharded_training import config_of
from tests.train.tiny_run import save_tiny_model, write_traces
from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.evaluate import synchronous
from tooltune.evaluate.evaluator import ToolCallAccuracyEvaluator
from tooltune.evaluate.synchronous import Torn
from tooltune.integrations.ranks import evaluate_together
from tooltune.train.log import RunLog
from tooltune.train.parallel import load, shard
from tooltune.train.parallel.world import RankFailure, World
from tooltune.train.recipe import train
from tooltune.train.sizing.scale import cost_of_run
from tooltune.train.trainee import build_trainee
from tooltune.train.validate import evaluate_tool_calls


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    directory = tmp_path_factory.mktemp("one_rank_fails")
    save_tiny_model(directory / "model", builtin_tokenizer)
    write_traces(directory / "traces.jsonl", 8)
    write_traces(directory / "other.jsonl", 12)
    return directory


def short(place: Path, out: Path, strategy: str = "fsdp2", **sections: Any) -> Config:
    sections = {"step_scheduler": {"global_batch_size": 2, "max_steps": 1}, **sections}
    config = config_of(place, strategy, tool_call_eval={"max_eval_samples": 1}, **sections)
    return config.model_copy(update={"output_dir": str(out)})


def all_say(found: list[Any], kind: type[Exception], text: str) -> None:
    assert [type(error) for error in found] == [kind] * len(found), found
    assert all(text in str(error) for error in found), found


# --- what a rank reads --------------------------------------------------------------------------


def trained_on(world: World, configs: list[Config]) -> None:
    train(configs[world.rank], world=world)


@pytest.mark.parametrize("strategy", ["fsdp2", "ddp"])
def test_ranks_that_read_other_data_are_told_before_anything_is_trained(
    place: Path, tmp_path: Path, strategy: str
) -> None:
    one = short(place, tmp_path / "run", strategy)
    path = str(place / "other.jsonl")
    other = one.model_copy(update={"dataset": one.dataset.model_copy(update={"path": path})})
    found = run_ranks(trained_on, 2, [one, other], limit=40)
    all_say(found, UserError, "rank 1 reads something else than rank 0: other configuration")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_folder_that_a_run_holds_already_is_refused_by_all(place: Path, tmp_path: Path) -> None:
    config = short(place, tmp_path / "run")
    with RunLog(tmp_path / "run"):
        (tmp_path / "run" / "train.log").touch()
        found = run_ranks(trained_on, 2, [config, config], limit=40)
    assert [type(error) for error in found] == [UserError] * 2, found


# --- loading, gathering, evaluating -------------------------------------------------------------


def fails_to_load(world: World, config: Config) -> None:
    original = load.materialise

    def materialise(*arguments: Any) -> None:
        if world.rank == 1:
            raise MemoryError("no memory on this rank")
        original(*arguments)

    load.materialise = materialise
    tokenizer, _ = _read(config)
    build_trainee(config, tokenizer, world)


def test_a_rank_without_memory_for_its_share_ends_all(place: Path, tmp_path: Path) -> None:
    found = run_ranks(fails_to_load, 2, short(place, tmp_path), limit=40)
    assert [type(error) for error in found] == [RankFailure, MemoryError], found


def fails_to_gather(world: World, config: Config, victim: int, error: type[BaseException]) -> None:
    """Train; gathering the third tensor of a save fails."""
    original, full_state = shard.whole, shard.full_state
    gathered: list[int] = []

    def whole(tensor: Any) -> Any:
        gathered.append(1)
        if world.rank == victim and len(gathered) == 3:
            raise error("no memory on this rank")
        return original(tensor)

    def counted(*arguments: Any) -> Any:
        shard.whole = whole
        return full_state(*arguments)

    from tooltune.train import trainee

    trainee.full_state = counted
    train(config, world=world)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize(
    ("error", "ends_by"),
    [
        (MemoryError, Torn),
        pytest.param(KeyboardInterrupt, KeyboardInterrupt, marks=pytest.mark.slow),
    ],
)
def test_a_gather_that_fails_half_way_ends_its_rank_with_its_reason(
    place: Path, tmp_path: Path, victim: int, error: Any, ends_by: Any
) -> None:
    """It must not meet the others in another collective, which would abort them all."""
    config = short(place, tmp_path / "run")
    found = run_ranks(fails_to_gather, 2, config, victim, error, limit=40)
    assert isinstance(found[victim], ends_by), found
    assert "no memory on this rank" in str(found[victim])
    assert isinstance(found[1 - victim], RuntimeError | Torn)
    assert "died" not in str(found[1 - victim])  # by an abort


def fails_an_empty_forward(world: World, config: Config, out: str) -> None:
    tokenizer, data = _read(config)
    trainee = build_trainee(config, tokenizer, world)
    keep_pace = synchronous.keep_pace

    def out_of_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory on this rank")

    def failing(model: Any, *rest: Any) -> None:
        hook = model.register_forward_pre_hook(out_of_memory)
        try:
            keep_pace(model, *rest)
        finally:
            hook.remove()

    if world.rank == 1:
        synchronous.keep_pace = failing
    one = replace(data, samples=data.samples[:1])
    with trainee.evaluation_weights() as model:
        evaluate_tool_calls(
            model, tokenizer, one, config, Path(out), world, name="m", say=lambda _: None
        )


def test_an_empty_forward_that_fails_ends_its_rank_with_its_reason(
    place: Path, tmp_path: Path
) -> None:
    found = run_ranks(fails_an_empty_forward, 2, short(place, tmp_path), str(tmp_path), limit=20)
    assert isinstance(found[1], Torn), found
    assert "no memory on this rank" in str(found[1])
    assert isinstance(found[0], RuntimeError | Torn)
    assert "died" not in str(found[0])


def evaluates(world: World, config: Config, paths: list[Path]) -> None:
    tokenizer, _ = _read(config)
    trainee = build_trainee(config, tokenizer, world)
    evaluator = ToolCallAccuracyEvaluator(path=paths[world.rank], max_new_tokens=4)
    evaluate_together(evaluator, trainee.model, tokenizer)


def test_data_that_one_rank_cannot_read_end_the_evaluation_on_all(
    place: Path, tmp_path: Path
) -> None:
    paths = [place / "traces.jsonl", place / "nothing.jsonl"]
    found = run_ranks(evaluates, 2, short(place, tmp_path), paths, limit=40)
    all_say(found, UserError, "nothing.jsonl")


# --- devices ------------------------------------------------------------------------------------

_JOIN = """
import os
from tooltune.errors import UserError
from tooltune.train.parallel import world
def device(local_rank):
    if local_rank == 1:
        {fault}
    return world.torch.device("cpu")
world._device = device
try:
    with world.join_world(60):
        print("in")
except UserError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise UserError('this machine has 1 CUDA device', fix='x')", "has 1 CUDA device"),
        ("return world.torch.device('meta')", "computes on meta, rank 0 on cpu"),
    ],
)
def test_a_rank_without_the_others_kind_of_device_is_told_to_all(fault: str, said: str) -> None:
    port = str(free_port())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _JOIN.format(fault=fault)],
            env={
                "PATH": "",
                "PYTHONPATH": str(REPOSITORY / "src"),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        assert said in rank.communicate(timeout=50)[0]


def most_tokens(world: World, config: Config) -> int:
    """What a micro-batch may hold, on GPUs of which rank 1's has 1 GiB and the others' 80."""
    tokenizer, _ = _read(config)
    trainee = build_trainee(config, tokenizer, world)
    memory = 2**30 if world.rank == 1 else 80 * 2**30
    torch.cuda.get_device_properties = lambda _: SimpleNamespace(total_memory=memory)  # type: ignore[assignment,return-value]
    return cost_of_run(
        config, trainee.model, replace(world, device=torch.device("cuda"))
    ).max_tokens


def test_all_ranks_cut_micro_batches_for_the_smallest_gpu(place: Path, tmp_path: Path) -> None:
    one, two = results_of(most_tokens, 2, short(place, tmp_path))
    assert one == two
