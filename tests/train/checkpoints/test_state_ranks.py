"""Training states of sharded and copied models: saved on some ranks, loaded on others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.ranks import results_of, run_ranks
from tooltune.errors import UserError
from tooltune.train.checkpoints.state import (
    load_training_tensors,
    save_training_tensors,
    training_tensors,
    write_training_tensors,
)
from tooltune.train.optim import make_optimizer
from tooltune.train.parallel.world import World

Setup = tuple[nn.Module, dict[str, nn.Parameter], torch.optim.Optimizer]
# "fsdp2" on 4 ranks: dimensions of 1, 2 and 3 leave some of them without a shard.
SAVED = [("alone", 1), ("ddp", 2), ("fsdp2", 2), ("fsdp2", 4), ("hsdp", 4)]
LOADED = [("alone", 1), ("ddp", 2), ("fsdp2", 2), ("fsdp2", 3), ("hsdp", 4)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.wide = nn.Linear(6, 3)
        self.thin = nn.Linear(3, 2, bias=False)
        self.last = nn.Linear(2, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.last(self.thin(self.wide(self.embed(ids)).tanh()))
        return hidden


def set_up(world: World, kind: str, seed: int) -> Setup:
    torch.manual_seed(seed)
    model = Net()
    if kind in ("fsdp2", "hsdp"):
        shape = (2, world.size // 2) if kind == "hsdp" else (world.size,)
        names = ("dp_replicate", "dp_shard") if kind == "hsdp" else ("dp_shard",)
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        for part in (model.embed, model.wide, model.thin):
            fully_shard(part, mesh=mesh)
        fully_shard(model, mesh=mesh)
    parameters = dict(model.named_parameters())
    assert any(isinstance(p, DTensor) for p in parameters.values()) == (kind in ("fsdp2", "hsdp"))
    return model, parameters, make_optimizer(parameters, lr=0.1, weight_decay=0.1)


def train(setup: Setup, steps: int) -> None:
    """The same batch on every rank: its averaged gradients are those of one process."""
    model, _, optimizer = setup
    for step in range(steps):
        ids = torch.arange(5) + step % 3
        model(ids).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


Arrays = dict[str, "np.ndarray[Any, Any]"]  # a tensor would die with its process


def whole(setup: Setup) -> Arrays:
    """Every master and every tensor of the optimizer, gathered."""
    _, parameters, optimizer = setup
    found = dict(parameters)
    for name, parameter in parameters.items():
        found |= {f"{key} of {name}": t for key, t in optimizer.state[parameter].items()}
    return {
        name: (t.full_tensor() if isinstance(t, DTensor) else t).detach().numpy().copy()
        for name, t in found.items()
    }


def saved(world: World, kind: str, folder: Path, copy: bool = False) -> Any:
    setup = set_up(world, kind, seed=1)
    train(setup, 3)
    _, parameters, optimizer = setup
    there = whole(setup)
    if copy:
        state = training_tensors(parameters, optimizer, copy=True)
        train(setup, 2)
        write_training_tensors(state, folder, world.apart())
    else:
        save_training_tensors(parameters, optimizer, folder, world)
        train(setup, 2)
    return there, whole(setup)


def loaded(world: World, kind: str, folders: list[Path]) -> Any:
    return [loaded_one(world, kind, folder) for folder in folders]


def loaded_one(world: World, kind: str, folder: Path) -> Any:
    setup = set_up(world, kind, seed=2)
    _, parameters, optimizer = setup
    optimizer.param_groups[0]["lr"] = 77.0
    load_training_tensors(parameters, optimizer, folder, world)
    assert optimizer.param_groups[0]["lr"] == 0.1
    there = whole(setup)
    train(setup, 2)
    return there, whole(setup)


def on(kind: str, size: int, job: Any, *arguments: Any) -> Any:
    """What rank 0 found."""
    if kind == "alone":
        return job(World.alone(torch.device("cpu")), kind, *arguments)
    return results_of(job, size, kind, *arguments)[0]


def same(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.dtype == other[name].dtype, name
        assert np.array_equal(values, other[name]), name


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Any]:
    """For each way to save: the folder, what was saved, and what two more steps made of it."""
    found = {}
    for kind, size in SAVED:
        folder = tmp_path_factory.mktemp(f"{kind}{size}") / "optim"
        found[kind, size] = folder, *on(kind, size, saved, folder)
    return found


@pytest.mark.parametrize("target", LOADED, ids=lambda way: f"{way[0]}-{way[1]}")
def test_a_state_loads_bit_for_bit_on_any_number_of_ranks(
    states: dict[tuple[str, int], Any], target: tuple[str, int]
) -> None:
    found = on(*target, loaded, [folder for folder, _, _ in states.values()])
    for (source, (_, there, later)), (here, resumed) in zip(states.items(), found, strict=True):
        same(here, there)
        if source == target or {source[0], target[0]} <= {"alone", "ddp"}:
            same(resumed, later)
        for name, values in later.items():
            np.testing.assert_allclose(resumed[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source", SAVED, ids=lambda s: f"{s[0]}-{s[1]}")
def test_every_number_is_written_once_whoever_holds_it(
    states: dict[tuple[str, int], Any], source: tuple[str, int]
) -> None:
    folder, there, _ = states[source]
    written: dict[str, int] = {}
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                pieces = math.prod(opened.get_slice(name).get_shape())
                written[name] = written.get(name, 0) + pieces
    assert sum(written.values()) == sum(values.size for values in there.values() if values.ndim)
    assert len(files) == source[1], "each rank writes its part"
    document = json.loads((folder / "optimizer.json").read_text())
    assert document["state"]["last.bias"]["step"] == {"dtype": "torch.float32", "value": 3.0}


@pytest.mark.parametrize(("kind", "size"), [("fsdp2", 2), ("ddp", 2)])
def test_a_copy_is_written_over_a_group_of_its_own_while_training_goes_on(
    states: dict[tuple[str, int], Any], tmp_path: Path, kind: str, size: int
) -> None:
    there, _ = on(kind, size, saved, tmp_path / "optim", True)
    ((here, _),) = on("alone", 1, loaded, [tmp_path / "optim"])
    same(here, there)


def loaded_damaged(world: World, folder: Path) -> None:
    setup = set_up(world, "fsdp2", seed=2)
    before = whole(setup)
    try:
        load_training_tensors(setup[1], setup[2], folder, world)
    finally:
        same(whole(setup), before)


def test_a_missing_shard_is_refused_on_every_rank(
    states: dict[tuple[str, int], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "optim"
    folder.mkdir()
    files = sorted(states["fsdp2", 4][0].iterdir())
    for file in files:
        if not file.name.startswith("shard-00002"):
            (folder / file.name).write_bytes(file.read_bytes())
    for result in run_ranks(loaded_damaged, 2, folder):
        assert isinstance(result, UserError)
        assert "is not whole" in str(result)


def loaded_other(world: World, folder: Path) -> None:
    setup = set_up(world, "fsdp2", seed=2)
    del setup[1]["last.bias"]
    optimizer = make_optimizer(setup[1], lr=0.1)
    load_training_tensors(setup[1], optimizer, folder, world)


def test_another_model_is_refused_on_every_rank(states: dict[tuple[str, int], Any]) -> None:
    for result in run_ranks(loaded_other, 2, states["fsdp2", 2][0]):
        assert isinstance(result, UserError)
        assert "another model: last.bias is not in this model" in str(result)
