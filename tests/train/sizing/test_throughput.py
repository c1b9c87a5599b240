"""Expected speed: operations of a token, and bounds that hold what others have measured."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.sizing.test_memory import config_of, known, models
from tooltune.models.shapes import ModelShape
from tooltune.train.sizing.memory import trained_parameters
from tooltune.train.sizing.throughput import (
    DEVICES,
    device_named,
    operations_per_token,
    tokens_per_second,
)


def operations(
    shape: ModelShape, context: float = 0, target_share: float = 1, **more: Any
) -> float:
    return operations_per_token(
        config_of(**more), shape, context=context, target_share=target_share
    )


def test_without_attention_a_token_costs_six_operations_a_parameter_that_works() -> None:
    shape = known("Qwen2.5-7B")
    working = shape.parameters - shape.vocab * shape.hidden  # the input table is looked up
    assert operations(shape) == pytest.approx(6 * working, rel=1e-3)


def test_frozen_weights_cost_four_and_adapters_six() -> None:
    shape = known("Qwen2.5-7B")
    working = shape.parameters - shape.vocab * shape.hidden
    adapters = trained_parameters(config_of(peft={"dim": 16}), shape)
    lora = operations(shape, peft={"dim": 16})
    assert lora == pytest.approx(4 * working + 6 * adapters, rel=1e-3)


def test_full_checkpointing_costs_a_third_more() -> None:
    shape = known("Qwen2.5-7B")
    plain = operations(shape, context=2000)
    full = operations(shape, context=2000, model={"activation_checkpointing": "full"})
    assert full == pytest.approx(plain * 4 / 3)


def test_only_the_experts_at_work_count() -> None:
    sparse, dense = known("Qwen3-30B-A3B"), known("Qwen3-32B")
    assert operations(sparse) < operations(dense) / 8


@given(models, st.floats(0, 1e5), st.floats(0.01, 1))
def test_longer_contexts_and_more_targets_cost_more(
    shape: ModelShape, context: float, share: float
) -> None:
    assert operations(shape, context + 1, share) > operations(shape, context, share)
    assert operations(shape, context, share) > operations(shape, context, share / 2)


def test_the_bounds_hold_what_torchtitan_measured() -> None:
    """docs/performance.md there: Llama-3.1-8B, 8 H100, 8,192 tokens, tokens a second of each."""
    low, high = tokens_per_second(
        config_of(model={"activation_checkpointing": "selective"}),
        known("Llama-3.1-8B"),
        8,
        DEVICES["H100"],
        context=4096,
        target_share=1.0,
    )
    for measured in (5762, 6667):
        assert low < 8 * measured < high


def test_a_device_is_known_by_the_name_that_cuda_reports() -> None:
    assert device_named("NVIDIA H100 80GB HBM3") == DEVICES["H100"]
    assert device_named("NVIDIA A100-SXM4-80GB") == DEVICES["A100"]
    assert device_named("NVIDIA GeForce RTX 4090") == DEVICES["RTX 4090"]
    assert device_named("Tesla T4") is None
