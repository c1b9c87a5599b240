"""The three statistics that a comparison of two models needs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np

_CELLS = 4_000_000
"""Drawn indices held at once while resampling (32 MB)."""


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate: `(low, high)` within [0, 1]; `(0, 1)` if `n` is 0.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927) 209-212. Holds its level where the textbook interval collapses (rates at 0 or
    1, small n). It takes the `n` trials for independent.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / n
    scale = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p-value of McNemar's test, exact: is one kind of discordant pair the commoner?

    `b` pairs are right only on one side, `c` only on the other; 1.0 if there are none. Under the
    null hypothesis `b` is binomial with `b + c` trials and probability 1/2.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947) 153-157; exact form: A. Agresti, "Categorical Data
    Analysis", 3rd ed. (2013), section 11.1.
    """
    if b < 0 or c < 0:
        raise ValueError(f"negative counts: {b}, {c}")
    from scipy.special import bdtr  # the binomial distribution function

    return min(1.0, 2.0 * float(bdtr(min(b, c), b + c, 0.5)))


def cluster_bootstrap_ci(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    n_resamples: int = 10_000,
    seed: int = 0,
    *,
    confidence: float = 0.95,
    strata: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences, resampling whole clusters.

    Turns of one conversation are not independent: clusters, not turns, are drawn with
    replacement, as many as there are; each draw's mean is its sum over its count, so larger
    clusters weigh more. With `strata` (one per difference) the statistic is the mean of the
    strata's means; a draw in which a stratum is empty is left out.

    C. A. Field and A. H. Welsh, "Bootstrapping clustered data", JRSS B 69 (2007) 369-390; pairs
    cluster bootstrap in A. C. Cameron and D. L. Miller, "A practitioner's guide to cluster-robust
    inference", Journal of Human Resources 50 (2015) 317-372, section VI.

    Raises `ValueError` for unequal lengths and for fewer than two clusters, which say nothing
    about the spread between clusters.
    """
    _check_confidence(confidence)
    kinds = list(strata) if strata is not None else [0] * len(differences)
    if not len(differences) == len(clusters) == len(kinds):
        raise ValueError("differences, clusters and strata must have one entry per pair")
    cluster_of = _codes(clusters)
    n_clusters = int(cluster_of.max(initial=-1)) + 1
    if n_clusters < 2:
        raise ValueError("a cluster bootstrap needs at least two clusters")

    values = np.asarray(differences, dtype=np.float64)
    stratum_of = _codes(kinds)
    members = [stratum_of == s for s in range(int(stratum_of.max()) + 1)]
    # Per stratum and cluster: the sum of the differences and their count, [strata, clusters].
    sums = np.stack([np.bincount(cluster_of[m], values[m], n_clusters) for m in members])
    counts = np.stack([np.bincount(cluster_of[m], minlength=n_clusters) for m in members])

    rng = np.random.default_rng(seed)
    means = []
    for size in _chunks(n_resamples, max(1, _CELLS // (n_clusters * len(members)))):
        drawn = rng.integers(n_clusters, size=(size, n_clusters))
        total, count = sums[:, drawn].sum(axis=2), counts[:, drawn].sum(axis=2)
        filled = (count > 0).all(axis=0)
        means.append((total[:, filled] / count[:, filled]).mean(axis=0))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _codes(labels: Sequence[Hashable]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Number the distinct labels from 0 in the order of their first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
