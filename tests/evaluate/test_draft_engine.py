"""Invariant 9: draft-verified generation is plain greedy generation."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.evaluate.engines import (
    Counters,
    Generation,
    Request,
    generate_batched,
    generate_plain,
    hf,
    pick_engine,
)
from tooltune.evaluate.engines.prefill_flat import prefill_flat
from tooltune.evaluate.engines.types import Rules
from tooltune.evaluate.engines.verify import make_draft, verify

VOCAB = 64
STOPS = frozenset({2, 3})
MAX_NEW = 12
RULES = Rules(STOPS, MAX_NEW)


def _sizes() -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,  # ten times the usual, so that attention is not uniform
        # no padding token: its embedding would be zero, and every logit behind it a tie
        "pad_token_id": None,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_sizes()))


def _qwen2() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**_sizes()))


def _qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**_sizes(), head_dim=8))


def _mistral_with_a_window() -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**_sizes(), head_dim=8, sliding_window=6))


def _recurrent_and_attention() -> Any:
    from transformers import Lfm2Config, Lfm2ForCausalLM

    kinds = ["conv", "full_attention"]
    return Lfm2ForCausalLM(
        Lfm2Config(**_sizes(), layer_types=kinds, block_auto_adjust_ff_dim=False)
    )


MODELS: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "sliding window": _mistral_with_a_window,
    "recurrent layers": _recurrent_and_attention,
}


@cache
def _model(name: str) -> Any:
    torch.manual_seed(7)
    model = MODELS[name]().float().eval()
    with torch.no_grad():
        model.lm_head.weight *= 10.0  # wide margins between the logits
    return model


@cache
def _greedy(name: str, prompt: tuple[int, ...], max_new: int = MAX_NEW) -> tuple[int, ...]:
    """The oracle: transformers' own `generate`, one prompt at a time, neutral generation config."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = _model(name).generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            repetition_penalty=1.0,
            max_new_tokens=max_new,
            eos_token_id=sorted(STOPS),
            pad_token_id=0,
        )
    return tuple(out[0, len(prompt) :].tolist())


def _run(name: str, requests: list[Request], **options: Any) -> list[Generation]:
    options = {"stop_ids": STOPS, "max_new_tokens": MAX_NEW, **options}
    return generate_batched(_model(name), requests, **options)


def _tokens(generations: list[Generation]) -> list[tuple[int, ...]]:
    return [generation.token_ids for generation in generations]


ids = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=10)


@st.composite
def requests_for(draw: Any, name: str) -> list[Request]:
    """Prompts that share prefixes in part, with every kind of draft."""
    shared = draw(ids)
    requests: list[Request] = []
    for _ in range(draw(st.integers(1, 6))):
        own = draw(st.lists(st.integers(0, VOCAB - 1), max_size=6))
        prompt = tuple([*shared, *own] if draw(st.booleans()) or not own else own)
        answer = list(_greedy(name, prompt))
        kind = draw(st.sampled_from(["empty", "own", "wrong", "random", "long", "continued"]))
        if kind == "empty":
            draft: list[int] = []
        elif kind == "wrong":
            draft = list(answer)
            draft[draw(st.integers(0, len(draft) - 1))] = draw(st.integers(0, VOCAB - 1))
        elif kind == "random":
            draft = draw(ids)
        elif kind == "long":
            draft = [*answer, *draw(ids), *answer]
        else:
            draft = answer
        requests.append(Request(prompt, tuple(draft)))
        if kind == "continued":  # the next turn of the same trace
            turn = (*prompt, *draft, *draw(ids))
            requests.append(Request(turn, _greedy(name, turn)))
    return requests


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a model that has no forest forward."""
    monkeypatch.setattr(hf, "supports_forest", lambda model: "the test wants flat batches")


@pytest.mark.usefixtures("flat")
def test_flat_batches_give_plain_greedy_generation_too() -> None:
    test_the_output_is_that_of_plain_greedy_generation("llama")


@pytest.mark.usefixtures("flat")
def test_flat_batches_read_the_turns_of_one_trace_once() -> None:
    test_turns_of_one_trace_are_read_once()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_output_is_that_of_plain_greedy_generation(name: str) -> None:
    outputs: list[Generation] = []

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(requests_for(name), st.sampled_from([8, 40, 500]), st.sampled_from([1, 2, 16]))
    def holds(requests: list[Request], chunk: int, rows: int) -> None:
        out = _run(name, requests, max_batch_tokens=chunk, max_rows=rows)
        outputs.extend(out)
        for request, generation in zip(requests, out, strict=True):
            expected = _greedy(name, request.prompt_ids)
            assert generation.token_ids == expected
            stopped = expected[-1] in STOPS
            assert generation.finish_reason == ("stop" if stopped else "length")

    holds()
    positions = sum(len(generation.token_ids) for generation in outputs)
    assert sum(generation.ties for generation in outputs) <= 0.001 * positions
    assert {generation.finish_reason for generation in outputs} == {"stop", "length"}


def _prompts(n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(VOCAB) for _ in range(rng.randint(3, 12))) for _ in range(n)]


@pytest.mark.parametrize("name", ["llama", "recurrent layers"])
def test_a_draft_that_the_model_agrees_with_needs_no_decoding(name: str) -> None:
    requests = [Request(prompt, _greedy(name, prompt)) for prompt in _prompts(8)]
    counters = Counters()
    out = _run(name, requests, counters=counters)
    assert [generation.token_ids for generation in out] == [r.draft_ids for r in requests]
    assert all(generation.teacher_forced_exact for generation in out)
    assert counters.decode_tokens == counters.decode_forwards == 0
    assert counters.agreed_drafts == counters.requests == 8


def test_the_same_requests_cost_the_same() -> None:
    requests = [Request(prompt, prompt) for prompt in _prompts(10)]
    first, second = Counters(), Counters()
    _run("llama", requests, counters=first)
    _run("llama", requests, counters=second)
    assert first == second
    assert first.decode_tokens > 0
    assert first.agreed_drafts < first.requests == 10


def test_a_batch_is_filled_again_while_others_wait() -> None:
    rambling = [p for p in _prompts(200) if len(_greedy("llama", p)) == MAX_NEW]
    drafts = [_greedy("llama", prompt)[: 10 * (i % 2)] for i, prompt in enumerate(rambling[:20])]
    requests = [Request(*pair) for pair in zip(rambling, drafts, strict=False)]
    counters = Counters()
    _run("llama", requests, counters=counters, max_rows=4, max_batch_tokens=30)
    assert counters.decode_tokens == 10 * 11 + 10 * 1
    assert 120 / 4 <= counters.decode_forwards <= 120 / 4 + MAX_NEW


def test_a_row_that_goes_on_does_not_hold_the_whole_chunk_in_memory() -> None:
    agreed = [Request(prompt, _greedy("llama", prompt)) for prompt in _prompts(6)]
    drafts = [make_draft(i, request, RULES) for i, request in enumerate([*agreed, Request((5,))])]
    with torch.no_grad():
        (rows,) = verify(_model("llama"), [drafts], prefill_flat, RULES, Counters())
    *over, row = rows
    assert all(other.cache is None for other in over)
    assert row.cache is not None
    keys, _ = row.cache.layers[0]
    assert keys.untyped_storage().nbytes() == keys.shape[1] * keys.shape[3] * 4  # one token


def test_turns_of_one_trace_are_read_once() -> None:
    first = tuple(range(5, 15))
    draft = (20, 21, 2)
    second = (*first, *draft, 30, 31)
    counters = Counters()
    _run("llama", [Request(first, draft), Request(second, draft)], counters=counters)
    assert counters.prefill_tokens == len(second) + len(draft) - 1


def test_a_prefix_that_requests_share_is_read_once() -> None:
    shared = tuple(range(5, 25))
    counters = Counters()
    _run("llama", [Request((*shared, n)) for n in range(30, 40)], counters=counters)
    assert counters.prefill_tokens == len(shared) + 10


def test_a_stop_token_in_the_middle_of_a_draft_ends_the_turn() -> None:
    prompt = next(p for p in _prompts(200) if _greedy("llama", p)[-1] in STOPS)
    answer = _greedy("llama", prompt)
    generation = _run("llama", [Request(prompt, (*answer, 9, 9))])[0]
    assert generation.token_ids == answer
    assert generation.finish_reason == "stop"


def test_a_draft_counts_up_to_max_new_tokens() -> None:
    prompt = next(p for p in _prompts(200) if _greedy("llama", p)[-1] not in STOPS)
    draft = (*_greedy("llama", prompt), 9, 9)
    generation = _run("llama", [Request(prompt, draft)])[0]
    assert generation.token_ids == draft[:MAX_NEW]
    assert generation.finish_reason == "length"
    assert generation.teacher_forced_exact


def test_draft_nll_and_exactness_are_those_of_teacher_forcing() -> None:
    model = _model("qwen2")
    requests = [Request(p, q[:7]) for p, q in zip(_prompts(6), _prompts(6, seed=1), strict=True)]
    for request, generation in zip(requests, _run("qwen2", requests), strict=True):
        whole = torch.tensor([[*request.prompt_ids, *request.draft_ids]])
        with torch.no_grad():
            logits = model(whole).logits[0, len(request.prompt_ids) - 1 : -1]
        labels = torch.tensor(request.draft_ids)
        nll = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        assert generation.draft_nll == pytest.approx(nll.item(), rel=1e-5)
        assert generation.teacher_forced_exact == bool((logits.argmax(-1) == labels).all())


def test_without_a_draft_there_is_nothing_to_be_exact_about() -> None:
    generation = _run("llama", [Request((5, 6, 7))])[0]
    assert generation.teacher_forced_exact is None
    assert generation.draft_nll is None


def test_equal_logits_are_counted_as_ties() -> None:
    model = _llama().eval()
    with torch.no_grad():
        model.lm_head.weight[33] = model.lm_head.weight[32]
        model.lm_head.weight[:32] = model.lm_head.weight[34:] = 0.0
    out = generate_batched(model, [Request((5, 6, 7))], stop_ids=STOPS, max_new_tokens=4)
    assert 1 <= out[0].ties <= 4


def test_a_shipped_repetition_penalty_changes_nothing_and_stays() -> None:
    model = _model("llama")
    requests = [Request(prompt) for prompt in _prompts(12)]
    plain = _run("llama", requests)
    shipped = model.generation_config
    try:
        model.generation_config = type(shipped)(repetition_penalty=5.0, no_repeat_ngram_size=1)
        penalised = model.generate(torch.tensor([requests[0].prompt_ids]), max_new_tokens=12)
        assert tuple(penalised[0, len(requests[0].prompt_ids) :].tolist()) != plain[0].token_ids
        assert _run("llama", requests) == plain
        assert model.generation_config.repetition_penalty == 5.0
    finally:
        model.generation_config = shipped


def test_the_training_state_is_left_as_it_was() -> None:
    torch.manual_seed(1)
    config = type(_model("llama").config)(**_sizes(), attention_dropout=0.5)
    model = type(_model("llama"))(config)
    model.gradient_checkpointing_enable()
    model.train()
    model.model.layers[0].eval()  # a frozen part keeps its own mode
    modes = [module.training for module in model.modules()]
    before = torch.get_rng_state()
    requests = [Request(prompt) for prompt in _prompts(4)]
    first = generate_batched(model, requests, stop_ids=STOPS, max_new_tokens=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()
    assert model.config._attn_implementation == "sdpa"
    model.eval()
    assert generate_batched(model, requests, stop_ids=STOPS, max_new_tokens=5) == first


def test_autocast_around_the_evaluation_does_not_reach_it() -> None:
    requests = [Request(prompt, prompt) for prompt in _prompts(6)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = _run("llama", requests)
    assert inside == _run("llama", requests)


def test_progress_counts_to_the_number_of_requests() -> None:
    seen: list[tuple[int, int]] = []
    _run("llama", [Request(p) for p in _prompts(5)], on_progress=lambda n, of: seen.append((n, of)))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_no_requests_give_no_generations() -> None:
    assert _run("llama", []) == []


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="request 1 has an empty prompt"):
        _run("llama", [Request((5,)), Request(())])


def test_the_draft_engine_is_picked_for_transformers_decoders_only() -> None:
    from peft import LoraConfig, PrefixTuningConfig, get_peft_model

    assert pick_engine(_model("llama")) is generate_batched
    lora = get_peft_model(_llama(), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert pick_engine(lora) is generate_batched
    prefix = PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    assert pick_engine(get_peft_model(_llama(), prefix)) is generate_plain
    assert pick_engine(object()) is generate_plain


def test_a_lora_model_generates_with_its_adapter() -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    model = get_peft_model(_llama(), config).eval()
    requests = [Request(prompt, prompt) for prompt in _prompts(5)]
    adapted = generate_batched(model, requests, stop_ids=STOPS, max_new_tokens=6)
    with model.disable_adapter():
        bare = generate_batched(model, requests, stop_ids=STOPS, max_new_tokens=6)
    merged = model.merge_and_unload()
    again = generate_batched(merged, requests, stop_ids=STOPS, max_new_tokens=6)
    assert _tokens(adapted) == _tokens(again) != _tokens(bare)


def test_a_right_guess_saves_a_forward_and_a_wrong_one_changes_nothing() -> None:
    """The ground truth differs from the answer at its first token only; its rest is the guess."""
    rambling = [p for p in _prompts(200) if len(_greedy("llama", p)) == MAX_NEW][:6]
    answers = [_greedy("llama", prompt) for prompt in rambling]
    drafts = [((a[0] + 1) % VOCAB, *a[1:]) for a in answers]
    counters = Counters()
    out = _run(
        "llama", [Request(*p) for p in zip(rambling, drafts, strict=True)], counters=counters
    )
    assert _tokens(out) == answers
    assert counters.decode_tokens == 6 * (MAX_NEW - 1)
    assert counters.decode_forwards < MAX_NEW - 1


def test_each_generation_is_handed_over_once_as_it_is_finished() -> None:
    seen: dict[int, Generation] = {}

    def keep(i: int, generation: Generation) -> None:
        assert i not in seen
        seen[i] = generation

    out = _run("llama", [Request(p) for p in _prompts(9)], on_output=keep, max_rows=2)
    assert [seen[i] for i in range(9)] == out
    assert list(seen) != sorted(seen), "those that end early do not wait for the others"
