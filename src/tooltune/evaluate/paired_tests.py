"""Two models on the same turns: is the difference real, where does it lie, what could be seen?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tooltune.evaluate.statistics import Floats, chunk_sizes, cluster_codes, sum_by

_EXACT_WORK = 400_000_000
"""Additions up to which the distribution of a test is worked out, not drawn (about a second)."""


@dataclass(frozen=True, slots=True)
class Flips:
    """Ids of the turns that are right only after (`fixed`) and only before (`broken`)."""

    fixed: tuple[str, ...]
    broken: tuple[str, ...]


def find_flips(verdicts: Iterable[tuple[str, bool, bool]]) -> Flips:
    """The turns whose verdict differs, of `(sample id, right before, right after)`, in order."""
    rows = list(verdicts)
    return Flips(
        fixed=tuple(name for name, before, after in rows if after and not before),
        broken=tuple(name for name, before, after in rows if before and not after),
    )


def sign_flip_p(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    strata: Sequence[Hashable] | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value for a mean paired difference of zero, by flipping whole clusters.

    Under the null hypothesis it does not matter which model's answers bear which name, so each
    cluster's sum of differences is as likely to have the other sign; turns of one conversation
    flip together. The statistic is the mean, or with `strata` the mean of the strata's means. It
    holds for every metric. For accuracy (differences of -1, 0 and 1) it is the clustered form of
    `mcnemar_exact`, equal to it where each cluster has one discordant turn at most, and its normal
    approximation is the test of Obuchowski (1998). **Report both, believe this one** wherever a
    conversation has more than one turn: McNemar's takes such turns for independent.

    Whole-number differences without strata get the exact p-value, others that of `n_resamples`
    seeded draws, counting the data themselves as one, so that it is never 0.

    I. A. Canay, J. P. Romano and A. M. Shaikh, "Randomization tests under an approximate symmetry
    assumption", Econometrica 85 (2017) 1013-1030 (sign changes of clusters); N. A. Obuchowski, "On
    the comparison of correlated proportions for clustered data", Statistics in Medicine 17 (1998)
    1495-1507; B. Phipson and G. K. Smyth, "Permutation p-values should never be zero", Statistical
    Applications in Genetics and Molecular Biology 9 (2010), article 39 (the count plus one).

    Raises `ValueError` for unequal lengths.
    """
    sums = _cluster_sums(differences, clusters, strata)
    return _flipped_p_values([sums], strata is None, n_resamples, seed)[0]


def sign_flip_p_values(
    columns: Mapping[str, Sequence[float | None]],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """`sign_flip_p` of several metrics of the same pairs, all from the same draws of signs.

    Each column has one difference per pair, or `None` where a pair says nothing about that metric.

    Raises `ValueError` for lengths that differ from that of `clusters`.
    """
    sums = [
        _cluster_sums([value or 0.0 for value in column], clusters, None)
        for column in columns.values()
    ]
    return dict(zip(columns, _flipped_p_values(sums, True, n_resamples, seed), strict=True))


def _flipped_p_values(
    columns: Sequence[Floats], exact: bool, n_resamples: int, seed: int
) -> list[float]:
    """P-values of statistics that are each a sum over the same clusters; `exact` where allowed."""
    p_values = [1.0] * len(columns)
    drawn = []
    for i, sums in enumerate(columns):
        sizes = np.abs(sums[sums != 0])
        whole = exact and bool((sizes == np.round(sizes)).all())
        if whole and len(sizes) * float(sizes.sum()) <= _EXACT_WORK:
            p_values[i] = _exact_p(sizes, float(sums.sum())) if len(sizes) else 1.0
        elif len(sizes):
            drawn.append(i)
    if not drawn:
        return p_values
    table = np.stack([columns[i] for i in drawn], axis=1)  # [clusters, statistics]
    totals = np.abs(table.sum(axis=0))
    table = np.abs(table[table.any(axis=1)])
    spans = table.sum(axis=0)
    reached = totals - 1e-9 * spans  # a sum in another order is no other sum
    rng = np.random.default_rng(seed)
    extreme = np.zeros(len(drawn), dtype=np.int64)
    for size in chunk_sizes(n_resamples, len(table)):
        kept = rng.integers(2, size=(size, len(table)), dtype=np.int8).astype(np.float64)
        extreme += (np.abs(2 * (kept @ table) - spans) >= reached).sum(axis=0)
    for i, count in zip(drawn, extreme.tolist(), strict=True):
        p_values[i] = (1 + count) / (1 + n_resamples)
    return p_values


def _cluster_sums(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None,
) -> Floats:
    """What each cluster adds to the statistic (times the number of turns where no strata are)."""
    cluster_of, n_clusters = cluster_codes(clusters)
    values = np.asarray(differences, dtype=np.float64)
    if strata is not None:
        stratum_of, _ = cluster_codes(strata)
        if len(stratum_of) != len(values):
            raise ValueError("differences and strata must have one entry per pair")
        values = values / np.bincount(stratum_of)[stratum_of]
    if len(values) != len(cluster_of):
        raise ValueError("differences and clusters must have one entry per pair")
    return sum_by(cluster_of, values, n_clusters)


def _exact_p(sizes: Floats, total: float) -> float:
    """Share of all 2^n sign patterns of whole numbers whose sum is at least as far from zero."""
    span = int(sizes.sum())
    chance = np.zeros(span + 1)  # of each sum of those that keep a plus sign
    chance[0] = 1.0
    top = 0
    for size in sizes.astype(int).tolist():
        chance[size : top + size + 1] += chance[: top + 1].copy()
        top += size
        chance[: top + 1] *= 0.5
    sums = 2 * np.arange(span + 1) - span
    return min(1.0, float(chance[np.abs(sums) >= abs(total)].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, adjusted so that any of them below alpha may be believed.

    The chance of even one false finding stays below alpha, however the tests depend on each
    other. In the order given; adjusted p-values are at most 1 and keep the order of the others.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979) 65-70.

    Raises `ValueError` for what is no p-value.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values must lie between 0 and 1")
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def design_effect(differences: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """How many times less clustered pairs tell than as many independent ones; 1 if none differ.

    The ratio of the variances of the sum of differences, drawn by cluster and drawn by pair, under
    the null hypothesis (`sign_flip_p`'s and McNemar's). Below 1 where differences within
    conversations cancel.

    L. Kish, "Survey Sampling" (1965), section 8.2.
    """
    independent = float(np.square(np.asarray(differences, dtype=np.float64)).sum())
    clustered = float(np.square(_cluster_sums(differences, clusters, None)).sum())
    return clustered / independent if independent else 1.0


def detectable_difference(
    n_pairs: int,
    discordant_share: float,
    *,
    design_effect: float = 1.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """The smallest true difference of two accuracies that so many pairs show with `power`.

    `discordant_share`: share of pairs of which one side alone is right. A difference cannot exceed
    it: where it is too low for any to be seen, the answer is for the least share that would do,
    all of it in one direction. `None` if not even a difference of 1 would be seen: no outcome of so
    few pairs has an exact p of `alpha`. Two-sided McNemar's test at level `alpha`, normal
    approximation; clustered pairs count as `n_pairs / design_effect`.

    R. J. Connor, "Sample size for testing differences in proportions for the paired-sample
    design", Biometrics 43 (1987) 207-211, its sample size formula solved for the difference.

    Raises `ValueError` for numbers out of range.
    """
    if n_pairs < 0 or not 0 <= discordant_share <= 1 or design_effect < 0:
        raise ValueError(f"impossible: {n_pairs=}, {discordant_share=}, {design_effect=}")
    if not 0 < alpha < 1 or not 0.5 <= power < 1:
        raise ValueError(f"alpha must lie in (0, 1) and power in [0.5, 1): {alpha=}, {power=}")
    n = n_pairs / design_effect if design_effect else float(n_pairs)
    z_alpha, z_beta = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    if 2 * 0.5**n > alpha or n + z_beta**2 < z_alpha**2:
        return None
    scale = (math.sqrt(n) * z_alpha + z_beta * math.sqrt(n + z_beta**2 - z_alpha**2)) / (
        n + z_beta**2
    )
    difference = max(scale * math.sqrt(discordant_share), scale**2)
    return difference if difference <= 1 else None
