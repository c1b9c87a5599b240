from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.train.checkpoints.test_state import TiedModel, a_model
from tooltune.train.optim import make_optimizer
from tooltune.train.precision import MasterWeights, trainable_parameters

BF16, FP32 = torch.bfloat16, torch.float32


def without_dropout(seed: int) -> TiedModel:
    model = a_model(seed)
    model.layers[1] = nn.Identity()
    return model


def loss_sum(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    logits = model(ids).flatten(0, 1).float()
    return nn.functional.cross_entropy(logits, (ids.flatten() + 1) % 11, reduction="sum")


def fit(dtype: torch.dtype, steps: int = 60) -> list[float]:
    model = without_dropout(0)
    masters = MasterWeights(model, dtype)
    optimizer = make_optimizer(masters.parameters(), lr=0.01)
    ids = torch.arange(11).view(1, 11)
    losses = []
    for _ in range(steps):
        loss = loss_sum(model, ids) / ids.numel()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        masters.write_back()
    return losses


def test_training_in_bf16_follows_training_in_fp32() -> None:
    exact, mixed = fit(FP32), fit(BF16)
    assert exact[-1] < 0.5 * exact[0]
    assert mixed == pytest.approx(exact, abs=0.03 * exact[0])


def test_updates_below_bf16_rounding_are_not_lost() -> None:
    layer = nn.Linear(4, 1, bias=False)
    nn.init.ones_(layer.weight)
    masters = MasterWeights(layer, BF16)
    optimizer = make_optimizer(masters.parameters(), lr=1e-5)
    for _ in range(800):
        layer(torch.ones(1, 4, dtype=BF16)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        masters.write_back()
    (master,) = masters.parameters().values()
    torch.testing.assert_close(master.detach(), torch.full((1, 4), 1 - 800e-5), rtol=0, atol=2e-4)
    assert layer.weight.dtype == BF16
    assert torch.equal(layer.weight, master.to(BF16))
    assert (layer.weight < 1).all()


def test_gradients_of_many_micro_batches_add_up_in_fp32() -> None:
    layer = nn.Linear(1, 1, bias=False)
    masters = MasterWeights(layer, BF16)
    (master,) = masters.parameters().values()
    layer(torch.full((1, 1), 256.0, dtype=BF16)).sum().backward()
    for _ in range(100):  # in bf16, 256 + 1 is 256
        layer(torch.ones(1, 1, dtype=BF16)).sum().backward()
    assert master.grad is not None
    assert master.grad.dtype == FP32
    assert master.grad.item() == 356.0
    assert layer.weight.grad is None, "the bf16 gradient must be freed"


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_accumulation_equals_one_batch(parts: int) -> None:
    ids = torch.randint(11, (8, 5), generator=torch.Generator().manual_seed(0))
    whole, split = without_dropout(0), without_dropout(0)
    masters = MasterWeights(split, FP32)
    loss_sum(whole, ids).backward()
    for piece in ids.split(8 // parts):
        loss_sum(split, piece).backward()
    for name, master in masters.parameters().items():
        torch.testing.assert_close(
            master.grad, whole.get_parameter(name).grad, rtol=1e-5, atol=1e-6
        )


def test_fp32_compute_copies_nothing() -> None:
    model = without_dropout(0)
    masters = MasterWeights(model, FP32)
    assert all(m is model.get_parameter(n) for n, m in masters.parameters().items())


def test_a_model_loaded_in_bf16_can_train_in_fp32() -> None:
    model = without_dropout(0).to(BF16)
    masters = MasterWeights(model, FP32)
    assert {p.dtype for p in model.parameters()} == {FP32}
    assert all(m is model.get_parameter(n) for n, m in masters.parameters().items())


def test_masters_keep_what_rounding_the_model_would_lose() -> None:
    model = without_dropout(0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    masters = MasterWeights(model, BF16)
    assert {p.dtype for p in model.parameters()} == {BF16}
    assert all(torch.equal(m, before[n]) for n, m in masters.parameters().items())


def test_frozen_weights_and_buffers_are_left_alone() -> None:
    model = without_dropout(0)
    model.register_buffer("table", torch.ones(3))
    model.layers[0].requires_grad_(False)
    masters = MasterWeights(model, BF16)
    assert model.layers[0].weight.dtype == FP32
    assert model.table.dtype == FP32
    assert set(masters.parameters()) == {"embed.weight", "layers.2.weight", "layers.2.bias"}


def test_a_tied_weight_has_one_master_with_both_gradients() -> None:
    model, plain = without_dropout(0), without_dropout(0)
    masters = MasterWeights(model, BF16)
    assert model.head.weight is model.embed.weight
    assert set(masters.parameters()) == set(trainable_parameters(plain))
    ids = torch.arange(10).view(2, 5)
    loss_sum(plain, ids).backward()
    loss_sum(model, ids).backward()
    expected = plain.embed.weight.grad
    assert expected is not None
    got = masters.parameters()["embed.weight"].grad
    torch.testing.assert_close(got, expected, rtol=0.05, atol=0.05 * expected.abs().max().item())


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).to(BF16).requires_grad_()
    gradients = []
    for through in (lambda f, x: f(x), lambda f, x: checkpoint(f, x, use_reentrant=reentrant)):
        model = without_dropout(0)
        masters = MasterWeights(model, BF16)
        hidden = through(model.layers, x)
        through(model.layers, hidden).float().square().sum().backward()
        gradients.append([m.grad for n, m in masters.parameters().items() if "layers" in n])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=0.02, atol=0.02)


def test_inside_in_model_the_model_holds_the_masters_and_trains_on_after() -> None:
    model = without_dropout(0)
    exact = {name: p.detach().clone() for name, p in model.named_parameters()}
    masters = MasterWeights(model, BF16)
    ids = torch.arange(10).view(2, 5)
    loss_sum(model, ids).backward()
    with masters.in_model(), torch.no_grad():
        assert all(torch.equal(p, exact[n]) for n, p in model.named_parameters())
        assert model.head.weight is model.embed.weight
        assert loss_sum(model, ids).isfinite()
    assert {p.dtype for p in model.parameters()} == {BF16}
    once = {name: m.grad.clone() for name, m in masters.parameters().items() if m.grad is not None}
    loss_sum(model, ids).backward()
    for name, master in masters.parameters().items():
        torch.testing.assert_close(master.grad, 2 * once[name])
