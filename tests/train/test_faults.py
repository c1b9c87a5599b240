"""Whole runs that are killed, asked to leave, or poisoned: resumed, they end bit for bit alike."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import results_of, run_ranks
from tests.train import faults
from tests.train.tiny_run import metrics, save_tiny_model, tiny_config, without_times, write_traces
from tooltune.config.schema import Config
from tooltune.train import step as step_module
from tooltune.train.checkpoints.store import verify
from tooltune.train.optim import NonFiniteError
from tooltune.train.parallel.world import RankFailure, World
from tooltune.train.recipe import train
from tooltune.train.watch.signals import Preempted

RANKS = [1, 2]
STEPS = 9
SECTIONS: dict[str, Any] = {
    # Dropout, two micro-batches a step (one on each of two ranks), three steps an epoch, and
    # checkpoints in the middle of one.
    "peft": {"dim": 4, "dropout": 0.2},
    "step_scheduler": {
        "global_batch_size": 2,
        "local_batch_size": 1,
        "num_epochs": 3,
        "ckpt_every_steps": 2,
        "val_every_steps": 4,
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    directory = tmp_path_factory.mktemp("faults")
    save_tiny_model(directory / "model", builtin_tokenizer)
    write_traces(directory / "traces.jsonl", 8)
    return directory


def config_of(place: Path, out: Path, **sections: Any) -> Config:
    sections = {"dtype": "bfloat16", **SECTIONS, **sections}
    return tiny_config(place / "model", place / "traces.jsonl", out, **sections)


@pytest.fixture(scope="module", params=RANKS, ids=["1 rank", "2 ranks"])
def whole(request: pytest.FixtureRequest, place: Path) -> tuple[int, Path, list[list[str]]]:
    """Ranks, folder and moments of a run that nothing disturbed."""
    size = request.param
    out = place / f"whole_{size}"
    moments = results_of(faults.run, size, config_of(place, out))
    assert [line["step"] for line in metrics(out) if line["kind"] == "train"] == [*range(1, 10)]
    return size, out, moments


def assert_equal_bit_for_bit(resumed: Path, whole: Path) -> None:
    assert without_times(metrics(resumed)) == without_times(metrics(whole))
    one, two = faults.weights(resumed), faults.weights(whole)
    assert one.keys() == two.keys()
    assert len(one) > 20
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def struck(size: int, config: Config, strike: faults.Strike) -> list[Any]:
    """What became of each rank of a run that was struck."""
    return run_ranks(faults.run, size, config, strike, limit=20)


def points(moments: list[str], n: int, seed: int) -> list[int]:
    """`n` moments, at least a third of them while a checkpoint is saved."""
    chosen = random.Random(seed)
    saving = [i for i, m in enumerate(moments, 1) if faults.in_a_save(m)]
    others = [i for i, m in enumerate(moments, 1) if not faults.in_a_save(m)]
    third = math.ceil(n / 3)
    return chosen.sample(saving, third) + chosen.sample(others, n - third)


def test_killed_twice_a_resumed_run_equals_one_never_interrupted(
    whole: tuple[int, Path, list[list[str]]], place: Path, tmp_path: Path
) -> None:
    size, undisturbed, moments = whole
    config, log = config_of(place, tmp_path / "run"), tmp_path / "struck"
    saving = [i for i, m in enumerate(moments[0], 1) if faults.in_a_save(m)]
    struck(size, config, faults.Strike(signal.SIGKILL, saving[len(saving) // 2], log))
    struck(size, config, faults.Strike(signal.SIGKILL, 2, log, victim=size - 1, at_step=True))
    first, second = log.read_text().splitlines()
    assert faults.in_a_save(first)
    assert second == faults.STEP
    results_of(faults.run, size, config)
    assert_equal_bit_for_bit(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_killed_at_twenty_points_a_resumed_run_equals_one_never_interrupted(
    whole: tuple[int, Path, list[list[str]]], place: Path, tmp_path: Path
) -> None:
    """From a fresh folder each time, so that every point is met; a third lie inside a save."""
    size, undisturbed, moments = whole
    log = tmp_path / "struck"
    for n, moment in enumerate(points(moments[0], 20, seed=11)):
        config = config_of(place, tmp_path / f"run_{n}")
        struck(size, config, faults.Strike(signal.SIGKILL, moment, log))
        results_of(faults.run, size, config)
        assert_equal_bit_for_bit(tmp_path / f"run_{n}", undisturbed)
    met = log.read_text().splitlines()
    assert len(met) == 20
    assert sum(map(faults.in_a_save, met)) >= 6


@pytest.mark.slow
def test_killed_twenty_times_on_end_a_run_still_ends_as_if_it_never_was(
    whole: tuple[int, Path, list[list[str]]], place: Path, tmp_path: Path
) -> None:
    size, undisturbed, _ = whole
    config, log = config_of(place, tmp_path / "run"), tmp_path / "struck"
    chosen = random.Random(size)
    for _ in range(20):
        victim = chosen.randrange(size)
        strike = faults.Strike(signal.SIGKILL, chosen.randint(1, 60), log, victim)
        struck(size, config, strike)
        latest = tmp_path / "run/checkpoints/LATEST"
        if latest.is_symlink():
            assert verify(latest.resolve()) == []
    results_of(faults.run, size, config)
    assert_equal_bit_for_bit(tmp_path / "run", undisturbed)


def test_asked_to_leave_a_run_saves_once_and_is_resumed_bit_for_bit(
    whole: tuple[int, Path, list[list[str]]], place: Path, tmp_path: Path
) -> None:
    """Only the last rank gets the signal, in step 5, after which nothing is saved otherwise."""
    size, undisturbed, _ = whole
    config = config_of(place, tmp_path / "run")
    strike = faults.Strike(signal.SIGTERM, 5, tmp_path / "struck", victim=size - 1, at_step=True)
    found = struck(size, config, strike)
    assert [type(error) for error in found] == [Preempted] * size, found
    assert os.readlink(tmp_path / "run/checkpoints/LATEST") == "epoch_1_step_5"
    results_of(faults.run, size, config)
    assert_equal_bit_for_bit(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_asked_to_leave_at_twenty_points_a_run_is_resumed_bit_for_bit(
    whole: tuple[int, Path, list[list[str]]], place: Path, tmp_path: Path
) -> None:
    size, undisturbed, moments = whole
    for n, moment in enumerate(points(moments[0], 20, seed=13)):
        config = config_of(place, tmp_path / f"run_{n}")
        struck(size, config, faults.Strike(signal.SIGTERM, moment, tmp_path / "struck"))
        results_of(faults.run, size, config)
        assert_equal_bit_for_bit(tmp_path / f"run_{n}", undisturbed)


def asked_during_the_base_evaluation(world: World, config: Config, victim: int) -> None:
    """Train; `victim` gets SIGTERM between two turns of the evaluation before the first step."""
    from tooltune.train.measure import Measuring

    original = Measuring._between_turns

    def between_turns(self: Measuring) -> None:
        if world.rank == victim:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self)

    Measuring._between_turns = between_turns  # type: ignore[method-assign]
    train(config, world=world)


def test_asked_to_leave_during_the_base_evaluation_all_ranks_leave(
    whole: tuple[int, Path, list[list[str]]], place: Path, tmp_path: Path
) -> None:
    size, undisturbed, _ = whole
    config = config_of(place, tmp_path / "run")
    found = run_ranks(asked_during_the_base_evaluation, size, config, size - 1, limit=20)
    assert [type(error) for error in found] == [Preempted] * size, found
    assert not (tmp_path / "run/eval/step_0/metrics.json").exists()
    results_of(faults.run, size, config)
    assert_equal_bit_for_bit(tmp_path / "run", undisturbed)


def test_saved_beside_the_training_a_run_is_the_same_killed_asked_to_leave_or_neither(
    whole: tuple[int, Path, list[list[str]]], place: Path, tmp_path: Path
) -> None:
    """The kill meets the save of step 4 under way or just done; both must do."""
    size, undisturbed, _ = whole
    config = config_of(place, tmp_path / "run", checkpoint={"async_save": True})
    log = tmp_path / "struck"
    struck(size, config, faults.Strike(signal.SIGKILL, 5, log, at_step=True))
    found = struck(size, config, faults.Strike(signal.SIGTERM, 3, log, at_step=True))
    assert [type(error) for error in found] == [Preempted] * size, found
    assert verify((tmp_path / "run/checkpoints/LATEST").resolve()) == []
    results_of(faults.run, size, config)
    assert_equal_bit_for_bit(tmp_path / "run", undisturbed)


def failing_to_save(world: World, config: Config, part: str) -> None:
    """Train; the last rank cannot make its folder, or not write its tensors."""
    from tooltune.train.checkpoints.state import HuggingFaceStorageWriter

    owner: Any = Path if part == "mkdir" else HuggingFaceStorageWriter
    original = getattr(owner, part)

    def broken(self: Any, *arguments: Any, **named: Any) -> Any:
        if world.rank == world.size - 1 and (part != "mkdir" or self.name == "optim"):
            raise OSError("the disk of this rank is on fire")
        return original(self, *arguments, **named)

    setattr(owner, part, broken)
    train(config, world=world)


@pytest.mark.parametrize(("size", "part"), [(1, "mkdir"), (2, "mkdir"), (2, "write_data")])
def test_a_save_that_fails_beside_the_training_ends_it_before_the_next_one(
    place: Path, tmp_path: Path, size: int, part: str
) -> None:
    config = config_of(
        place,
        tmp_path / "run",
        checkpoint={"async_save": True},
        step_scheduler={**SECTIONS["step_scheduler"], "ckpt_every_steps": 6, "val_every_steps": 9},
    )
    found = run_ranks(failing_to_save, size, config, part, limit=30)
    assert all("on fire" in str(error) for error in found), found
    steps = [line["step"] for line in metrics(tmp_path / "run") if line["kind"] == "train"]
    assert 6 <= steps[-1] < 9
    assert not (tmp_path / "run/checkpoints/LATEST").exists()


def slow_to_resume(world: World, config: Config, seconds: float) -> None:
    """Train; rank 0 takes `seconds` to read its checkpoint."""
    from tooltune.train.keep import Keeping

    original = Keeping.restore

    def restore(self: Keeping, checkpoint: Path) -> Any:
        if world.is_main:
            time.sleep(seconds)
        return original(self, checkpoint)

    Keeping.restore = restore  # type: ignore[method-assign]
    train(config, world=world)


@pytest.mark.slow
def test_reading_a_checkpoint_may_take_longer_than_a_step(place: Path, tmp_path: Path) -> None:
    limits = {"timeout_seconds": 2}
    config = config_of(place, tmp_path / "run", distributed=limits)
    struck(2, config, faults.Strike(signal.SIGTERM, 3, tmp_path / "struck", at_step=True))
    results_of(slow_to_resume, 2, config, 5.0)
    assert (tmp_path / "run/comparison.json").is_file()


# --- a loss that is not finite ------------------------------------------------------------------


def poisoned(world: World, config: Config, victim: int, at_step: int) -> None:
    """Train; the loss of `victim` is NaN in a step."""
    original = step_module.Trainee.nll
    done = {"step": 0}

    def train_step(*arguments: Any, **named: Any) -> Any:
        done["step"] = named["number"]
        return real_step(*arguments, **named)

    def nll(self: Any, batch: Any) -> torch.Tensor:
        value = original(self, batch)
        bad = world.rank == victim and done["step"] == at_step and torch.is_grad_enabled()
        return value * float("nan") if bad else value

    from tooltune.train import recipe

    real_step = recipe.train_step
    recipe.train_step = train_step
    step_module.Trainee.nll = nll  # type: ignore[method-assign]
    train(config, world=world)


@pytest.mark.parametrize(
    ("size", "victim", "strategy", "beside"),
    [(1, 0, "fsdp2", False), (2, 1, "fsdp2", False), (2, 0, "ddp", False), (2, 0, "fsdp2", True)],
)
def test_a_loss_that_is_not_finite_on_one_rank_stops_all_before_the_update(
    place: Path, tmp_path: Path, size: int, victim: int, strategy: str, beside: bool
) -> None:
    config = config_of(
        place,
        tmp_path / "run",
        distributed={"strategy": strategy},
        checkpoint={"async_save": beside},
    )
    found = run_ranks(poisoned, size, config, victim, 4, limit=60)
    assert all(isinstance(error, NonFiniteError) for error in found), found
    latest = tmp_path / "run/checkpoints/LATEST"
    assert os.readlink(latest) == "epoch_0_step_2"
    assert verify(latest.resolve()) == []
    assert all(tensor.isfinite().all() for tensor in faults.weights(tmp_path / "run").values())
    steps = [line["step"] for line in metrics(tmp_path / "run") if line["kind"] == "train"]
    assert steps == [1, 2, 3]
    # The poison gone, the run goes on from there.
    results_of(faults.run, size, config)
    assert (tmp_path / "run/comparison.json").is_file()


# --- a failure that one rank alone can see ------------------------------------------------------


def failing(world: World, config: Config, victim: int) -> None:
    from tooltune.train import recipe

    def broken(*_: Any, **__: Any) -> Any:
        raise OSError("the disk of this rank is on fire")

    if world.rank == victim:
        recipe.train_step = broken
    train(config, world=world)


@pytest.mark.parametrize("victim", [0, 1])
def test_what_breaks_one_rank_ends_the_other(place: Path, tmp_path: Path, victim: int) -> None:
    config = config_of(place, tmp_path / "run", distributed={"timeout_seconds": 5})
    found = run_ranks(failing, 2, config, victim, limit=20)
    assert isinstance(found[victim], OSError)
    assert isinstance(found[1 - victim], RankFailure | RuntimeError)


# --- other worlds -------------------------------------------------------------------------------


PLAIN = {"peft": None, "optimizer": {"lr": 1e-3}, "dtype": "float32"}  # nothing is random


@pytest.fixture(scope="module")
def plain(place: Path) -> list[dict[str, Any]]:
    """The metrics of one process that nothing disturbed."""
    results_of(faults.run, 1, config_of(place, place / "plain", **PLAIN))
    return metrics(place / "plain")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_ranks(
    place: Path, plain: list[dict[str, Any]], tmp_path: Path, before: int, after: int
) -> None:
    config = config_of(place, tmp_path / "run", **PLAIN)
    strike = faults.Strike(signal.SIGKILL, 6, tmp_path / "struck", at_step=True)
    struck(before, config, strike)
    results_of(faults.run, after, config)
    for one, other in zip(metrics(tmp_path / "run"), plain, strict=True):
        assert (one["kind"], one["step"]) == (other["kind"], other["step"])
        if one["kind"] in ("train", "val"):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert environment["world_size"] == after
    assert f"processes {before} -> {after}" in (tmp_path / "run/train.log").read_text()
