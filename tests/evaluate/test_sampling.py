"""Sampling draws from the model's own distribution, and no request's draw depends on another."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import GenerationConfig, LogitsProcessorList

from tests.evaluate.test_draft_engine import STOPS, VOCAB, _model, _prompts
from tooltune.evaluate.engines import Counters, Generation, Request, Sampling, generate_batched
from tooltune.evaluate.engines.choose import draw_tokens

SAMPLING = Sampling(temperature=20.0)  # the test models are sure of themselves
MAX_NEW = 8


def _run(name: str, requests: list[Request], **options: Any) -> list[Generation]:
    options = {"sampling": SAMPLING, "max_new_tokens": MAX_NEW, **options}
    return generate_batched(_model(name), requests, stop_ids=STOPS, **options)


def _one_at_a_time(name: str, request: Request) -> Generation:
    """Without a draft, and alone."""
    return _run(name, [Request(request.prompt_ids, seed=request.seed)])[0]


@pytest.mark.parametrize("name", ["llama", "qwen3", "sliding window", "recurrent layers"])
def test_a_sample_depends_on_prompt_and_seed_alone(name: str) -> None:
    prompts = _prompts(4)
    requests = [Request(p, prompts[0][:5], seed) for p in prompts for seed in range(4)]
    alone = [_one_at_a_time(name, request).token_ids for request in requests]
    together = _run(name, requests, max_batch_tokens=60, max_rows=5)
    assert [generation.token_ids for generation in together] == alone
    backwards = _run(name, requests[::-1])
    assert [generation.token_ids for generation in backwards] == alone[::-1]
    assert len(set(alone)) > 8


def test_a_draft_that_is_drawn_needs_no_decoding() -> None:
    requests = [Request(prompt, seed=3) for prompt in _prompts(6)]
    said = [generation.token_ids for generation in _run("llama", requests)]
    drafted = [Request(r.prompt_ids, draft, 3) for r, draft in zip(requests, said, strict=True)]
    counters = Counters()
    again = _run("llama", drafted, counters=counters)
    assert [generation.token_ids for generation in again] == said
    assert counters.decode_tokens == 0


def test_samples_of_one_prompt_share_its_prefill() -> None:
    prompt = _prompts(1)[0]
    counters = Counters()
    out = _run("llama", [Request(prompt, seed=seed) for seed in range(20)], counters=counters)
    assert counters.prefill_tokens == len(prompt)
    assert len({generation.token_ids for generation in out}) > 10


def test_first_and_second_tokens_follow_the_softmax() -> None:
    prompt = _prompts(1)[0]
    n = 4000
    requests = [Request(prompt, (7,), seed) for seed in range(n)]
    out = _run("llama", requests, max_new_tokens=2)
    first = Counter(generation.token_ids[0] for generation in out)
    _assert_drawn_from(first, _softmax(prompt), n)
    token, count = next((t, c) for t, c in first.most_common() if t not in STOPS)
    second = Counter(g.token_ids[1] for g in out if g.token_ids[0] == token)
    _assert_drawn_from(second, _softmax((*prompt, token)), count)


def _softmax(prompt: tuple[int, ...]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits = _model("llama")(torch.tensor([prompt])).logits[0, -1]
    return (logits.double() / SAMPLING.temperature).softmax(-1).numpy()


def _assert_drawn_from(seen: Counter[int], expected: np.ndarray[Any, Any], n: int) -> None:
    """A chi-squared test on the tokens expected at least five times, the others in one cell."""
    often = expected * n >= 5
    observed = np.array([seen[i] for i in range(VOCAB)])
    rest = [observed[~often].sum()] if not often.all() else []
    cells = [*observed[often], *rest]
    wanted = np.array([*expected[often], *([expected[~often].sum()] if rest else [])]) * n
    assert chisquare(cells, wanted * sum(cells) / wanted.sum()).pvalue > 1e-4


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**20),
    st.floats(0.2, 3.0),
    st.floats(0.05, 1.0),
    st.integers(0, 12),
)
def test_tokens_are_those_that_transformers_leaves(
    seed: int, temperature: float, top_p: float, top_k: int
) -> None:
    scores = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed)) * 3
    config = GenerationConfig(
        do_sample=True, temperature=temperature, top_p=top_p, top_k=top_k, num_beams=1
    )
    warpers: LogitsProcessorList = _model("llama")._get_logits_processor(
        config, input_ids_seq_length=1, encoder_input_ids=None, device="cpu"
    )
    expected = warpers(torch.zeros(1, 1, dtype=torch.int64), scores).softmax(-1)[0]
    n = 400
    grid = [(i + 0.5) / n for i in range(n)]  # evenly spread draws give the shares themselves
    tokens = draw_tokens(scores.expand(n, -1), grid, Sampling(temperature, top_p, top_k))
    shares = np.bincount(tokens, minlength=12) / n
    assert np.abs(shares - expected.numpy()).max() <= 1.01 / n
    assert not shares[(expected == 0).numpy()].any()


@pytest.mark.parametrize("draw", [0.0, 1.0 - 2**-53])
def test_a_draw_at_the_edge_never_gives_an_impossible_token(draw: float) -> None:
    scores = torch.full((1, 9), -torch.inf)
    scores[0, 3:6] = torch.tensor([0.1, 0.2, 0.3])
    assert draw_tokens(scores, [draw], Sampling())[0] == (3 if draw == 0.0 else 5)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_k": -1}]
)
def test_a_value_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)
