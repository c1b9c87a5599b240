from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render.strategies import simple_trace
from tooltune.render.turns import RenderedTrace, Renderer
from tooltune.train.batches import CPU_COST, CUDA_COST, CostModel, StepPlan, pack


@given(
    n=st.integers(1, 30),
    batch=st.integers(1, 8),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_every_epoch_sees_every_trace_once_in_an_order_that_the_seed_decides(
    n: int, batch: int, epochs: int, seed: int
) -> None:
    plan = StepPlan(n, batch, epochs, None, seed)
    again = StepPlan(n, batch, epochs, None, seed)
    for epoch in range(epochs):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        seen = [i for step in steps for i in plan.traces(step)]
        assert sorted(seen) == list(range(n))
        assert all(plan.epoch(step) == epoch for step in steps)
        assert all(len(plan.traces(step)) == batch for step in list(steps)[:-1])
        assert seen == [i for step in steps for i in again.traces(step)]
    assert plan.total_steps == epochs * plan.steps_per_epoch


def test_epochs_are_shuffled_differently_and_max_steps_ends_a_run() -> None:
    plan = StepPlan(20, 20, 2, None, seed=0)
    assert plan.traces(0) != plan.traces(1)
    assert StepPlan(20, 5, 10, 7, seed=0).total_steps == 7
    assert StepPlan(4, 2, 1, None, seed=0, shuffle=False).traces(0) == [0, 1]


@pytest.fixture(scope="module")
def rows(builtin_tokenizer: Any) -> list[RenderedTrace]:
    renderer = Renderer(builtin_tokenizer)
    cities = ["Rome", "Oslo", "Lima", "Cairo", "Quito"]
    return [renderer.render(simple_trace(city=city, user=f"In {city}?")) for city in cities]


@pytest.mark.parametrize("cost", [CPU_COST, CUDA_COST, CostModel(0, 1, 9.0, 10**6)])
@pytest.mark.parametrize("max_traces", [None, 1, 2])
def test_packing_keeps_every_target_whatever_the_cost_model(
    rows: list[RenderedTrace], cost: CostModel, max_traces: int | None
) -> None:
    batches = pack(rows, cost, max_traces=max_traces)
    trained = [turn for batch in batches for turn in batch.turns]
    assert len(trained) == sum(len(row.trained_turns) for row in rows)
    total = sum(batch.forest.total_weight for batch in batches)
    assert total == sum(turn.n_targets for row in rows for turn in row.turns)
    if max_traces is not None:
        sizes = [len({turn.trace_id for turn in batch.turns}) for batch in batches]
        assert max(sizes) <= max_traces


def test_traces_that_share_a_prefix_are_merged_and_stored_once(rows: list[RenderedTrace]) -> None:
    (batch,) = pack(rows, CUDA_COST)
    alone = sum(len(b.forest) for b in pack(rows, CUDA_COST, max_traces=1))
    assert len(batch.forest) < 0.6 * alone


def test_a_batch_never_outgrows_the_memory_bound(rows: list[RenderedTrace]) -> None:
    cost = CostModel(overhead=10**6, sweet_spot=10**6, strain=0.0, max_tokens=300)
    assert all(len(batch.forest) <= 300 for batch in pack(rows, cost))
    assert len(pack(rows, cost)) > 1
