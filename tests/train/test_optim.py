from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tooltune.train.optim import (
    NonFiniteError,
    clip_gradients,
    embedding_names,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)


def parameter(*values: float, grad: list[float] | None = None) -> nn.Parameter:
    result = nn.Parameter(torch.tensor(values))
    result.grad = None if grad is None else torch.tensor(grad)
    return result


def test_the_schedule_has_the_documented_numbers() -> None:
    def rates(style, steps):
        return [
            learning_rate(s, 10, lr=1.0, min_lr=0.1, warmup_steps=2, style=style) for s in steps
        ]

    assert rates("cosine", (0, 1, 2)) == [0.5, 1.0, 1.0]
    assert rates("cosine", (6,)) == pytest.approx([0.55])
    assert rates("cosine", (9,)) == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * 7 / 8)) / 2])
    assert rates("cosine", (10, 99)) == pytest.approx([0.1, 0.1])
    assert rates("linear", (0, 1, 2, 6, 10)) == pytest.approx([0.5, 1.0, 1.0, 0.55, 0.1])
    assert rates("constant", (0, 1, 2, 9)) == [0.5, 1.0, 1.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 500),
    warmup=st.integers(0, 600),
    style=st.sampled_from(["cosine", "linear", "constant"]),
    low=st.floats(0, 1),
)
def test_the_rate_is_never_zero_rises_then_falls_and_stays_in_range(
    total: int, warmup: int, style, low: float
) -> None:
    rates = [
        learning_rate(step, total, lr=2.0, min_lr=low, warmup_steps=warmup, style=style)
        for step in range(total)
    ]
    assert all(0 < rate <= 2.0 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert all(a >= b - 1e-12 for a, b in zip(rates[warmup:], rates[warmup + 1 :], strict=False))
    assert all(rate >= low - 1e-12 for rate in rates[warmup:])


def test_a_run_of_one_step_trains_with_the_full_rate() -> None:
    assert learning_rate(0, 1, lr=3.0) == 3.0


def test_the_rate_that_is_set_is_the_rate_of_the_update() -> None:
    weight = parameter(1.0, grad=[1.0])
    optimizer = make_optimizer({"w": weight}, lr=1.0, eps=1e-12)
    set_learning_rate(optimizer, 0.25)
    optimizer.step()
    assert weight.item() == pytest.approx(0.75)  # Adam's first step is lr times the sign


def test_matrices_decay_but_biases_norms_and_embeddings_do_not() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.linear = nn.Linear(4, 4)
            self.norm = nn.LayerNorm(4)
            self.experts = nn.Parameter(torch.ones(2, 4, 4))
            self.head = nn.Linear(4, 5, bias=False)
            self.head.weight = self.embed.weight

    model = Model()
    named = dict(model.named_parameters())
    optimizer = make_optimizer(named, lr=1.0, weight_decay=0.5, no_decay=embedding_names(model))
    decayed = {
        name
        for group in optimizer.param_groups
        for name, p in named.items()
        if group["weight_decay"] and any(p is q for q in group["params"])
    }
    assert decayed == {"linear.weight", "experts"}
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.5, 0.0}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(named)


def test_the_update_is_adamw_as_published() -> None:
    weight = nn.Parameter(torch.tensor([[2.0, -1.0]]))
    optimizer = make_optimizer({"w": weight}, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.2)
    expected = weight.detach().clone().double()
    m = v = torch.zeros_like(expected)
    for t in range(1, 6):
        gradient = torch.tensor([[0.3 * t, -1.0 / t]])
        weight.grad = gradient
        optimizer.step()
        g = gradient.double()
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        expected = expected * (1 - 0.1 * 0.2)
        expected = expected - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_the_norm_returned_is_the_one_before_clipping() -> None:
    a, b, c = parameter(0.0, 0.0, grad=[3.0, 0.0]), parameter(0.0, grad=[4.0]), parameter(0.0)
    assert clip_gradients({"a": a, "b": b, "c": c}, 1.0) == pytest.approx(5.0)
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-5)
    assert b.grad.tolist() == pytest.approx([0.8], rel=1e-5)
    assert c.grad is None


@pytest.mark.parametrize("max_norm", [None, 100.0])
def test_small_gradients_are_left_exactly_alone(max_norm: float | None) -> None:
    a = parameter(0.0, 0.0, grad=[3.0, 4.0])
    assert clip_gradients({"a": a}, max_norm) == 5.0
    assert a.grad is not None
    assert a.grad.tolist() == [3.0, 4.0]


def test_the_norm_of_bf16_gradients_is_computed_in_fp32() -> None:
    p = nn.Parameter(torch.zeros(100_000, dtype=torch.bfloat16))
    p.grad = torch.full_like(p, 0.01)
    expected = float(p.grad[0].float()) * math.sqrt(100_000)
    assert clip_gradients({"p": p}) == pytest.approx(expected, rel=1e-4)


def test_no_gradients_have_norm_zero() -> None:
    assert clip_gradients({"a": parameter(1.0)}, 1.0) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_gradient_stops_before_anything_changes(bad: float) -> None:
    good, broken = parameter(1.0, grad=[10.0]), parameter(2.0, 3.0, grad=[0.0, bad])
    optimizer = make_optimizer({"good": good, "broken": broken}, lr=1.0)
    with pytest.raises(NonFiniteError, match=r"in broken; the update was not made"):
        clip_gradients({"good": good, "broken": broken}, 1.0)
    assert good.grad is not None
    assert good.grad.item() == 10.0
    assert (good.item(), broken.tolist()) == (1.0, [2.0, 3.0])
    assert not optimizer.state
