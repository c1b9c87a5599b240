from __future__ import annotations

from itertools import product
from math import erfc, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, permutation_test

from tooltune.evaluate import paired_tests
from tooltune.evaluate.paired_tests import (
    design_effect,
    detectable_difference,
    find_flips,
    holm,
    sign_flip_p,
    sign_flip_p_values,
)
from tooltune.evaluate.statistics import cluster_bootstrap_ci, mcnemar_exact

# W. Petryshen's survey of 29 psychiatrists and 135 of their patients, as reanalysed by M. Eliasziw
# and A. Donner, Statistics in Medicine 10 (1991) 1981-1991, and V. L. Durkalski et al., Statistics
# in Medicine 22 (2003) 2417-2428: pairs a psychiatrist, and those with only the patient (only the
# psychiatrist) naming a problem.
_PAIRS = [7, 6, 7, 6, 4, 6, 5, 8, 4, 7, 3, 6, 7, 6, 5, 4, 6, 5, 4, 3, 5, 4, 4, 2, 3, 2, 2, 3, 1]
_PATIENT = [0, 1, 1, 1, 0, 3, 3, 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0]
_DOCTOR = [4, 2, 3, 2, 1, 3, 0, 2, 2, 4, 2, 4, 3, 2, 1, 3, 1, 2, 0, 0, 0, 2, 1, 2, 2, 0, 0, 1, 1]

pairs = st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, 5)), min_size=1, max_size=40)


def _survey() -> tuple[list[float], list[int]]:
    rows = enumerate(zip(_PAIRS, _PATIENT, _DOCTOR, strict=True))
    values = [
        (value, i)
        for i, (n, b, c) in rows
        for value in [1.0] * b + [-1.0] * c + [0.0] * (n - b - c)
    ]
    return [value for value, _ in values], [i for _, i in values]


def _normal_p(chi_square: float) -> float:
    return erfc(sqrt(chi_square / 2))


@given(pairs)
def test_the_p_value_is_the_share_of_sign_patterns_that_are_as_extreme(rows):
    differences, clusters = [d for d, _ in rows], [c for _, c in rows]
    sums = [sum(d for d, c in rows if c == name) for name in set(clusters)]
    patterns = [
        abs(sum(s * d for s, d in zip(signs, sums, strict=True)))
        for signs in product((-1, 1), repeat=len(sums))
    ]
    expected = np.mean([total >= abs(sum(sums)) for total in patterns])
    assert sign_flip_p(differences, clusters) == pytest.approx(expected)


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=60))
def test_with_one_turn_a_conversation_it_is_mcnemars_exact_test(differences):
    expected = mcnemar_exact(differences.count(-1), differences.count(1))
    assert sign_flip_p(differences, range(len(differences))) == pytest.approx(expected)


@given(pairs, st.lists(st.booleans(), min_size=40, max_size=40))
def test_several_metrics_at_once_get_the_p_values_of_each_alone(rows, said):
    clusters = [c for _, c in rows]
    whole = [d if known else None for (d, _), known in zip(rows, said, strict=False)]
    thirds = [d / 3 + 0.1 for d, _ in rows]
    found = sign_flip_p_values({"whole": whole, "thirds": thirds}, clusters, n_resamples=500)
    kept = [i for i, value in enumerate(whole) if value is not None]
    alone = sign_flip_p([whole[i] for i in kept], [clusters[i] for i in kept])
    assert found["whole"] == pytest.approx(alone)
    assert found["thirds"] == sign_flip_p(thirds, clusters, n_resamples=500)


def test_drawn_p_values_of_several_metrics_do_not_depend_on_each_other():
    rng = np.random.default_rng(0)
    a, b = (rng.random(40) - centre for centre in (0.3, 0.5))
    both = sign_flip_p_values({"a": a.tolist(), "b": b.tolist()}, range(40))
    assert both["a"] == pytest.approx(sign_flip_p(a.tolist(), range(40)), abs=0.01)
    assert both["b"] == pytest.approx(sign_flip_p(b.tolist(), range(40)), abs=0.02)
    assert both["a"] < 0.01 < both["b"]
    with pytest.raises(ValueError, match="one entry per pair"):
        sign_flip_p_values({"a": [0.5]}, range(2))


def test_it_agrees_with_scipys_paired_permutation_test():
    rng = np.random.default_rng(0)
    before, after = rng.random(9), rng.random(9) + 0.25
    expected = permutation_test(
        (after, before),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
    )
    got = sign_flip_p((after - before).tolist(), range(9), n_resamples=100_000)
    assert got == pytest.approx(expected.pvalue, abs=0.005)


def test_the_published_survey_gives_the_published_statistics():
    differences, clusters = _survey()
    assert len(differences) == 135
    # McNemar's chi-square is published as 11.85; the clustered one, of rates by psychiatrist, 7.54.
    mcnemar = sum(differences) ** 2 / np.square(differences).sum()
    assert mcnemar == pytest.approx(11.85, abs=0.006)
    rates = [d / _PAIRS[c] for d, c in zip(differences, clusters, strict=True)]
    drawn = sign_flip_p(rates, clusters, n_resamples=200_000)
    assert drawn == pytest.approx(_normal_p(7.54), abs=0.002)
    # Obuchowski's statistic, of which the exact p-value here is the small-sample form.
    sums = np.bincount(clusters, differences)
    obuchowski = 28 / 29 * sums.sum() ** 2 / np.square(sums).sum()
    exact = sign_flip_p(differences, clusters)
    assert exact == pytest.approx(_normal_p(obuchowski), abs=0.002)
    assert exact > 4 * mcnemar_exact(21, 50)  # turns taken for independent claim too much
    assert design_effect(differences, clusters) == pytest.approx(
        mcnemar / (sums.sum() ** 2 / np.square(sums).sum())
    )


def test_drawn_and_exact_p_values_agree_and_the_same_seed_draws_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    differences = rng.choice([-1, 0, 1], size=90, p=[0.15, 0.55, 0.3]).tolist()
    clusters = [i // 3 for i in range(90)]
    exact = sign_flip_p(differences, clusters)
    monkeypatch.setattr(paired_tests, "_EXACT_WORK", 0)
    drawn = sign_flip_p(differences, clusters, n_resamples=50_000, seed=1)
    assert drawn == pytest.approx(exact, abs=0.006)
    assert drawn != exact
    assert drawn == sign_flip_p(differences, clusters, n_resamples=50_000, seed=1)
    monkeypatch.setattr("tooltune.evaluate.statistics._CELLS", 1000)
    assert drawn == sign_flip_p(differences, clusters, n_resamples=50_000, seed=1)


def test_the_test_errs_as_often_as_it_says_where_mcnemars_errs_far_more():
    rng = np.random.default_rng(5)
    clustered = naive = 0
    for _ in range(400):  # no difference between the models; the turns of a conversation agree
        differences = np.repeat(rng.choice([-1, 0, 1], size=30), 5).tolist()
        clustered += sign_flip_p(differences, [i // 5 for i in range(150)]) <= 0.05
        naive += mcnemar_exact(differences.count(-1), differences.count(1)) <= 0.05
    assert clustered / 400 <= 0.075
    assert naive / 400 > 0.25


def test_p_value_and_interval_tell_the_same_story():
    rng = np.random.default_rng(6)
    agree = 0
    for shift in np.linspace(0, 0.3, 60):
        differences = (
            np.repeat(rng.normal(shift, 0.4, size=40), 2) + rng.normal(0, 0.1, 80)
        ).tolist()
        clusters = [i // 2 for i in range(80)]
        low, high = cluster_bootstrap_ci(differences, clusters, 2000)
        agree += (not low <= 0 <= high) == (sign_flip_p(differences, clusters) < 0.05)
    assert agree >= 54


def test_strata_count_alike_whatever_their_sizes():
    # 4 turns gained of 40 that call, 2 lost of 2 that do not: a loss on balance.
    differences = [1.0] * 4 + [0.0] * 36 + [-1.0] * 2
    strata = ["call"] * 40 + ["abstain"] * 2
    clusters = list(range(42))
    # |0.1 - 1| / 2 is reached unless the two heavy ones disagree, or agree but the light ones
    # reach further to the same side: of 64 patterns, by hand.
    reached = [
        abs(0.1 * sum(s[:4]) / 4 - sum(s[4:]) / 2) >= 0.9 - 1e-9 for s in product((-1, 1), repeat=6)
    ]
    got = sign_flip_p(differences, clusters, strata=strata, n_resamples=50_000)
    assert got == pytest.approx(np.mean(reached), abs=0.01)


def test_no_difference_and_unequal_lengths():
    assert sign_flip_p([0, 0], ["a", "b"]) == 1.0
    assert sign_flip_p([1, -1], ["a", "a"]) == 1.0
    assert sign_flip_p([], []) == 1.0
    assert design_effect([0, 0], ["a", "b"]) == 1.0
    assert 0 < sign_flip_p([0.5] * 60, range(60)) <= 1 / 10_001
    with pytest.raises(ValueError, match="clusters must have"):
        sign_flip_p([1, 0], ["a"])
    with pytest.raises(ValueError, match="strata must have"):
        sign_flip_p([1, 0], ["a", "b"], strata=["x"])


def test_flips_are_listed_by_id_in_their_order():
    verdicts = [
        ("z/1", False, True),
        ("b/1", True, True),
        ("a/2", True, False),
        ("a/1", False, True),
    ]
    flips = find_flips(verdicts)
    assert flips.fixed == ("z/1", "a/1")
    assert flips.broken == ("a/2",)


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holms_p_value_is_the_worst_of_every_set_of_hypotheses_it_may_belong_to(p_values):
    """Closed testing: a hypothesis falls if every set with it is refuted by Bonferroni's test."""
    n = len(p_values)
    for i, adjusted in enumerate(holm(p_values)):
        sets = [s for s in product((0, 1), repeat=n) if s[i]]
        worst = max(
            min(1.0, sum(s) * min(p for p, member in zip(p_values, s, strict=True) if member))
            for s in sets
        )
        assert adjusted == pytest.approx(worst)


def test_holms_adjustment_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, 1.5])


def test_the_detectable_difference_inverts_published_sample_sizes():
    # Connor's formula as tabulated by two calculators: 22.01 pairs for shares of 0.45 and 0.05,
    # and 155 (the least whole number) for 0.30 and 0.15; both two-sided, 5%, 80%.
    assert detectable_difference(22, 0.5) == pytest.approx(0.4, abs=2e-4)
    seen, unseen = detectable_difference(155, 0.45), detectable_difference(154, 0.45)
    assert seen is not None
    assert unseen is not None
    assert seen <= 0.15 < unseen


@pytest.mark.parametrize(("n", "share"), [(92, 0.2), (300, 0.1), (60, 0.5)])
def test_a_difference_of_that_size_is_seen_as_often_as_promised(n, share):
    difference = detectable_difference(n, share)
    assert difference is not None
    gain = (share + difference) / 2
    power = 0.0
    for discordant in range(1, n + 1):
        fixed = np.arange(discordant + 1)
        chi_square = (2 * fixed - discordant) ** 2 / discordant
        chances = binom.pmf(fixed, discordant, gain / share)
        power += binom.pmf(discordant, n, share) * chances[chi_square > 1.96**2].sum()
    assert power == pytest.approx(0.8, abs=0.04)


def test_few_pairs_see_little_and_clustered_ones_less():
    assert detectable_difference(92, 0.12) == pytest.approx(0.1, abs=0.002)
    clustered = detectable_difference(92, 0.12, design_effect=2)
    assert clustered == detectable_difference(46, 0.12)
    # Where models hardly differ the least difference is the one that differs one way only.
    least = detectable_difference(92, 0.0)
    assert least is not None
    # Exact McNemar needs 6 discordant pairs one way: 80% of the time with a share of 0.085.
    assert least == pytest.approx(0.085, abs=0.005)
    assert (
        least
        == detectable_difference(92, least / 2)
        == pytest.approx(detectable_difference(92, least))
    )
    assert detectable_difference(0, 0.5) is None
    assert detectable_difference(5, 0.9) is None
    with pytest.raises(ValueError, match="impossible"):
        detectable_difference(10, 1.5)
    with pytest.raises(ValueError, match="power"):
        detectable_difference(10, 0.5, power=1.0)
