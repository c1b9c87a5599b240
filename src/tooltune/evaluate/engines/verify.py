"""Read prompts with their drafts in one pass and keep what plain decoding would have said.

The ground truth is a draft in the sense of speculative decoding (Leviathan et al. 2023,
arXiv:2211.17192). What decides a token is known before: the arg-max, or, when sampling, the draw
of its position. So the tokens up to and including the first that differs from the draft are
exactly those of decoding one token at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tooltune.evaluate.engines.choose import Draws, best_tokens, draw_tokens
from tooltune.evaluate.engines.rows import Ints, KeyValues, Row, take_columns
from tooltune.evaluate.engines.types import Counters, Request, Rules

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
    draws: Draws

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


def make_draft(index: int, request: Request, rules: Rules) -> Draft:
    labels = tuple(request.draft_ids[: rules.max_new_tokens])
    # Nothing follows the draft's last token when it ends the generation: it need not be read.
    ends = labels and (len(labels) == rules.max_new_tokens or labels[-1] in rules.stop_ids)
    read = labels[:-1] if ends else labels
    ids = np.asarray([*request.prompt_ids, *read], dtype=np.int64)
    return Draft(index, request.prompt_ids, ids, labels, Draws(request))


def verify(
    model: Any,
    chunks: Sequence[Sequence[Draft]],
    prefill: PrefillDrafts,
    rules: Rules,
    counters: Counters,
) -> Iterator[list[Row]]:
    """Yield the rows of each chunk, lazily: a chunk's cache lives as long as its rows use it."""
    for chunk in chunks:
        yield _verify_chunk(model, chunk, prefill, rules, counters)


def _verify_chunk(
    model: Any, chunk: Sequence[Draft], prefill: PrefillDrafts, rules: Rules, counters: Counters
) -> list[Row]:
    done = prefill(model, chunk)
    counters.prefill_forwards += 1
    counters.prefill_tokens += done.tokens
    scores = _score(done.logits, done.rows, chunk, rules)
    rows: list[Row] = []
    for draft, score, cache in zip(chunk, scores, done.caches, strict=True):
        labels = draft.labels
        row = Row(
            index=draft.index,
            prompt_ids=draft.prompt_ids,
            labels=labels,
            draws=draft.draws,
            tokens=[],
            ties=0,
            exact=score.best[: len(labels)] == list(labels) if labels else None,
            nll=score.nll if labels else None,
        )
        for j, (token, gap) in enumerate(zip(score.chosen, score.margins, strict=True)):
            row.append(token, gap)
            over = row.finish_reason(rules) is not None
            if over or j == len(labels) or token != labels[j]:
                break
        if cache is not None and row.finish_reason(rules) is None:
            row.cache = cache.first(row.length)
        rows.append(row)
    _detach_few(rows, done.tokens)
    return rows


def _detach_few(rows: Sequence[Row], tokens: int) -> None:
    """Copy out what goes on where that is less than the chunk's cache, which then can be freed.

    Rows of a forest keep one cache between them, so that what they share stays stored once.
    """
    going = [(row, row.cache) for row in rows if row.cache is not None]
    columns = [kept.columns for _, kept in going if not isinstance(kept.columns, slice)]
    if columns:
        used = np.unique(np.concatenate(columns))
        if len(used) == tokens:
            return
        layers = [
            (take_columns(k[0], used)[None], take_columns(v[0], used)[None])
            for k, v in going[0][1].layers
        ]
        for (row, _), old in zip(going, columns, strict=True):
            row.cache = KeyValues(layers, 0, np.searchsorted(used, old))
    elif sum(row.length for row in rows if row.cache is not None) < tokens:
        for row in rows:
            row.cache = row.cache and row.cache.detached()


@dataclass(frozen=True, slots=True)
class _Score:
    """Per position that a draft reads: the arg-max, the token that decoding chooses there, and
    how clearly; and the summed nll of the draft's labels."""

    best: list[int]
    chosen: list[int]
    margins: list[float]
    nll: float


def _score(
    logits: Tensor, rows: Sequence[Tensor], chunk: Sequence[Draft], rules: Rules
) -> list[_Score]:
    counts = [len(part) for part in rows]
    where = torch.cat(list(rows)).to(logits.device)
    # -1 marks a position after the draft's end: there is nothing to be right about.
    wanted = [
        label
        for part, draft in zip(counts, chunk, strict=True)
        for label in (*draft.labels, *[-1] * (part - len(draft.labels)))
    ]
    target = torch.tensor(wanted, device=logits.device)
    draws: list[float] = []
    if rules.sampling is not None:
        for part, draft in zip(counts, chunk, strict=True):
            draws += draft.draws.at(0, part)
    best: list[int] = []
    chosen: list[int] = []
    margins: list[float] = []
    nll: list[float] = []
    for start in range(0, len(where), _SCORE_ROWS):
        here = slice(start, start + _SCORE_ROWS)
        block = logits[where[here]].float()
        label = target[here]
        picked = block.gather(1, label.clamp(min=0)[:, None])[:, 0]
        nll += (block.logsumexp(-1) - picked).masked_fill(label < 0, 0.0).tolist()
        tokens, gaps = best_tokens(block)
        best += tokens
        if rules.sampling is not None:
            tokens = draw_tokens(block, draws[here], rules.sampling)
            gaps = [inf] * len(tokens)
        chosen += tokens
        margins += gaps
    ends = np.cumsum(counts).tolist()
    spans = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    return [_Score(best[s], chosen[s], margins[s], sum(nll[s])) for s in spans]
