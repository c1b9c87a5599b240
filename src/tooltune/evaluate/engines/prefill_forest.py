"""Verify drafts as a token forest: what they share is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache

from tooltune.evaluate.engines.order import prefix_order, shared_prefix
from tooltune.evaluate.engines.rows import KeyValues, layer_tensors
from tooltune.evaluate.engines.verify import Draft, Prefill
from tooltune.models.forest_forward import forest_logits
from tooltune.render.forest import merge_paths


def forest_chunks(drafts: Sequence[Draft], max_tokens: int) -> list[list[Draft]]:
    """Group drafts for `prefill_forest`: neighbours that share, `max_tokens` distinct a chunk.

    The prefix that a chunk's first draft shares with the chunk before is not counted: it is read
    again, and counting it would make chunks smaller and that happen more often.
    """
    chunks: list[list[Draft]] = []
    before = np.empty(0, dtype=np.int64)
    count = 0
    for i in prefix_order([draft.ids for draft in drafts]):
        draft = drafts[i]
        new = len(draft.ids) - shared_prefix(before, draft.ids)
        if not chunks or count + new > max_tokens:
            chunks.append([])
            count = 0
        chunks[-1].append(draft)
        count += new
        before = draft.ids
    return chunks


def prefill_forest(model: Any, chunk: Sequence[Draft]) -> Prefill:
    """One forward over the merged drafts; keys and values lie in forest order."""
    rests = [draft.ids[len(draft.prompt_ids) :].tolist() for draft in chunk]
    merged = merge_paths(
        (draft.prompt_ids, rest, [0.0] * len(rest))
        for draft, rest in zip(chunk, rests, strict=True)
    )
    wanted = np.unique(
        np.concatenate([path[draft.read] for path, draft in zip(merged.paths, chunk, strict=True)])
    )
    # Logits are computed at target sources. Which token follows is judged later, so any id does.
    forest = replace(
        merged,
        target_source=wanted,
        target_id=np.zeros_like(wanted),
        target_weight=np.ones(len(wanted), dtype=np.float32),
    )
    cache = DynamicCache()
    logits, rows = forest_logits(model, forest, past_key_values=cache)
    layers = layer_tensors(cache)
    return Prefill(
        logits=logits,
        rows=[
            rows[torch.from_numpy(np.searchsorted(wanted, path[draft.read])).to(rows.device)]
            for path, draft in zip(forest.paths, chunk, strict=True)
        ],
        caches=[KeyValues(layers, 0, path) for path in forest.paths],
        tokens=len(forest),
    )
