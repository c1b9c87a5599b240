from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tooltune.errors import UserError
from tooltune.train.optim import make_optimizer
from tooltune.train.precision import MasterWeights, trainable_parameters
from tooltune.train.state import (
    load_optimizer,
    load_trainable,
    restore_rng,
    rng_state,
    save_optimizer,
    save_trainable,
)


class TiedModel(nn.Module):
    """Embedding, dropout, two layers and a head tied to the embedding."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.layers = nn.Sequential(nn.Linear(width, 8), nn.Dropout(0.2), nn.Linear(8, width))
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embed(ids)))


def a_model(seed: int = 0, width: int = 6) -> TiedModel:
    torch.manual_seed(seed)
    return TiedModel(width)


def train(
    model: nn.Module, masters: MasterWeights, optimizer: torch.optim.Optimizer, n: int
) -> None:
    for _ in range(n):
        for _ in range(2):
            ids = torch.randint(11, (4, 5))
            loss = nn.functional.cross_entropy(model(ids).flatten(0, 1).float(), ids.flatten())
            (loss * random.random() * np.random.random()).backward()
        optimizer.step()
        masters.write_back()
        optimizer.zero_grad()


def set_up(seed: int, dtype: torch.dtype) -> tuple[nn.Module, MasterWeights, torch.optim.Optimizer]:
    model = a_model(seed)
    masters = MasterWeights(model, dtype)
    return model, masters, make_optimizer(masters.parameters(), lr=0.01, weight_decay=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resuming_equals_never_having_stopped_bit_for_bit(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    model, masters, optimizer = set_up(1, dtype)
    train(model, masters, optimizer, 3)
    save_trainable(masters.parameters(), tmp_path)
    save_optimizer(optimizer, masters.parameters(), tmp_path)
    saved = json.loads(json.dumps(rng_state()))
    train(model, masters, optimizer, 4)

    resumed, resumed_masters, resumed_optimizer = set_up(2, dtype)
    load_trainable(resumed_masters.parameters(), tmp_path)
    resumed_masters.write_back()
    load_optimizer(resumed_optimizer, resumed_masters.parameters(), tmp_path)
    assert restore_rng(saved) == []
    train(resumed, resumed_masters, resumed_optimizer, 4)

    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
    for name, master in masters.parameters().items():
        assert torch.equal(master, resumed_masters.parameters()[name]), name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), draws=st.integers(0, 700))
def test_every_global_random_state_survives_json(seed: int, draws: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    random.gauss(0, 1), np.random.normal(), torch.rand(draws)  # leave a cached second normal
    saved = json.loads(json.dumps(rng_state(), allow_nan=False))
    first = [random.gauss(0, 1), np.random.normal(size=3).tolist(), torch.randn(9).tolist()]
    restore_rng(saved)
    again = [random.gauss(0, 1), np.random.normal(size=3).tolist(), torch.randn(9).tolist()]
    assert first == again


def test_random_states_of_missing_devices_are_remarked_on() -> None:
    state = {**rng_state(), "cuda": []}
    state["cuda"] = [state["torch"]] * (torch.cuda.device_count() + 1)
    state["cuda"] = state["cuda"] if not torch.cuda.is_available() else []
    remarks = restore_rng(state)
    assert len(remarks) == 1
    assert "not bitwise" in remarks[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: torch.optim.AdamW(ps, lr=0.1, betas=(0.8, 0.9), amsgrad=True),
        lambda ps: torch.optim.AdamW(ps, lr=0.1, fused=True),
        lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9),
        lambda ps: torch.optim.Adafactor(ps, lr=0.1),
    ],
    ids=["adamw", "fused", "sgd", "adafactor"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_optimizer_state_round_trips_with_values_dtypes_and_kinds(
    tmp_path: Path, make, dtype: torch.dtype
) -> None:
    def optimized(seed: int, steps: int) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
        model = a_model(seed).to(dtype)
        parameters = trainable_parameters(model)
        optimizer = make(list(parameters.values()))
        for _ in range(steps):
            model(torch.arange(10)).sum().backward()
            optimizer.step()
        return parameters, optimizer

    parameters, optimizer = optimized(0, 3)
    save_optimizer(optimizer, parameters, tmp_path)
    others, other = optimized(1, 1)
    other.param_groups[0]["lr"] = 9.0
    load_optimizer(other, others, tmp_path)
    assert optimizer.state, "nothing was tested"
    for name, parameter in parameters.items():
        state, loaded = optimizer.state[parameter], other.state[others[name]]
        assert state.keys() == loaded.keys()
        for key, value in state.items():
            assert type(value) is type(loaded[key])
            if isinstance(value, torch.Tensor):
                assert value.dtype == loaded[key].dtype
                assert torch.equal(value, loaded[key]), (name, key)
            else:
                assert value == loaded[key]
    for group, loaded_group in zip(optimizer.param_groups, other.param_groups, strict=True):
        without = [{k: v for k, v in g.items() if k != "params"} for g in (group, loaded_group)]
        assert without[0] == without[1]
        assert [type(v) for v in without[0].values()] == [type(without[1][k]) for k in without[0]]


def test_the_state_of_an_optimizer_that_never_stepped_replaces_what_is_there(
    tmp_path: Path,
) -> None:
    _, fresh_masters, fresh = set_up(0, torch.float32)
    save_optimizer(fresh, fresh_masters.parameters(), tmp_path)
    model, masters, optimizer = set_up(1, torch.float32)
    train(model, masters, optimizer, 1)
    load_optimizer(optimizer, masters.parameters(), tmp_path)
    assert not optimizer.state


def test_state_follows_names_when_the_order_differs(tmp_path: Path) -> None:
    one, two = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([one, two])
    one.grad, two.grad = torch.full((3,), 1.0), torch.full((3,), 5.0)
    optimizer.step()
    save_optimizer(optimizer, {"one": one, "two": two}, tmp_path)
    swapped = torch.optim.AdamW([two, one])
    load_optimizer(swapped, {"two": two, "one": one}, tmp_path)
    assert torch.equal(swapped.state[one]["exp_avg"], optimizer.state[one]["exp_avg"])
    assert torch.equal(swapped.state[two]["exp_avg"], optimizer.state[two]["exp_avg"])


def test_another_models_checkpoint_is_refused_with_the_first_differences(tmp_path: Path) -> None:
    _, masters, optimizer = set_up(0, torch.float32)
    save_trainable(masters.parameters(), tmp_path)
    save_optimizer(optimizer, masters.parameters(), tmp_path)

    wider = trainable_parameters(a_model(0, width=7))
    with pytest.raises(
        UserError, match=r"another model: embed.weight is \[11, 6\].*\[11, 7\] here"
    ):
        load_trainable(wider, tmp_path)

    with pytest.raises(UserError, match=r"another model: embed.weight is \[11, 6\].*\[11, 7\]"):
        load_optimizer(make_optimizer(wider, lr=1.0), wider, tmp_path)

    fewer = dict(list(masters.parameters().items())[1:])
    with pytest.raises(UserError, match=r"another model: embed\.weight is not in this"):
        load_trainable(fewer, tmp_path)
    with pytest.raises(UserError, match=r"another model: embed\.weight is not in this"):
        load_optimizer(make_optimizer(fewer, lr=1.0), fewer, tmp_path)

    more = {**masters.parameters(), "extra": nn.Parameter(torch.zeros(2))}
    with pytest.raises(UserError, match="another model: extra is not in the checkpoint"):
        load_trainable(more, tmp_path)

    rounded = {name: p.detach().bfloat16() for name, p in masters.parameters().items()}
    with pytest.raises(UserError, match=r"torch.float32 in the checkpoint, torch.bfloat16 here"):
        load_trainable(rounded, tmp_path)


def test_a_tied_weight_is_saved_once_and_stays_tied(tmp_path: Path) -> None:
    model = a_model(3)
    save_trainable(trainable_parameters(model), tmp_path)
    other = a_model(4)
    load_trainable(trainable_parameters(other), tmp_path)
    assert other.head.weight is other.embed.weight
    assert torch.equal(other.head.weight, model.embed.weight)
    assert list(trainable_parameters(model)).count("head.weight") == 0


def test_nothing_is_written_as_a_pickle(tmp_path: Path) -> None:
    model, masters, optimizer = set_up(0, torch.float32)
    train(model, masters, optimizer, 1)
    save_trainable(masters.parameters(), tmp_path)
    save_optimizer(optimizer, masters.parameters(), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
