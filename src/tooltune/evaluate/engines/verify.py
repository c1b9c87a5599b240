"""Read prompts with their drafts in one pass and keep what greedy decoding would have said.

The ground truth is a draft in the sense of speculative decoding (Leviathan et al. 2023,
arXiv:2211.17192), for arg-max decoding: the tokens up to and including the first arg-max that
differs from the draft are exactly those of greedy decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tooltune.evaluate.engines.rows import KeyValues, Row
from tooltune.evaluate.engines.types import Counters, Request

Ints = NDArray[np.int64]

# Rows of logits scored at a time: their fp32 copy and softmax temporaries stay small.
_SCORE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Draft:
    """A request made ready. `ids`: what the model reads, prompt and draft; `labels`: the draft
    tokens that count, the last of which may be predicted only and not read."""

    index: int
    prompt_ids: tuple[int, ...]
    ids: Ints
    labels: tuple[int, ...]

    @property
    def read(self) -> Ints:
        """The positions in `ids` whose logits are wanted: from the prompt's last token on."""
        return np.arange(len(self.prompt_ids) - 1, len(self.ids))


@dataclass(frozen=True, slots=True)
class Prefill:
    """One forward over several drafts.

    logits: [n, vocabulary]. rows: per draft the rows of `logits` that belong to `draft.read`.
    caches: per draft the keys and values of `draft.ids`; None where they cannot be cut.
    tokens: how many distinct tokens the forward read.
    """

    logits: Tensor
    rows: list[Tensor]
    caches: list[KeyValues | None]
    tokens: int


PrefillDrafts = Callable[[Any, Sequence[Draft]], Prefill]


def make_draft(
    index: int, request: Request, stop_ids: frozenset[int], max_new_tokens: int
) -> Draft:
    labels = tuple(request.draft_ids[:max_new_tokens])
    # Nothing follows the draft's last token when it ends the generation: it need not be read.
    ends = labels and (len(labels) == max_new_tokens or labels[-1] in stop_ids)
    read = labels[:-1] if ends else labels
    ids = np.asarray([*request.prompt_ids, *read], dtype=np.int64)
    return Draft(index, request.prompt_ids, ids, labels)


def verify(
    model: Any,
    chunks: Sequence[Sequence[Draft]],
    prefill: PrefillDrafts,
    *,
    stop_ids: frozenset[int],
    max_new_tokens: int,
    counters: Counters,
) -> Iterator[list[Row]]:
    """Yield the rows of each chunk, lazily: a chunk's cache lives as long as its rows use it."""
    for chunk in chunks:
        yield _verify_chunk(model, chunk, prefill, stop_ids, max_new_tokens, counters)


def _verify_chunk(
    model: Any,
    chunk: Sequence[Draft],
    prefill: PrefillDrafts,
    stop_ids: frozenset[int],
    max_new_tokens: int,
    counters: Counters,
) -> list[Row]:
    done = prefill(model, chunk)
    counters.prefill_forwards += 1
    counters.prefill_tokens += done.tokens
    best, margin, nll = _score(done.logits, done.rows, [draft.labels for draft in chunk])
    rows: list[Row] = []
    for i, draft in enumerate(chunk):
        labels = draft.labels
        row = Row(
            index=draft.index,
            prompt_ids=draft.prompt_ids,
            tokens=[],
            ties=0,
            exact=best[i][: len(labels)] == list(labels) if labels else None,
            nll=nll[i] if labels else None,
        )
        for j, (token, gap) in enumerate(zip(best[i], margin[i], strict=True)):
            row.append(token, gap)
            over = row.finish_reason(stop_ids, max_new_tokens) is not None
            if over or j == len(labels) or token != labels[j]:
                break
        cache = done.caches[i]
        if cache is not None and row.finish_reason(stop_ids, max_new_tokens) is None:
            row.cache = cache.first(row.length)
        rows.append(row)
    _detach_few(rows, done.tokens)
    return rows


def _detach_few(rows: Sequence[Row], tokens: int) -> None:
    """Copy out what goes on where that is less than the chunk's cache, which then can be freed."""
    if sum(row.length for row in rows if row.cache is not None) < tokens:
        for row in rows:
            row.cache = row.cache and row.cache.detached()


def _score(
    logits: Tensor, rows: Sequence[Tensor], labels: Sequence[tuple[int, ...]]
) -> tuple[list[list[int]], list[list[float]], list[float]]:
    """Per draft: the arg-max ids, the margins between the two best logits, the sum of the nll."""
    counts = [len(part) for part in rows]
    where = torch.cat(list(rows)).to(logits.device)
    # -1 marks a position after the draft's end: there is nothing to be right about.
    wanted = [
        label
        for part, known in zip(counts, labels, strict=True)
        for label in (*known, *[-1] * (part - len(known)))
    ]
    target = torch.tensor(wanted, device=logits.device)
    best: list[int] = []
    margin: list[float] = []
    nll: list[float] = []
    for start in range(0, len(where), _SCORE_ROWS):
        block = logits[where[start : start + _SCORE_ROWS]].float()
        label = target[start : start + _SCORE_ROWS]
        top = block.topk(2, dim=-1).values
        picked = block.gather(1, label.clamp(min=0)[:, None])[:, 0]
        loss = (block.logsumexp(-1) - picked).masked_fill(label < 0, 0.0)
        # arg-max, not topk's indices: of equal logits `generate` takes the one that argmax takes
        best += block.argmax(dim=-1).tolist()
        margin += (top[:, 0] - top[:, 1]).tolist()
        nll += loss.tolist()
    ends = np.cumsum(counts)[:-1].tolist()
    starts = [0, *ends]
    spans = [slice(a, b) for a, b in zip(starts, [*ends, len(best)], strict=True)]
    return [best[s] for s in spans], [margin[s] for s in spans], [sum(nll[s]) for s in spans]
