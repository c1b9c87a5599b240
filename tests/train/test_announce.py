"""What a run says of itself before it starts."""

from __future__ import annotations

import pytest

from tooltune.train import announce
from tooltune.train.batches import StepPlan


@pytest.mark.parametrize(
    ("size", "traces", "processes", "said"),
    [
        (4, 4, 4, []),
        (100, 6, 1, ["there are 6 traces: each step is a whole epoch"]),
        (1, 6, 2, ["1 of them have nothing to train on"]),
    ],
)
def test_a_step_of_an_odd_size_is_remarked_on(
    size: int, traces: int, processes: int, said: list[str]
) -> None:
    plan = StepPlan(traces, size, num_epochs=1, max_steps=None, seed=0)
    found = [*announce._sizes(plan, traces=traces, processes=processes)]
    assert len(found) == len(said)
    assert all(words in text for words, text in zip(said, found, strict=True))
