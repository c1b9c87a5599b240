"""Verify drafts as ordinary padded batches: for every model that has no forest forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import (
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from tooltune.evaluate.engines.modes import device_of
from tooltune.evaluate.engines.order import is_prefix, prefix_order
from tooltune.evaluate.engines.rows import KeyValues, layer_tensors
from tooltune.evaluate.engines.verify import Draft, Prefill


def flat_chunks(drafts: Sequence[Draft], max_tokens: int) -> list[list[Draft]]:
    """Group drafts for `prefill_flat`: rows of like length, `max_tokens` a chunk, padding counted.

    Drafts that are prefixes of another (the earlier turns of a trace) ride along in its row.
    """
    chains: list[list[Draft]] = []
    ordered = [drafts[i] for i in prefix_order([draft.ids for draft in drafts])]
    for draft in ordered:
        if chains and is_prefix(chains[-1][-1].ids, draft.ids):
            chains[-1].append(draft)
        else:
            chains.append([draft])
    chains.sort(key=lambda chain: len(chain[-1].ids))
    chunks: list[list[Draft]] = []
    rows = 0
    for chain in chains:
        rows += 1
        if not chunks or rows * len(chain[-1].ids) > max_tokens:
            chunks.append([])
            rows = 1
        chunks[-1] += chain
    return chunks


def prefill_flat(model: Any, chunk: Sequence[Draft]) -> Prefill:
    """One forward over the chunk's rows, padded on the right: what follows a row never reaches it
    under causal attention, so no mask is needed (and the fastest kernel serves)."""
    heads: list[Draft] = []  # the longest draft of each chain
    row_of: list[int] = []
    for draft in reversed(chunk):
        if not heads or not is_prefix(draft.ids, heads[-1].ids):
            heads.append(draft)
        row_of.append(len(heads) - 1)
    row_of.reverse()

    ids = np.zeros((len(heads), max(len(head.ids) for head in heads)), dtype=np.int64)
    for row, head in enumerate(heads):
        ids[row, : len(head.ids)] = head.ids
    device = device_of(model)
    columns = np.unique(np.concatenate([draft.read for draft in chunk]))
    cuttable = cache_can_be_cut(model)
    # Without a config every layer keeps all columns, those with a sliding window too: a window
    # would end at the padding's end, not at the row's. The masks still come from the config.
    cache = DynamicCache() if cuttable else None
    logits = model(
        input_ids=torch.from_numpy(ids).to(device),
        past_key_values=cache,
        use_cache=cuttable,
        logits_to_keep=torch.from_numpy(columns).to(device),
    ).logits
    layers = layer_tensors(cache) if cache is not None else []
    rows = [
        torch.from_numpy(row * len(columns) + np.searchsorted(columns, draft.read))
        for row, draft in zip(row_of, chunk, strict=True)
    ]
    return Prefill(
        logits=logits.flatten(0, 1),
        rows=rows,
        caches=[
            KeyValues(layers, row, slice(0, len(draft.ids))) if layers else None
            for row, draft in zip(row_of, chunk, strict=True)
        ],
        tokens=sum(len(head.ids) for head in heads),
    )


def cache_can_be_cut(model: Any) -> bool:
    """Whether any prefix of the model's cache is the cache of that prefix.

    True of attention layers, not of recurrent states, nor where layers share theirs.
    """
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
