from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tooltune.evaluate.statistics import (
    cluster_bootstrap_ci,
    mcnemar_exact,
    mean_intervals,
    wilson,
)

counts = st.integers(0, 60)


@given(counts, counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_s_interval_is_scipy_s(right, wrong, confidence):
    n = right + wrong
    low, high = wilson(right, n, confidence)
    assert 0 <= low <= high <= 1
    if n:
        expected = binomtest(right, n).proportion_ci(confidence, method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high))


def test_wilson_s_interval_is_the_published_one():
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    for right, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)


def test_no_trials_say_nothing_and_impossible_counts_are_refused():
    assert wilson(0, 0) == (0, 1)
    for right, n in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="successes"):
            wilson(right, n)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence=95)


@given(counts, counts)
def test_mcnemar_s_p_is_the_exact_binomial_one(b, c):
    n = b + c
    tail = Fraction(sum(comb(n, k) for k in range(min(b, c) + 1)), 2**n)
    assert mcnemar_exact(b, c) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_mcnemar_agrees_with_scipy_and_survives_large_counts():
    for b, c in ((0, 0), (1, 0), (5, 5), (2, 13), (121, 59)):
        expected = binomtest(b, b + c).pvalue if b + c else 1.0
        assert mcnemar_exact(b, c) == pytest.approx(expected)
    assert mcnemar_exact(100_000, 100_000) == pytest.approx(1)
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 2)


def _enumerated_means(sums: list[float], sizes: list[int]) -> list[float]:
    """Means over every possible draw of three clusters, each as likely as the others."""
    draws = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]
    return [sum(sums[g] for g in draw) / sum(sizes[g] for g in draw) for draw in draws]


def test_the_bootstrap_draws_whole_clusters_and_divides_sums_by_counts():
    differences, clusters = [1, 1, 1, 0, -1, 0], ["a", "a", "a", "b", "c", "c"]
    means = _enumerated_means([3, 0, -1], [3, 1, 2])
    for confidence in (0.5, 0.8):
        tail = (1 - confidence) / 2
        expected = np.quantile(means, [tail, 1 - tail], method="inverted_cdf")
        got = cluster_bootstrap_ci(differences, clusters, confidence=confidence)
        assert got == pytest.approx(expected)


def test_strata_count_alike_whatever_their_sizes():
    differences, clusters = [1.0] * 8 + [0.0] * 4, ["a", "b"] * 6
    strata = ["call"] * 8 + ["abstain"] * 4
    assert cluster_bootstrap_ci(differences, clusters, 100, strata=strata) == (0.5, 0.5)
    assert cluster_bootstrap_ci(differences, clusters, 100) == pytest.approx((2 / 3, 2 / 3))


def test_draws_without_one_stratum_are_left_out():
    got = cluster_bootstrap_ci([1.0, 0.0], ["a", "b"], 100, strata=["call", "abstain"])
    assert got == (0.5, 0.5)


def test_turns_of_one_conversation_widen_the_interval():
    rng = np.random.default_rng(0)
    per_trace = rng.choice([0.0, 1.0], size=30)
    differences = np.repeat(per_trace, 10).tolist()
    by_trace = cluster_bootstrap_ci(differences, [i // 10 for i in range(300)], 2000)
    as_if_independent = cluster_bootstrap_ci(differences, list(range(300)), 2000)
    width = by_trace[1] - by_trace[0]
    assert width > 2.5 * (as_if_independent[1] - as_if_independent[0])
    # sqrt(10) times wider in theory; the normal approximation of the cluster means:
    assert width == pytest.approx(2 * 1.96 * per_trace.std() / 30**0.5, rel=0.1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        effects = np.repeat(rng.normal(0.2, 1, size=40), 3) + rng.normal(0, 1, size=120)
        low, high = cluster_bootstrap_ci(effects.tolist(), [i // 3 for i in range(120)], 500)
        hits += low <= 0.2 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_however_it_is_chunked(monkeypatch):
    differences, clusters = [0.0, 1.0, -1.0, 1.0, 1.0] * 5, [i // 2 for i in range(25)]
    whole = cluster_bootstrap_ci(differences, clusters, 1000, seed=3)
    assert whole == cluster_bootstrap_ci(differences, clusters, 1000, seed=3)
    assert whole != cluster_bootstrap_ci([d * 1.01 for d in differences], clusters, 1000, seed=3)
    monkeypatch.setattr("tooltune.evaluate.statistics._CELLS", 13 * 100)
    assert whole == cluster_bootstrap_ci(differences, clusters, 1000, seed=3)


def test_one_cluster_and_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="two clusters"):
        cluster_bootstrap_ci([1, 0], ["a", "a"])
    with pytest.raises(ValueError, match="two clusters"):
        cluster_bootstrap_ci([], [])
    with pytest.raises(ValueError, match="one entry per turn"):
        cluster_bootstrap_ci([1, 0], ["a"])


def test_the_interval_of_one_evaluations_rate_is_that_of_its_cluster_means():
    rng = np.random.default_rng(2)
    correct = (rng.random(400) < np.repeat(rng.beta(2, 2, size=100), 4)).astype(float)
    clusters = np.repeat(np.arange(100), 4).tolist()
    low, high = mean_intervals({"accuracy": correct.tolist()}, clusters)["accuracy"]
    half = 1.96 * correct.reshape(100, 4).mean(axis=1).std() / 10  # normal approximation
    assert (low, high) == pytest.approx((correct.mean() - half, correct.mean() + half), abs=0.006)
    assert (low, high) == cluster_bootstrap_ci(correct.tolist(), clusters)


def test_metrics_share_their_draws_and_each_keeps_the_interval_it_has_alone():
    rng = np.random.default_rng(3)
    clusters = [i % 20 for i in range(60)]
    table = {
        "a": rng.random(60).tolist(),
        "b": [float(x) for x in rng.integers(0, 2, 60)],
        "some": [None if i % 7 == 0 else rng.random() for i in range(60)],
    }
    together = mean_intervals(table, clusters, 500, seed=5)
    assert list(together) == ["a", "b", "some"]
    for name, column in table.items():
        assert mean_intervals({name: column}, clusters, 500, seed=5)[name] == together[name]
    assert mean_intervals(table, clusters, 500, seed=6) != together
    kept = [i for i, value in enumerate(table["some"]) if value is not None]
    alone = cluster_bootstrap_ci(
        [table["some"][i] or 0.0 for i in kept], [clusters[i] for i in kept], 500, seed=5
    )
    assert together["some"] == pytest.approx(alone, abs=0.03)


def test_a_rate_of_zero_or_one_is_not_certain():
    clusters = [i // 3 for i in range(30)]
    got = mean_intervals({"never": [0.0] * 30, "always": [1.0] * 30}, clusters, 100)
    assert got == {"never": wilson(0, 10), "always": wilson(10, 10)}


def test_a_metric_that_one_conversation_speaks_about_has_no_interval():
    got = mean_intervals({"one": [1.0, 0.0, None], "none": [None] * 3}, ["a", "a", "b"], 100)
    assert got == {}
    assert mean_intervals({}, []) == {}
    with pytest.raises(ValueError, match="2 values for 3 turns"):
        mean_intervals({"short": [1.0, 0.0]}, ["a", "a", "b"])
