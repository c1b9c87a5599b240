"""A turn under way: the tokens it has so far, and where its keys and values lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from tooltune.evaluate.engines.choose import Draws
from tooltune.evaluate.engines.types import TIE_MARGIN, FinishReason, Generation, Rules

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KeyValues:
    """One sequence in a cache: row `row`, columns `columns` (int64 [length] or a slice) of every
    layer's keys and values, which are [rows, key heads, columns, head size]."""

    layers: Sequence[tuple[Tensor, Tensor]]
    row: int
    columns: Ints | slice

    def take(self, states: Tensor) -> Tensor:
        """This sequence's part of one tensor of a layer: [key heads, length, head size]."""
        if isinstance(self.columns, slice):
            return states[self.row, :, self.columns]
        return take_columns(states[self.row], self.columns)

    def first(self, length: int) -> KeyValues:
        """The first `length` tokens of a sequence whose columns start at 0."""
        columns = self.columns
        kept = slice(0, length) if isinstance(columns, slice) else columns[:length]
        return KeyValues(self.layers, self.row, kept)

    def detached(self) -> KeyValues:
        """A copy that does not keep the rest of its cache in memory."""
        layers = [(self.take(k)[None].clone(), self.take(v)[None].clone()) for k, v in self.layers]
        return KeyValues(layers, 0, slice(0, layers[0][0].shape[2]))


def take_columns(states: Tensor, columns: Ints) -> Tensor:
    """A copy of some columns of `states` [key heads, columns, head size]."""
    return states.index_select(1, torch.from_numpy(columns).to(states.device))


def layer_tensors(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer of a filled cache."""
    pairs = [(layer.keys, layer.values) for layer in cache.layers]
    return [(keys, values) for keys, values in pairs if keys is not None and values is not None]


@dataclass(slots=True)
class Row:
    """`length` counts the tokens whose keys and values are cached: all but the last of `tokens`.

    `labels` are the draft's tokens that count. `cache` is None where the model's cache cannot be
    cut (recurrent states)."""

    index: int
    prompt_ids: tuple[int, ...]
    labels: tuple[int, ...]
    draws: Draws
    tokens: list[int]
    ties: int
    exact: bool | None
    nll: float | None
    cache: KeyValues | None = None
    decoded: bool = False  # whether a token came from decoding rather than from verification

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.tokens) - 1

    def append(self, token: int, margin: float) -> None:
        self.tokens.append(token)
        self.ties += margin < TIE_MARGIN

    def next_draws(self, count: int, rules: Rules) -> list[float]:
        """The random numbers that decide the next `count` tokens; zeros, unread, if none do."""
        if rules.sampling is None:
            return [0.0] * count
        return self.draws.at(len(self.tokens), count)

    def finish_reason(self, rules: Rules) -> FinishReason | None:
        """Why the turn is over; None while it is not."""
        if self.tokens and self.tokens[-1] in rules.stop_ids:
            return "stop"
        return "length" if len(self.tokens) >= rules.max_new_tokens else None

    def generation(self, reason: FinishReason) -> Generation:
        return Generation(tuple(self.tokens), reason, self.exact, self.nll, self.ties)


def refill(waiting: deque[Row], chunks: Iterator[list[Row]], rules: Rules) -> Iterator[Row]:
    """Fill an empty `waiting` with rows of the next chunks that must be decoded.

    Yields those that are over on arrival, whose cache is not needed. `waiting` stays empty where
    no chunk is left.
    """
    while not waiting:
        chunk = next(chunks, None)
        if chunk is None:
            return
        for row in chunk:
            if row.finish_reason(rules) is None:
                waiting.append(row)
            else:
                row.cache = None
                yield row
