"""Several answers to the same prompt: does any succeed (pass@k), do all succeed (pass^k)?"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean

from tooltune.evaluate.statistics import mean_intervals


@dataclass(frozen=True, slots=True)
class RepeatedRate:
    """A mean over the `n_samples` prompts that were answered often enough, and its interval.

    `interval` is `None` where fewer than two clusters speak about it.
    """

    value: float
    interval: tuple[float, float] | None
    n_samples: int


def pass_at_k(n: int, c: int, k: int) -> float | None:
    """Estimated chance that at least one of `k` answers is right, from `c` right ones of `n`.

    The share of the draws of `k` from the `n` answers that hold a right one, which is unbiased;
    `1 - (1 - c/n)^k` is not. `None` where `k > n`: that cannot be estimated.

    M. Chen et al., "Evaluating Large Language Models Trained on Code", arXiv:2107.03374 (2021),
    equation 1.

    Raises `ValueError` for impossible counts.
    """
    _check(n, c, k)
    return None if k > n else 1 - comb(n - c, k) / comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float | None:
    """Estimated chance that `k` answers are all right (pass^k), from `c` right ones of `n`.

    The share of the draws of `k` from the `n` answers that hold right ones only; unbiased. `None`
    where `k > n`.

    S. Yao et al., "tau-bench: A Benchmark for Tool-Agent-User Interaction in Real-World Domains",
    arXiv:2406.12045 (2024), section 3.

    Raises `ValueError` for impossible counts.
    """
    _check(n, c, k)
    return None if k > n else comb(c, k) / comb(n, k)


def repeated_rates(
    outcomes: Mapping[str, Sequence[bool]],
    clusters: Mapping[str, Hashable],
    ks: Sequence[int] | None = None,
    *,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, RepeatedRate]:
    """`pass@k` and `pass^k` over prompts, keyed `pass@1`, `pass^1`, `pass@2` …

    `outcomes`: whether each answer was right, by sample id; their number may differ. `clusters`:
    the conversation of each sample id. `ks` are by default 1, 2, 4 … up to the largest number of
    answers. A `k` counts the samples with `k` answers or more and is absent where there are none.
    Intervals resample conversations (`mean_intervals`).
    """
    counts = [(len(answers), sum(map(bool, answers))) for answers in outcomes.values()]
    if ks is None:
        ks = [2**i for i in range(max((n for n, _ in counts), default=0).bit_length())]
    estimators: dict[str, Callable[[int, int, int], float | None]] = {
        "pass@": pass_at_k,
        "pass^": pass_hat_k,
    }
    columns = {
        f"{name}{k}": [estimate(n, c, k) for n, c in counts]
        for k in ks
        for name, estimate in estimators.items()
    }
    groups = [clusters[name] for name in outcomes]
    intervals = mean_intervals(columns, groups, n_resamples, seed, confidence=confidence)
    rates: dict[str, RepeatedRate] = {}
    for name, column in columns.items():
        values = [value for value in column if value is not None]
        if values:
            rates[name] = RepeatedRate(fmean(values), intervals.get(name), len(values))
    return rates


def _check(n: int, c: int, k: int) -> None:
    if not 0 <= c <= n or k < 1:
        raise ValueError(f"impossible: {c} right of {n} answers, k = {k}")
