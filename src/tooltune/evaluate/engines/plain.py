"""Ordinary generation, one request at a time, for any object that can generate or give logits."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tooltune.evaluate.engines.choose import Draws, choose
from tooltune.evaluate.engines.modes import device_of, evaluation_mode
from tooltune.evaluate.engines.types import (
    Counters,
    FinishReason,
    Generation,
    OnOutput,
    Progress,
    Request,
    Rules,
    Sampling,
    check_requests,
)


def generate_plain(
    model: Any,
    requests: Sequence[Request],
    *,
    stop_ids: frozenset[int],
    max_new_tokens: int,
    pad_token_id: int = 0,
    sampling: Sampling | None = None,
    counters: Counters | None = None,
    on_progress: Progress | None = None,
    on_output: OnOutput | None = None,
) -> list[Generation]:
    """Generate for every request with the model's own means; drafts are not used.

    An object with `.generate` is called once per request with exactly `input_ids`,
    `attention_mask` (int64 [1, n]), `max_new_tokens`, `do_sample` and `pad_token_id`; its output
    holds the prompt, which is cut off. Any other object is called for logits, token by token.
    Sampling is seeded and leaves torch's generators as they were; what `sampling` has other than
    its defaults goes to `.generate` as `temperature`, `top_p` and `top_k`.

    Whatever the object raises goes to the caller.
    """
    check_requests(requests, max_new_tokens)
    device = device_of(model)
    answer = _generated if callable(getattr(model, "generate", None)) else _token_by_token
    done: list[Generation] = []
    devices = [device] if device.type == "cuda" else []
    with evaluation_mode(model), torch.random.fork_rng(devices):
        for i, request in enumerate(requests):
            # by prompt: the sample does not depend on what else is evaluated, nor in which order
            torch.manual_seed(request.seed ^ zlib.crc32(repr(request.prompt_ids).encode()))
            prompt = torch.tensor([request.prompt_ids], device=device)
            rules = Rules(stop_ids, max_new_tokens, sampling)
            new = answer(model, prompt, rules, Draws(request), pad_token_id)
            done.append(_generation(new, stop_ids, max_new_tokens))
            if counters is not None:
                counters.requests += 1
                counters.decode_tokens += len(done[-1].token_ids)
            if on_output is not None:
                on_output(i, done[-1])
            if on_progress is not None:
                on_progress(len(done), len(requests))
    return done


def _generated(
    model: Any, prompt: Tensor, rules: Rules, draws: Draws, pad_token_id: int
) -> list[int]:
    chosen = {} if rules.sampling is None else asdict(rules.sampling)
    default = asdict(Sampling())
    output = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=rules.max_new_tokens,
        do_sample=rules.sampling is not None,
        pad_token_id=pad_token_id,
        **{name: value for name, value in chosen.items() if value != default[name]},
    )
    new: list[int] = output[0, prompt.shape[1] :].tolist()
    return new


def _token_by_token(
    model: Any, prompt: Tensor, rules: Rules, draws: Draws, pad_token_id: int
) -> list[int]:
    ids = prompt
    forward = model if callable(model) else model.forward
    masked = _takes(getattr(model, "forward", forward), "attention_mask")
    new: list[int] = []
    while len(new) < rules.max_new_tokens:
        mask = {"attention_mask": torch.ones_like(ids)} if masked else {}
        logits = forward(input_ids=ids, **mask).logits[:, -1]
        (token,), _ = choose(logits, draws.at(len(new), 1), rules.sampling)
        new.append(token)
        if token in rules.stop_ids:
            break
        ids = torch.cat([ids, torch.tensor([[token]], device=ids.device)], dim=1)
    return new


def _takes(function: Any, name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _generation(new: list[int], stop_ids: frozenset[int], max_new_tokens: int) -> Generation:
    """Cut behind the first stop token: a model may pad there, or not know that it should stop."""
    for i, token in enumerate(new):
        if token in stop_ids:
            return Generation(tuple(new[: i + 1]), "stop")
    # Shorter than allowed without a stop token of ours: it stopped for a reason of its own.
    reason: FinishReason = "stop" if len(new) < max_new_tokens else "length"
    return Generation(tuple(new), reason)
