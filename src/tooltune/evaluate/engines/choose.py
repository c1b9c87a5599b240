"""From logits to tokens: the best one, or one drawn by a request's own random numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import inf

import numpy as np
import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tooltune.evaluate.engines.types import Request, Sampling

# Rows of logits drawn from at a time: their float64 sums stay small.
_DRAW_ROWS = 64


class Draws:
    """Random numbers in [0, 1), one for each position of an answer, given by prompt and seed.

    A token's number depends on its position alone, so it does not matter how many tokens one
    forward decides, nor what else is in the batch.
    """

    def __init__(self, request: Request) -> None:
        prompt = zlib.crc32(np.asarray(request.prompt_ids, dtype=np.int64).tobytes())
        self._random = np.random.default_rng([prompt, request.seed % 2**64])
        self._values: list[float] = []

    def at(self, start: int, count: int) -> list[float]:
        """The numbers of positions `start` to `start + count - 1`."""
        missing = start + count - len(self._values)
        if missing > 0:
            self._values += self._random.random(missing).tolist()
        return self._values[start : start + count]


def best_tokens(logits: Tensor) -> tuple[list[int], list[float]]:
    """The arg-max of each row of `logits` (fp32 [n, vocabulary]), and how far it leads the second.

    arg-max, not the index that topk gives: of equal logits `generate` takes the one that it takes.
    """
    top = logits.topk(2, dim=-1).values
    return logits.argmax(dim=-1).tolist(), (top[:, 0] - top[:, 1]).tolist()


def draw_tokens(logits: Tensor, draws: Sequence[float], sampling: Sampling) -> list[int]:
    """One token per row of `logits` (fp32 [n, vocabulary]): where its draw falls in the running
    sum of the probabilities that `sampling` leaves. transformers' own warpers change the logits.
    """
    warp = LogitsProcessorList()
    if sampling.temperature != 1.0:
        warp.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warp.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        warp.append(TopPLogitsWarper(sampling.top_p))
    tokens: list[int] = []
    for start in range(0, len(logits), _DRAW_ROWS):
        block = logits[start : start + _DRAW_ROWS]
        # The warpers look at the scores alone; the ids before them are for other processors.
        no_ids = torch.empty(len(block), 0, dtype=torch.int64, device=block.device)
        sums = warp(no_ids, block).double().softmax(-1).cumsum(-1)
        where = torch.tensor(draws[start : start + _DRAW_ROWS], dtype=sums.dtype)
        # Below the last sum also where a draw next to 1 rounds up to it.
        last = sums[:, -1]
        point = (where.to(sums.device) * last).minimum(last.nextafter(torch.zeros_like(last)))
        tokens += torch.searchsorted(sums, point[:, None], right=True)[:, 0].tolist()
    return tokens


def choose(
    logits: Tensor, draws: Sequence[float], sampling: Sampling | None
) -> tuple[list[int], list[float]]:
    """A token for each row of `logits` [n, vocabulary], and how clearly it was the one to take.

    Greedily without `sampling`, when `draws` is not read. A drawn token is never a tie.
    """
    if sampling is None:
        return best_tokens(logits.float())
    return draw_tokens(logits.float(), draws, sampling), [inf] * len(logits)
