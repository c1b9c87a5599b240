from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tooltune.train import loss as loss_module
from tooltune.train.loss import step_loss, weighted_nll


def _case(seed: int, rows: int, targets: int, vocabulary: int = 11) -> tuple[torch.Tensor, ...]:
    """Logits, and distinct (row, id) targets with weights, in any order."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=g, dtype=torch.float32) * 4
    pairs = torch.randperm(rows * vocabulary, generator=g)[:targets]
    weights = torch.rand(targets, generator=g)
    return logits.requires_grad_(), pairs // vocabulary, pairs % vocabulary, weights


@given(st.integers(0, 99), st.integers(1, 9), st.integers(0, 11), st.integers(1, 60))
def test_the_sum_and_its_gradient_are_those_of_cross_entropy(
    seed: int, rows: int, targets: int, chunk: int
) -> None:
    logits, row, ids, weights = _case(seed, rows, targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "_CHUNK_ELEMENTS", chunk)
        ours = weighted_nll(logits, ids, weights, rows=row)
        (gradient,) = torch.autograd.grad(3 * ours, logits)
    theirs = (cross_entropy(logits[row], ids, reduction="none") * weights).sum()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(3 * theirs, logits)[0])


def test_bf16_logits_are_summed_in_fp32_and_get_a_bf16_gradient() -> None:
    logits, row, ids, weights = _case(0, 40, 40, vocabulary=300)
    low = logits.detach().bfloat16().requires_grad_()
    exact = low.detach().double().requires_grad_()
    ours = weighted_nll(low, ids, weights, rows=row)
    theirs = (cross_entropy(exact[row], ids, reduction="none") * weights).sum()
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(ours, low)
    (expected,) = torch.autograd.grad(theirs, exact)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.double(), expected, rtol=2**-8, atol=1e-8)


@given(st.integers(0, 99), st.integers(1, 7))
def test_micro_batches_and_ranks_add_up_to_the_same_step(seed: int, cut: int) -> None:
    logits, _, ids, weights = _case(seed, 8, 8)
    total = float(weights.sum())
    whole = step_loss(logits, ids, weights, total)
    parts = [
        step_loss(logits[part], ids[part], weights[part], total, world_size=2)
        for part in (slice(None, cut), slice(cut, None))
    ]
    averaged = (parts[0] + parts[1]) / 2  # what FSDP and DDP do with the gradients of two ranks
    torch.testing.assert_close(averaged, whole)
    expected = (cross_entropy(logits, ids, reduction="none") * weights).sum() / weights.sum()
    torch.testing.assert_close(whole, expected)


def test_a_step_without_targets_is_refused_rather_than_divided_by_zero() -> None:
    empty = torch.empty(0)
    with pytest.raises(ValueError, match="needs targets"):
        step_loss(torch.empty(0, 5), empty.long(), empty, 0.0)


def test_a_non_finite_logit_shows_in_the_loss() -> None:
    logits = torch.zeros(2, 5)
    logits[1, 3] = float("nan")
    assert not weighted_nll(logits, torch.tensor([0, 1]), torch.ones(2)).isfinite()
