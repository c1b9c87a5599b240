"""Batched generation with the ground truth as a draft, for transformers models.

One forward over prompt and draft tells how far decoding agrees with the draft. A turn that agrees
to its end needs no decoding; the others go on, batched, from the first disagreement with the keys
and values at hand. Token for token this is what `generate(do_sample=False)` gives with a neutral
generation config, one prompt at a time, save where two logits tie (`Generation.ties`). When
sampling, tokens are drawn from the same distribution as by `generate(do_sample=True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from tooltune.evaluate.engines.decode import DecodeLimits, decode, decode_alone
from tooltune.evaluate.engines.modes import device_of, evaluation_mode
from tooltune.evaluate.engines.packed import decode_packed
from tooltune.evaluate.engines.prefill_flat import cache_can_be_cut, flat_chunks, prefill_flat
from tooltune.evaluate.engines.prefill_forest import forest_chunks, prefill_forest
from tooltune.evaluate.engines.rows import Row
from tooltune.evaluate.engines.types import (
    Counters,
    Generation,
    OnOutput,
    Progress,
    Request,
    Rules,
    Sampling,
    check_requests,
)
from tooltune.evaluate.engines.verify import make_draft, verify
from tooltune.models.forest_forward import supports_forest


def generate_batched(
    model: Any,
    requests: Sequence[Request],
    *,
    stop_ids: frozenset[int],
    max_new_tokens: int,
    pad_token_id: int = 0,
    sampling: Sampling | None = None,
    max_batch_tokens: int | None = None,
    max_rows: int | None = None,
    counters: Counters | None = None,
    on_progress: Progress | None = None,
    on_output: OnOutput | None = None,
) -> list[Generation]:
    """Generate for every request; results in request order.

    `model` is a transformers causal language model or a PeftModel around one, held in the dtype
    to evaluate in (fp32 on a CPU). It is read only: its modes are restored, its generation config
    is not consulted. `max_batch_tokens` bounds the tokens of one verifying forward (a single
    longer request goes alone), `max_rows` the sequences decoded together. `pad_token_id` is not
    used: padding is masked.

    Raises ValueError for an empty prompt or `max_new_tokens` < 1.
    """
    check_requests(requests, max_new_tokens)
    rules = Rules(stop_ids, max_new_tokens, sampling)
    counters = counters if counters is not None else Counters()
    on_gpu = device_of(model).type != "cpu"
    chunk_tokens = max_batch_tokens or (16384 if on_gpu else 4096)
    limits = DecodeLimits(max_rows or (256 if on_gpu else 192), cache_tokens=8 * chunk_tokens)

    drafts = [make_draft(i, request, rules) for i, request in enumerate(requests)]
    done: dict[int, Generation] = {}
    with evaluation_mode(model):
        forest = supports_forest(model) is None
        chunks = verify(
            model,
            (forest_chunks if forest else flat_chunks)(drafts, chunk_tokens),
            prefill_forest if forest else prefill_flat,
            rules,
            counters,
        )
        continue_rows: Callable[..., Iterator[Row]] = decode_alone
        if forest:
            continue_rows = partial(decode_packed, limits=limits)
        elif cache_can_be_cut(model):
            continue_rows = partial(decode, limits=limits)
        for row in continue_rows(model, chunks, rules=rules, counters=counters):
            reason = row.finish_reason(rules)
            assert reason is not None
            done[row.index] = row.generation(reason)
            counters.agreed_drafts += not row.decoded
            if on_output is not None:
                on_output(row.index, done[row.index])
            if on_progress is not None:
                on_progress(len(done), len(requests))
    counters.requests += len(requests)
    return [done[i] for i in range(len(requests))]
