"""Whole runs on two ranks: the files of one process, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.ranks import results_of, run_ranks
from tests.train.parallel.test_sharded_training import config_of
from tests.train.tiny_run import metrics, save_tiny_model, write_traces
from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.train.parallel.world import World
from tooltune.train.recipe import train

LAST = Path("checkpoints/LATEST/model/consolidated")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    save_tiny_model(directory / "model", builtin_tokenizer)
    write_traces(directory / "traces.jsonl", 10)
    return directory


def moved(config: Config, out: Path) -> Config:
    return config.model_copy(update={"output_dir": str(out)})


def ran(world: World, config: Config) -> str | None:
    result = train(config, world=world)
    return None if result.comparison is None else str(result.comparison["tuned_name"])


def close(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        return bool(one == pytest.approx(other, rel=1e-3, abs=1e-5))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    return bool(one == other)


def comparable(run: Path) -> list[dict[str, Any]]:
    """Metrics without times, and without how a step was cut into micro-batches."""
    apart = ("seconds", "tokens_per_second", "trained_tokens_per_second", "micro_batches", "tokens")
    return [{k: v for k, v in record.items() if k not in apart} for record in metrics(run)]


@pytest.mark.parametrize("strategy", ["fsdp2", "ddp"])
@pytest.mark.parametrize("peft", [None, {"dim": 4}], ids=["full", "lora"])
def test_a_run_on_two_ranks_is_the_run_of_one(
    strategy: str, peft: dict[str, Any] | None, place: Path, tmp_path: Path
) -> None:
    config = config_of(place, strategy, peft=peft)
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    name = ran(World.alone(torch.device("cpu")), moved(config, one))
    assert results_of(ran, 2, moved(config, two)) == [name, name]
    ones, twos = comparable(one), comparable(two)
    assert len(ones) == len(twos)
    for mine, theirs in zip(ones, twos, strict=True):
        assert close(mine, theirs), (mine, theirs)
    here, there = (load_file(run / LAST / "model.safetensors") for run in (one, two))
    assert here.keys() == there.keys()
    for key, tensor in here.items():
        torch.testing.assert_close(there[key], tensor, atol=1e-4, rtol=0)
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())


def test_a_finished_run_is_left_alone_by_all_ranks(place: Path, tmp_path: Path) -> None:
    config = moved(config_of(place, "fsdp2"), tmp_path / "run")
    results_of(ran, 2, config)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    results_of(ran, 2, config)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_a_mistake_that_rank_0_sees_is_everybodys(place: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "holiday.jpg").write_text("")
    for error in run_ranks(ran, 2, moved(config_of(place, "fsdp2"), tmp_path / "run")):
        assert isinstance(error, UserError)
        assert "is not empty" in str(error)


def test_evaluation_between_steps_can_be_switched_off_for_sharded_weights(
    place: Path, tmp_path: Path
) -> None:
    settings = {"run_on_fsdp2": False, "max_eval_samples": 3, "max_new_tokens": 4}
    config = moved(config_of(place, "fsdp2", tool_call_eval=settings), tmp_path / "run")
    results_of(ran, 2, config)
    steps = {
        record["step"] for record in metrics(tmp_path / "run") if record["kind"] == "tool_call"
    }
    assert steps == {0, max(r["step"] for r in metrics(tmp_path / "run"))}
