"""How sure a rate, a mean or a difference is: intervals, and McNemar's test for single turns.

Turns of one conversation are not independent: whatever is computed over turns is resampled by
conversation here. `paired_tests` holds the tests that do the same, `repeats` what several answers
to the same prompt say.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

_CELLS = 4_000_000
"""Drawn indices held at once while resampling (32 MB)."""

_DIGITS = 12
"""Digits of a resampled mean that count: what lies beyond depends on the order of a sum."""

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


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
    null hypothesis `b` is binomial with `b + c` trials and probability 1/2. It takes the pairs for
    independent: where conversations hold several of them, believe `paired_tests.sign_flip_p`,
    which is this very test where they do not.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947) 153-157; exact form: A. Agresti, "Categorical Data
    Analysis", 3rd ed. (2013), section 11.1.
    """
    if b < 0 or c < 0:
        raise ValueError(f"negative counts: {b}, {c}")
    from scipy.special import bdtr  # the binomial distribution function

    return min(1.0, 2.0 * float(bdtr(min(b, c), b + c, 0.5)))


def cluster_bootstrap_ci(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    n_resamples: int = 10_000,
    seed: int = 0,
    *,
    confidence: float = 0.95,
    strata: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """Percentile interval of the mean of `values`, resampling whole clusters.

    `values` are scores of one evaluation, or differences between two on the same turns. Turns of
    one conversation are not independent: clusters, not turns, are drawn with replacement, as many
    as there are; each draw's mean is its sum over its count, so larger clusters weigh more. With
    `strata` (one per value) the statistic is the mean of the strata's means; a draw in which a
    stratum is empty is left out. The same seed gives the same interval.

    C. A. Field and A. H. Welsh, "Bootstrapping clustered data", JRSS B 69 (2007) 369-390; pairs
    cluster bootstrap in A. C. Cameron and D. L. Miller, "A practitioner's guide to cluster-robust
    inference", Journal of Human Resources 50 (2015) 317-372, section VI.

    Raises `ValueError` for unequal lengths and for fewer than two clusters, which say nothing
    about the spread between clusters.
    """
    _check_confidence(confidence)
    cluster_of, n_clusters = cluster_codes(clusters)
    stratum_of, n_strata = cluster_codes(strata if strata is not None else [0] * len(values))
    if not len(values) == len(cluster_of) == len(stratum_of):
        raise ValueError("values, clusters and strata must have one entry per turn")
    if n_clusters < 2:
        raise ValueError("a cluster bootstrap needs at least two clusters")
    scores = np.asarray(values, dtype=np.float64)
    members = [stratum_of == s for s in range(n_strata)]
    sums = np.stack([sum_by(cluster_of[m], scores[m], n_clusters) for m in members])
    counts = np.stack([np.bincount(cluster_of[m], minlength=n_clusters) for m in members])
    means = np.concatenate(list(_resampled_means(sums, counts, n_resamples, seed))).mean(axis=1)
    return _percentiles(means, confidence)


def mean_intervals(
    metrics: Mapping[str, Sequence[float | None]],
    clusters: Sequence[Hashable],
    n_resamples: int = 10_000,
    seed: int = 0,
    *,
    confidence: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Intervals of the means of one evaluation's metrics, all from the same draws of clusters.

    Each metric has one value in [0, 1] per turn, or `None` where the turn says nothing about it.
    The interval is that of `cluster_bootstrap_ci` (a draw without a single value is left out).
    Where every value is 0, or every value 1, there is nothing to resample and the bootstrap would
    claim certainty: there it is Wilson's, each cluster taken for one trial, which is the worst
    that clustering can do. A metric that fewer than two clusters speak about is left out.

    Raises `ValueError` for lengths that differ from that of `clusters`.
    """
    _check_confidence(confidence)
    cluster_of, n_clusters = cluster_codes(clusters)
    intervals: dict[str, tuple[float, float]] = {}
    resampled: dict[str, tuple[Floats, Codes]] = {}
    for name, column in metrics.items():
        if len(column) != len(cluster_of):
            raise ValueError(f"{name} has {len(column)} values for {len(cluster_of)} turns")
        said = np.array([value is not None for value in column], dtype=bool)
        scores = np.array([value for value in column if value is not None], dtype=np.float64)
        counts = np.bincount(cluster_of[said], minlength=n_clusters)
        speaking = int((counts > 0).sum())
        if speaking < 2:
            continue
        if (scores == 0).all() or (scores == 1).all():
            intervals[name] = wilson(speaking if scores[0] else 0, speaking, confidence)
        else:
            resampled[name] = sum_by(cluster_of[said], scores, n_clusters), counts
    if resampled:
        sums, numbers = (np.stack(rows) for rows in zip(*resampled.values(), strict=True))
        means = np.concatenate(list(_resampled_means(sums, numbers, n_resamples, seed)))
        for name, column_means in zip(resampled, means.T, strict=True):
            intervals[name] = _percentiles(column_means, confidence)
    return {name: intervals[name] for name in metrics if name in intervals}


def cluster_codes(labels: Sequence[Hashable]) -> tuple[Codes, int]:
    """Number the distinct labels from 0 in the order of their first appearance; and how many."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)
    return codes, len(numbers)


def sum_by(codes: Codes, values: Floats, n_codes: int) -> Floats:
    """The sum of the values of each code, [n_codes]."""
    return np.asarray(np.bincount(codes, values, n_codes), dtype=np.float64)


def _resampled_means(sums: Floats, counts: Codes, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Means of each of M sums over draws of clusters, in pieces of [draws, M]; NaN where empty.

    `sums` and `counts` are [M, clusters]: what each cluster adds, and of how many turns.
    """
    n_clusters = sums.shape[1]
    rng = np.random.default_rng(seed)
    for size in chunk_sizes(n_resamples, n_clusters):
        drawn = rng.integers(n_clusters, size=(size, n_clusters))
        drawn += np.arange(0, size * n_clusters, n_clusters)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n_clusters).reshape(size, n_clusters)
        weights = times.astype(np.float64)
        with np.errstate(invalid="ignore"):
            yield np.round((weights @ sums.T) / (weights @ counts.T), _DIGITS)


def _percentiles(means: Floats, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(means[~np.isnan(means)], [tail, 1 - tail])
    return float(low), float(high)


def chunk_sizes(draws: int, width: int) -> list[int]:
    """Split so many draws of `width` numbers each into pieces that fit in memory."""
    size = max(1, _CELLS // max(width, 1))
    return [min(size, draws - start) for start in range(0, draws, size)]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
