from __future__ import annotations

import json
import random
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.train.checkpoints.meeting import Alone
from tooltune.train.checkpoints.rng import restore_rng, restore_rng_states, rng_state, rng_states


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


def test_a_change_of_device_is_remarked_on() -> None:
    state = rng_state()
    state["cuda"] = None if torch.cuda.is_available() else state["torch"]
    remarks = restore_rng(state)
    assert len(remarks) == 1
    assert "not bitwise" in remarks[0]


def draws() -> list[float]:
    return [random.random(), np.random.random(), float(torch.rand(()))]


@dataclass(frozen=True)
class Of(Alone):
    """Rank `rank` of `size`, of which nobody else is there."""


def test_as_many_ranks_get_their_own_states_back() -> None:
    states, expected = [], []
    for seed in (1, 2):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        states.append(json.loads(json.dumps(rng_state())))
        expected.append(draws())
    for rank in (0, 1):
        assert restore_rng_states(states, Of(rank, 2), seed=0, step=5) == []
        assert draws() == expected[rank]


def test_another_number_of_ranks_starts_anew_from_seed_step_and_rank_and_says_so() -> None:
    states = [rng_state(), rng_state()]
    seen = []
    for seed, step, rank in [(0, 5, 0), (0, 5, 1), (0, 5, 2), (0, 6, 0), (1, 5, 0)]:
        for _ in range(2):
            (remark,) = restore_rng_states(states, Of(rank, 3), seed=seed, step=step)
            seen.append(draws())
        assert "2 processes and there are 3 now" in remark
        assert seen[-1] == seen[-2]
        assert len({x for each in seen for x in each}) == len(seen) // 2 * 3, "a state came twice"


def test_the_states_of_all_ranks_are_gathered_in_their_order() -> None:
    (state,) = rng_states(Alone()) or []
    assert state == rng_state()
