"""Batched decoding for models that compute a forest: shared prefixes read once, guesses verified.

A forward reads, for every row that goes on, its last token and a few guessed ones behind it, all
in one packed sequence. The tokens up to and including the first wrong guess are those of decoding
one at a time; the keys and values of what came behind it are overwritten by the next forward.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tooltune.evaluate.engines import row_attention
from tooltune.evaluate.engines.choose import choose
from tooltune.evaluate.engines.decode import DecodeLimits
from tooltune.evaluate.engines.groups import cached, columns_of, common_prefix, group_rows
from tooltune.evaluate.engines.guess import MOST_GUESSES, Guesser
from tooltune.evaluate.engines.modes import device_of
from tooltune.evaluate.engines.row_attention import RowsPlan, States
from tooltune.evaluate.engines.rows import Ints, Row, refill, take_columns
from tooltune.evaluate.engines.types import Counters, Rules
from tooltune.models.blocks import base_model
from tooltune.models.path_attention import no_mask

# Columns by which the rows' own room grows.
_GROWTH = 32


@dataclass(slots=True)
class _Batch:
    """Rows with their cached keys and values. A row that is over stays until `_keep`.

    shared: per group, per layer: keys and values [key heads, prefix, head size].
    group: the group of each row, ascending; prefix: the length of its group's prefix.
    own: per layer: keys and values [rows, key heads, columns, head size].
    """

    rows: list[Row]
    shared: list[tuple[States, ...]]
    group: list[int]
    prefix: list[int]
    own: list[States]


def decode_packed(
    model: Any,
    chunks: Iterator[list[Row]],
    *,
    rules: Rules,
    limits: DecodeLimits,
    counters: Counters,
) -> Iterator[Row]:
    """Continue the rows of all chunks to their ends; yield each as it ends.

    When a quarter of a batch is over, the rest moves together and rows that wait fill up. Chunks
    are asked for as needed.
    """
    batch = _Batch([], [], [], [], [])
    active: list[int] = []
    waiting: deque[Row] = deque()
    guesser = Guesser(rows_cost_time=device_of(model).type == "cpu")
    while True:
        if 4 * len(active) <= 3 * len(batch.rows):
            batch = _keep(batch, active)
            new: list[Row] = []
            yield from _refill(batch, new, waiting, chunks, rules, limits)
            batch = _join(batch, new)
            active = list(range(len(batch.rows)))
            if not active:
                return
        _step(model, batch, active, guesser, rules, counters)
        for i in list(active):
            if batch.rows[i].finish_reason(rules) is not None:
                active.remove(i)
                guesser.over(batch.rows[i])
                yield batch.rows[i]


def _refill(
    batch: _Batch,
    new: list[Row],
    waiting: deque[Row],
    chunks: Iterator[list[Row]],
    rules: Rules,
    limits: DecodeLimits,
) -> Iterator[Row]:
    """Add rows that wait to `new` within the limits; yield those that were over on arrival."""
    room = rules.max_new_tokens + MOST_GUESSES
    used = sum(group[0][0].shape[1] for group in batch.shared)
    used += sum(
        row.length - start + room for row, start in zip(batch.rows, batch.prefix, strict=True)
    )
    while len(batch.rows) + len(new) < limits.rows:
        yield from refill(waiting, chunks, rules)
        if not waiting:
            return
        used += waiting[0].length - (common_prefix(new[-1], waiting[0]) if new else 0) + room
        if (batch.rows or new) and used > limits.cache_tokens:
            return
        new.append(waiting.popleft())


def _keep(batch: _Batch, active: Sequence[int]) -> _Batch:
    """The batch without the rows that are over, nor the groups that only they were in."""
    groups = sorted({batch.group[i] for i in active})
    own: list[States] = []
    for keys, values in batch.own if active else []:
        index = torch.tensor(active, device=keys.device)
        own.append((keys.index_select(0, index), values.index_select(0, index)))
    return _Batch(
        rows=[batch.rows[i] for i in active],
        shared=[batch.shared[group] for group in groups],
        group=[groups.index(batch.group[i]) for i in active],
        prefix=[batch.prefix[i] for i in active],
        own=own,
    )


def _join(batch: _Batch, new: Sequence[Row]) -> _Batch:
    """The batch and behind it the new rows, whose keys and values are copied and let go."""
    shared, group, prefix = list(batch.shared), list(batch.group), list(batch.prefix)
    first = 0
    for count, length in group_rows(new):
        row = new[first]
        shared.append(
            tuple(
                (
                    take_columns(k[0], columns_of(row)[:length]),
                    take_columns(v[0], columns_of(row)[:length]),
                )
                for k, v in cached(row).layers
            )
        )
        group += [len(shared) - 1] * count
        prefix += [length] * count
        first += count
    rests = [
        columns_of(row)[start:] for row, start in zip(new, prefix[len(batch.rows) :], strict=True)
    ]
    own = batch.own
    if new:
        layers = range(len(cached(new[0]).layers))
        own = [
            (_stack(batch, new, rests, layer, 0), _stack(batch, new, rests, layer, 1))
            for layer in layers
        ]
    for row in new:
        row.cache = None  # the chunk's cache is freed with the last row that leaves it
    return _Batch([*batch.rows, *new], shared, group, prefix, own)


def _stack(
    batch: _Batch, new: Sequence[Row], rests: Sequence[Ints], layer: int, which: int
) -> Tensor:
    """The own keys (or values) of the batch's rows and behind them those of the new rows."""
    old = batch.own[layer][which] if batch.own else None
    width = max([len(rest) for rest in rests], default=0) + _GROWTH
    width = max(width, 0 if old is None else old.shape[2])
    like = cached(new[0]).layers[layer][which]
    # Zeros, not uninitialised memory: a masked value of NaN still spoils the sum.
    out = like.new_zeros(len(batch.rows) + len(new), like.shape[1], width, like.shape[3])
    if old is not None:
        out[: len(old), :, : old.shape[2]] = old
    for i, (row, rest) in enumerate(zip(new, rests, strict=True), start=len(batch.rows)):
        out[i, :, : len(rest)] = take_columns(cached(row).layers[layer][which][0], rest)
    return out


def _step(
    model: Any,
    batch: _Batch,
    active: Sequence[int],
    guesser: Guesser,
    rules: Rules,
    counters: Counters,
) -> None:
    """One forward: at least one token more for every active row."""
    rows = [batch.rows[i] for i in active]
    guesses = guesser.guess(rows, rules)
    new = [[row.tokens[-1], *guess] for row, guess in zip(rows, guesses, strict=True)]
    logits = _forward(model, batch, active, new)
    draws = [
        draw
        for row, some in zip(rows, new, strict=True)
        for draw in row.next_draws(len(some), rules)
    ]
    tokens, margins = choose(logits, draws, rules.sampling)
    first = 0
    for row, guess in zip(rows, guesses, strict=True):
        right = 0
        for j in range(len(guess) + 1):
            row.append(tokens[first + j], margins[first + j])
            if row.finish_reason(rules) is not None or j == len(guess):
                break
            if row.tokens[-1] != guess[j]:
                break
            right += 1
        row.decoded = True
        counters.decode_tokens += right + 1
        counters.rejected_tokens += len(guess) - right
        guesser.judge(row, right)
        first += len(guess) + 1
    counters.decode_forwards += 1


def _forward(
    model: Any, batch: _Batch, active: Sequence[int], new: Sequence[Sequence[int]]
) -> Tensor:
    """Logits [N, vocabulary] of the new tokens of the active rows."""
    device = device_of(model)
    counts = [len(some) for some in new]
    row = np.repeat(np.asarray(active), counts)
    place = np.concatenate([np.arange(count) for count in counts])
    position = np.repeat([batch.rows[i].length for i in active], counts) + place
    column = position - np.asarray(batch.prefix)[row]
    columns = int(column.max()) + 1
    if columns > batch.own[0][0].shape[2]:
        batch.own = [(_grown(k, columns), _grown(v, columns)) for k, v in batch.own]
    visible = np.zeros((len(batch.rows), max(counts), columns), dtype=np.bool_)
    visible[row, place] = np.arange(columns) <= column[:, None]
    group_tokens = np.bincount(np.asarray(batch.group)[row], minlength=len(batch.shared))
    plan = RowsPlan(
        shared=tuple(batch.shared),
        group_tokens=tuple(group_tokens.tolist()),
        own=tuple(batch.own),
        row=torch.from_numpy(row).to(device),
        place=torch.from_numpy(place).to(device),
        column=torch.from_numpy(column).to(device),
        visible=torch.from_numpy(visible).to(device),
    )
    base = base_model(model)
    if base.config._attn_implementation != row_attention.NAME:
        base.set_attn_implementation(row_attention.NAME)
    logits: Tensor = model(
        input_ids=torch.tensor([[token for some in new for token in some]], device=device),
        attention_mask=no_mask(device),
        position_ids=torch.from_numpy(position).to(device)[None],
        use_cache=False,
        rows_plan=plan,
    ).logits[0]
    return logits


def _grown(states: Tensor, columns: int) -> Tensor:
    rows, heads, width, size = states.shape
    room = states.new_zeros(rows, heads, columns + _GROWTH - width, size)
    return torch.cat([states, room], dim=2)
