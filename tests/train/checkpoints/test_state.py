from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tooltune.errors import UserError
from tooltune.train.checkpoints.rng import restore_rng, rng_state
from tooltune.train.checkpoints.state import (
    load_training_tensors,
    save_training_tensors,
    training_tensors,
    write_training_tensors,
)
from tooltune.train.optim import make_optimizer
from tooltune.train.precision import MasterWeights, trainable_parameters


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
    save_training_tensors(masters.parameters(), optimizer, tmp_path)
    saved = json.loads(json.dumps(rng_state()))
    train(model, masters, optimizer, 4)

    resumed, resumed_masters, resumed_optimizer = set_up(2, dtype)
    load_training_tensors(resumed_masters.parameters(), resumed_optimizer, tmp_path)
    resumed_masters.write_back()
    assert restore_rng(saved) == []
    train(resumed, resumed_masters, resumed_optimizer, 4)

    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
    for name, master in masters.parameters().items():
        assert torch.equal(master, resumed_masters.parameters()[name]), name


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
    save_training_tensors(parameters, optimizer, tmp_path)
    others, other = optimized(1, 1)
    other.param_groups[0]["lr"] = 9.0
    load_training_tensors(others, other, tmp_path)
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
    save_training_tensors(fresh_masters.parameters(), fresh, tmp_path)
    model, masters, optimizer = set_up(1, torch.float32)
    train(model, masters, optimizer, 1)
    load_training_tensors(masters.parameters(), optimizer, tmp_path)
    assert not optimizer.state


def test_state_follows_names_when_the_order_differs(tmp_path: Path) -> None:
    one, two = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([one, two])
    one.grad, two.grad = torch.full((3,), 1.0), torch.full((3,), 5.0)
    optimizer.step()
    save_training_tensors({"one": one, "two": two}, optimizer, tmp_path)
    swapped = torch.optim.AdamW([two, one])
    load_training_tensors({"two": two, "one": one}, swapped, tmp_path)
    assert torch.equal(swapped.state[one]["exp_avg"], optimizer.state[one]["exp_avg"])
    assert torch.equal(swapped.state[two]["exp_avg"], optimizer.state[two]["exp_avg"])


def test_another_models_checkpoint_is_refused_with_the_first_differences(tmp_path: Path) -> None:
    model, masters, optimizer = set_up(0, torch.float32)
    train(model, masters, optimizer, 1)
    save_training_tensors(masters.parameters(), optimizer, tmp_path)

    def refused(parameters: dict[str, nn.Parameter], message: str) -> None:
        """Loading says so, and has changed nothing."""
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        other = torch.optim.AdamW(list(parameters.values()), lr=0.5)
        with pytest.raises(UserError, match=f"another model: {message}"):
            load_training_tensors(parameters, other, tmp_path)
        assert all(torch.equal(before[name], p) for name, p in parameters.items())
        assert not other.state
        assert other.param_groups[0]["lr"] == 0.5

    wider = trainable_parameters(a_model(0, width=7))
    refused(wider, r"embed.weight is torch.float32 \[11, 6\].*float32 \[11, 7\].* here")

    ours = trainable_parameters(a_model(5))
    fewer = dict(list(ours.items())[1:])
    refused(fewer, r"embed\.weight is not in this model")
    refused({**ours, "extra": nn.Parameter(torch.zeros(2))}, "extra is not in the checkpoint")
    rounded = {name: nn.Parameter(p.detach().bfloat16()) for name, p in ours.items()}
    refused(rounded, r".*torch.float32 .* in the checkpoint, torch.bfloat16 .* here")
    refused(ours, r".* in group 1 in the checkpoint, .* in group 0 here")


def save_pieces(
    tensors: dict[str, torch.Tensor], offsets: dict[str, list[int]], path: Path
) -> None:
    """Pieces of tensors as DCP writes them; without an offset they begin at the beginning."""
    places = {
        name: {"saved_offsets": offsets.get(name, [0] * tensor.ndim)}
        for name, tensor in tensors.items()
    }
    save_file(tensors, path, metadata={"DCP_SHARDING_INFO": json.dumps(places)})


def test_pieces_are_put_together_whatever_files_they_are_in(tmp_path: Path) -> None:
    model, masters, optimizer = set_up(0, torch.float32)
    train(model, masters, optimizer, 1)
    save_training_tensors(masters.parameters(), optimizer, tmp_path)
    (shard,) = tmp_path.glob("*.safetensors")
    tensors, name = load_file(shard), "master/embed.weight"
    shard.unlink()
    save_pieces({**tensors, name: tensors[name][:4].clone()}, {}, tmp_path / "1.safetensors")
    for start, end in ((4, 8), (8, 11)):
        piece = {name: tensors[name][start:end].clone()}
        save_pieces(piece, {name: [start, 0]}, tmp_path / f"{end}.safetensors")
    _, others, other_optimizer = set_up(1, torch.float32)
    load_training_tensors(others.parameters(), other_optimizer, tmp_path)
    assert torch.equal(others.parameters()["embed.weight"], tensors[name])


def test_files_that_are_not_whole_are_refused_before_anything_is_changed(tmp_path: Path) -> None:
    model, masters, optimizer = set_up(0, torch.float32)
    train(model, masters, optimizer, 1)
    save_training_tensors(masters.parameters(), optimizer, tmp_path / "whole")
    (shard,) = (tmp_path / "whole").glob("*.safetensors")
    tensors = load_file(shard)
    document = json.loads((tmp_path / "whole/optimizer.json").read_text())

    def damaged(name: str) -> Path:
        folder = tmp_path / name / "optim"
        shutil.copytree(tmp_path / "whole", folder)
        return folder

    cut = damaged("cut")
    os.truncate(cut / shard.name, shard.stat().st_size // 2)
    lost = damaged("lost")
    (lost / shard.name).unlink()
    short = damaged("short")
    dropped = {name: tensor for name, tensor in tensors.items() if "exp_avg_sq" not in name}
    save_file(dropped, short / shard.name)
    small = damaged("small")
    name = "master/embed.weight"
    save_file({**tensors, name: tensors[name][:1].clone()}, small / shard.name)
    hole = damaged("hole")  # the rows 4 to 7 of one tensor are in no file
    (hole / shard.name).unlink()
    first, last = {**tensors, name: tensors[name][:4].clone()}, {name: tensors[name][8:].clone()}
    save_pieces(first, {}, hole / "one.safetensors")
    save_pieces(last, {name: [8, 0]}, hole / "two.safetensors")
    garbled = damaged("garbled")
    (garbled / "optimizer.json").write_text(json.dumps({**document, "masters": 3}))

    for folder in (cut, lost, short, small, hole, garbled, tmp_path / "nothing"):
        model, masters, optimizer = set_up(1, torch.float32)
        train(model, masters, optimizer, 1)
        before = training_tensors(masters.parameters(), optimizer, copy=True)
        with pytest.raises(UserError, match="is not whole"):
            load_training_tensors(masters.parameters(), optimizer, folder)
        after = training_tensors(masters.parameters(), optimizer)
        assert before.document == after.document
        assert all(torch.equal(t, after.tensors[key]) for key, t in before.tensors.items())


def test_a_copy_keeps_the_state_of_its_moment_while_training_goes_on(tmp_path: Path) -> None:
    model, masters, optimizer = set_up(0, torch.float32)
    train(model, masters, optimizer, 2)
    save_training_tensors(masters.parameters(), optimizer, tmp_path / "now")
    copy = training_tensors(masters.parameters(), optimizer, copy=True)
    train(model, masters, optimizer, 2)
    write_training_tensors(copy, tmp_path / "later")
    save_training_tensors(masters.parameters(), optimizer, tmp_path / "after")
    kinds = ("now", "later", "after")
    now, later, after = (load_file(next((tmp_path / kind).glob("*.safetensors"))) for kind in kinds)
    assert now
    for name, tensor in now.items():
        assert torch.equal(tensor, later[name])
        assert not torch.equal(tensor, after[name])
    texts = [(tmp_path / kind / "optimizer.json").read_text() for kind in kinds]
    assert texts[0] == texts[1] != texts[2]


def test_many_tensors_are_spread_over_files_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tooltune.train.checkpoints.state._FILE_BYTES", 300)
    model, masters, optimizer = set_up(0, torch.float32)
    train(model, masters, optimizer, 1)
    save_training_tensors(masters.parameters(), optimizer, tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 3
    _, other_masters, other_optimizer = set_up(1, torch.float32)
    load_training_tensors(other_masters.parameters(), other_optimizer, tmp_path)
    for name, master in masters.parameters().items():
        assert torch.equal(master, other_masters.parameters()[name])


def test_weights_without_dimensions_are_kept_too(tmp_path: Path) -> None:
    scale, bias = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.ones(2))
    save_training_tensors({"scale": scale, "bias": bias}, torch.optim.SGD([scale, bias]), tmp_path)
    other, others = nn.Parameter(torch.tensor(9.0)), nn.Parameter(torch.zeros(2))
    load_training_tensors(
        {"scale": other, "bias": others}, torch.optim.SGD([other, others]), tmp_path
    )
    assert torch.equal(other, scale)
    assert torch.equal(others, bias)


def test_a_tied_weight_is_saved_once_and_stays_tied(tmp_path: Path) -> None:
    model, other = a_model(3), a_model(4)
    ours, theirs = trainable_parameters(model), trainable_parameters(other)
    save_training_tensors(ours, torch.optim.AdamW(list(ours.values())), tmp_path)
    load_training_tensors(theirs, torch.optim.AdamW(list(theirs.values())), tmp_path)
    assert other.head.weight is other.embed.weight
    assert torch.equal(other.head.weight, model.embed.weight)
    assert list(ours).count("head.weight") == 0


def test_nothing_is_written_as_a_pickle(tmp_path: Path) -> None:
    model, masters, optimizer = set_up(0, torch.float32)
    train(model, masters, optimizer, 1)
    save_training_tensors(masters.parameters(), optimizer, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
    for path in tmp_path.iterdir():
        assert not path.name.startswith(".")
        with pytest.raises(pickle.UnpicklingError):
            pickle.loads(path.read_bytes())
