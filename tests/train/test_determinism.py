from __future__ import annotations

import os

import pytest
import torch

from tooltune.errors import UserError
from tooltune.train.determinism import deterministic_kernels


def switches() -> tuple[object, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


def test_on_request_every_switch_is_set_and_put_back_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.backends.cudnn.benchmark = True
    try:
        before = switches()
        inside: list[tuple[object, ...]] = []

        def fail() -> None:
            with deterministic_kernels(True):
                inside.append(switches())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert inside == [(True, False, True, False, False, ":4096:8")]
        assert switches() == before
        with deterministic_kernels(False):
            assert switches() == before
    finally:
        torch.backends.cudnn.benchmark = False


def test_a_workspace_that_cublas_is_deterministic_with_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic_kernels(True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_another_workspace_and_a_started_cuda_are_user_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    with pytest.raises(UserError, match=r"':0:0'(?s:.*)fix: unset it"), deterministic_kernels(True):
        pass
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    with deterministic_kernels(True):
        pass
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 512)
    with pytest.raises(UserError, match="before the process starts"), deterministic_kernels(True):
        pass


@pytest.mark.gpu
def test_on_cuda_the_loss_and_its_gradient_are_the_same_bits_each_time() -> None:
    """Needs a CUDA device: on a CPU nothing here is ever in another order."""
    from tooltune.train.loss import weighted_nll

    with deterministic_kernels(True):
        torch.manual_seed(0)
        logits = torch.randn(256, 4096, device="cuda")
        rows = torch.randint(256, (20_000,), device="cuda")
        ids, weights = torch.randint(4096, (20_000,), device="cuda"), torch.rand(20_000).cuda()
        seen = []
        for _ in range(5):
            leaf = logits.clone().requires_grad_()
            weighted_nll(leaf, ids, weights, rows=rows).backward()
            assert leaf.grad is not None
            seen.append(leaf.grad)
        assert all(torch.equal(gradient, seen[0]) for gradient in seen)
