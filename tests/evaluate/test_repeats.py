from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.evaluate.repeats import pass_at_k, pass_hat_k, repeated_rates

outcomes = st.lists(st.booleans(), min_size=1, max_size=7)


@given(outcomes, st.integers(1, 8))
def test_both_are_shares_of_the_ways_to_draw_k_of_the_answers(answers, k):
    n, c = len(answers), sum(answers)
    draws = list(combinations(answers, k))
    if not draws:
        assert pass_at_k(n, c, k) is pass_hat_k(n, c, k) is None
    else:
        assert pass_at_k(n, c, k) == pytest.approx(np.mean([any(draw) for draw in draws]))
        assert pass_hat_k(n, c, k) == pytest.approx(np.mean([all(draw) for draw in draws]))


@given(st.integers(1, 300), st.data())
def test_pass_at_k_is_the_products_of_the_paper(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    # M. Chen et al., arXiv:2107.03374, figure 3: a product that large counts do not overflow.
    paper = 1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
    assert pass_at_k(n, c, k) == pytest.approx(paper)


def test_the_estimate_is_unbiased():
    # Over every possible outcome of 5 answers that are right with chance 0.3.
    p, n = 0.3, 5
    chances = [p**c * (1 - p) ** (n - c) * len(list(combinations(range(n), c))) for c in range(6)]
    for k in range(1, 6):
        at = sum(w * (pass_at_k(n, c, k) or 0) for c, w in enumerate(chances))
        hat = sum(w * (pass_hat_k(n, c, k) or 0) for c, w in enumerate(chances))
        assert at == pytest.approx(1 - (1 - p) ** k)
        assert hat == pytest.approx(p**k)


def test_large_counts_and_impossible_ones():
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)
    assert pass_hat_k(10_000, 9_999, 5_000) == pytest.approx(0.5)
    for n, c, k in ((3, 4, 1), (3, -1, 1), (3, 1, 0)):
        for estimate in (pass_at_k, pass_hat_k):
            with pytest.raises(ValueError, match="impossible"):
                estimate(n, c, k)


def test_a_k_counts_the_samples_with_enough_answers_and_is_absent_without_any():
    answers = {"a/1": [True, False, True, True], "a/3": [True], "b/1": [False, True]}
    clusters = {"a/1": "a", "a/3": "a", "b/1": "b"}
    rates = repeated_rates(answers, clusters, n_resamples=200)
    assert list(rates) == ["pass@1", "pass^1", "pass@2", "pass^2", "pass@4", "pass^4"]
    assert rates["pass@1"].value == rates["pass^1"].value == pytest.approx((0.75 + 1 + 0.5) / 3)
    assert (rates["pass@2"].value, rates["pass@2"].n_samples) == (1.0, 2)
    assert rates["pass^2"].value == pytest.approx((0.5 + 0) / 2)
    assert rates["pass^4"].value == 0.0
    assert rates["pass^4"].interval is None  # one conversation says nothing about the next
    assert "pass@8" not in repeated_rates(answers, clusters, [8])
    assert repeated_rates({}, {}) == {}


def test_prompts_of_one_conversation_are_drawn_together():
    rng = np.random.default_rng(0)
    right = rng.random(20) < 0.5
    answers = {f"{t}/{i}": [bool(right[t])] * 4 for t in range(20) for i in range(8)}
    by_trace = repeated_rates(answers, {name: name.split("/")[0] for name in answers}, [2])
    alone = repeated_rates(answers, {name: name for name in answers}, [2])
    assert by_trace["pass^2"].value == alone["pass^2"].value
    wide, narrow = by_trace["pass^2"].interval, alone["pass^2"].interval
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] > 2.3 * (narrow[1] - narrow[0])
