"""Batched decoding from keys and values that are already there, a token a row and forward.

For models that compute no forest, such as those with sliding windows; see `packed.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from tooltune.evaluate.engines.choose import choose
from tooltune.evaluate.engines.modes import device_of
from tooltune.evaluate.engines.rows import KeyValues, Row, layer_tensors, refill
from tooltune.evaluate.engines.types import Counters, Rules


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """How much is decoded at a time: rows, and cached tokens (padding and room included)."""

    rows: int
    cache_tokens: int


class ReservedLayer(DynamicLayer):
    """A layer with room for the tokens to come: a step writes one column in place, where
    `DynamicLayer` copies all of the cache. (Cache layers are transformers' seam, by inheritance.)
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()
        self._keys, self._values, self._length = keys, values, length
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        end = self._length + key_states.shape[-2]
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values


@dataclass(slots=True)
class _Batch:
    """Rows padded on the left to `width` columns. A row that is over stays, unread, until the
    batch is built anew."""

    rows: list[Row]
    active: list[int]
    cache: Cache
    mask: Tensor  # int64 [rows, capacity]: 0 at the padding
    width: int


def decode(
    model: Any,
    chunks: Iterator[list[Row]],
    *,
    rules: Rules,
    limits: DecodeLimits,
    counters: Counters,
) -> Iterator[Row]:
    """Continue the rows of all chunks to their ends; yield each as it ends.

    When a quarter of a batch is over, it is built anew from the rest and the next rows that wait:
    the copy costs about one step. Chunks are asked for as needed.
    """
    batch: _Batch | None = None
    waiting: deque[Row] = deque()
    while True:
        if batch is None or 4 * len(batch.active) <= 3 * len(batch.rows):
            rows = _rest(batch)
            yield from _refill(rows, waiting, chunks, rules, limits)
            if not rows:
                return
            room = rules.max_new_tokens - min(len(row.tokens) for row in rows)
            batch = _build(rows, room, device_of(model))
        _step(model, batch, rules, counters)
        for i in list(batch.active):
            if batch.rows[i].finish_reason(rules) is not None:
                batch.active.remove(i)
                yield batch.rows[i]


def _rest(batch: _Batch | None) -> list[Row]:
    """The rows that go on, with their keys and values in the batch's own cache."""
    if batch is None:
        return []
    layers = layer_tensors(batch.cache)
    for i in batch.active:
        row = batch.rows[i]
        row.cache = KeyValues(layers, i, slice(batch.width - row.length, batch.width))
    return [batch.rows[i] for i in batch.active]


def _refill(
    rows: list[Row],
    waiting: deque[Row],
    chunks: Iterator[list[Row]],
    rules: Rules,
    limits: DecodeLimits,
) -> Iterator[Row]:
    """Add rows that wait to `rows` within the limits; yield those that were over on arrival."""
    while len(rows) < limits.rows:
        yield from refill(waiting, chunks, rules)
        if not waiting:
            return
        longest = max(row.length for row in [*rows, waiting[0]]) + rules.max_new_tokens
        if rows and (len(rows) + 1) * longest > limits.cache_tokens:
            return
        rows.append(waiting.popleft())


def _build(rows: list[Row], room: int, device: torch.device) -> _Batch:
    """Copy every row's keys and values to the right end of new buffers with `room` to grow."""
    width = max(row.length for row in rows)
    sources = [row.cache for row in rows if row.cache is not None]
    layers = []
    for states in zip(*(source.layers for source in sources), strict=True):
        keys, values = (
            _gather(
                [source.take(pair[i]) for source, pair in zip(sources, states, strict=True)],
                width,
                room,
            )
            for i in (0, 1)
        )
        layers.append(ReservedLayer(keys, values, width))
    mask = torch.ones(len(rows), width + room, dtype=torch.int64, device=device)
    for i, row in enumerate(rows):
        mask[i, : width - row.length] = 0
        row.cache = None  # the old cache is freed with the last row that leaves it
    return _Batch(rows, list(range(len(rows))), Cache(layers=layers), mask, width)


def _gather(parts: Sequence[Tensor], width: int, room: int) -> Tensor:
    heads, _, size = parts[0].shape
    # Zeros, not uninitialised memory: a masked key of NaN still spoils the scores.
    out = parts[0].new_zeros(len(parts), heads, width + room, size)
    for i, part in enumerate(parts):
        out[i, :, width - part.shape[1] : width] = part
    return out


def _step(model: Any, batch: _Batch, rules: Rules, counters: Counters) -> None:
    """One token for every row of the batch."""
    device = batch.mask.device
    batch.width += 1
    logits = model(
        input_ids=torch.tensor([[row.tokens[-1]] for row in batch.rows], device=device),
        position_ids=torch.tensor([[row.length] for row in batch.rows], device=device),
        attention_mask=batch.mask[:, : batch.width],
        past_key_values=batch.cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    _append(logits, batch.rows, batch.active, rules)
    counters.decode_forwards += 1
    counters.decode_tokens += len(batch.active)


def _append(logits: Tensor, rows: Sequence[Row], active: Sequence[int], rules: Rules) -> None:
    """Append a token, chosen by `logits` [rows, vocabulary], to each active row."""
    draws = [row.next_draws(1, rules)[0] for row in rows]
    tokens, margins = choose(logits, draws, rules.sampling)
    for i in active:
        rows[i].append(tokens[i], margins[i])
        rows[i].decoded = True


def decode_alone(
    model: Any,
    chunks: Iterator[list[Row]],
    *,
    rules: Rules,
    counters: Counters,
) -> Iterator[Row]:
    """The same for models whose cache cannot be cut: each row is read again and goes on alone."""
    device = device_of(model)
    for row in (row for chunk in chunks for row in chunk):
        cache = DynamicCache(config=model.config)
        ids = [*row.prompt_ids, *row.tokens]
        while row.finish_reason(rules) is None:
            logits = model(
                input_ids=torch.tensor([ids], device=device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            _append(logits, [row], [0], rules)
            if len(ids) > 1:
                counters.prefill_tokens += len(ids)
                counters.prefill_forwards += 1
            else:
                counters.decode_forwards += 1
            counters.decode_tokens += 1
            ids = row.tokens[-1:]
        yield row
