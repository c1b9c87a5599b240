"""Draft-verified evaluation against one-at-a-time `generate`: same model, same dtype, same tokens.

    python benchmarks/evaluation.py runs/demo-data/held_out.jsonl --abstain --limit 0 \\
        --model runs/demo/checkpoints/LATEST/model/consolidated \\
        --model builtin:smollm2-135m-instruct
    python benchmarks/evaluation.py traces.jsonl --limit 40 --drafts own
    python benchmarks/evaluation.py --synthetic

Prompts are the turns of the traces that call tools (with `--abstain` those that do not, too). The
draft of a turn is its ground truth, as in every evaluation; `--drafts own` takes the model's own
answer, the bound that a perfectly tuned model reaches, and `--drafts none` shows what batching and
sharing give alone. `generate` has a neutral generation config. Outputs must be identical, save
where two logits lie closer than 1e-3. Several models are measured one after the other; each is
warmed up by one turn on both sides.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from tooltune.evaluate.engines import Counters, Generation, Request, generate_batched
from tooltune.models.load import load_model, load_tokenizer


def main() -> int:
    args = _arguments()
    return max(_measure(name, args) for name in args.model or ["builtin:smollm2-135m-instruct"])


def _measure(name: str, args: argparse.Namespace) -> int:
    model = load_model(name, dtype=getattr(torch, args.dtype), device=args.device)
    requests, stop_ids = _synthetic(args) if args.synthetic else _from_file(name, args, model)
    if args.drafts != "truth":
        requests = [Request(request.prompt_ids) for request in requests]
    if args.drafts == "own":
        own = _draft_verified(model, requests, stop_ids, args.max_new_tokens, Counters())
        pairs = zip(requests, own, strict=True)
        requests = [Request(r.prompt_ids, g.token_ids) for r, g in pairs]
    _draft_verified(model, requests[:1], stop_ids, 2, Counters())
    _generate(model, requests[0], stop_ids, 2)

    counters = Counters()
    start = time.perf_counter(), time.process_time()
    ours = _draft_verified(model, requests, stop_ids, args.max_new_tokens, counters)
    our_time, our_cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    start = time.perf_counter(), time.process_time()
    plain = [_generate(model, request, stop_ids, args.max_new_tokens) for request in requests]
    plain_time, plain_cpu = time.perf_counter() - start[0], time.process_time() - start[1]

    # `generate` reads the prompt for its first token, and a token more for each of the others.
    prompts = sum(len(request.prompt_ids) for request in requests)
    decoded = sum(map(len, plain)) - len(requests)
    print(f"{len(requests)} turns, {name}, {args.dtype} on {args.device}, {args.drafts} drafts")
    print(
        f"generate, one at a time: {plain_time:8.1f} s ({plain_cpu:.1f} s of CPU)  prefilled "
        f"{prompts} tokens in {len(requests)} forwards, decoded {decoded} in {decoded}"
    )
    print(
        f"draft-verified:          {our_time:8.1f} s ({our_cpu:.1f} s of CPU)  prefilled "
        f"{counters.prefill_tokens} tokens in {counters.prefill_forwards} forwards, decoded "
        f"{counters.decode_tokens} in {counters.decode_forwards} ({counters.rejected_tokens} more "
        f"guessed in vain), {counters.agreed_drafts} turns without decoding"
    )
    print(f"wall ratio: {plain_time / our_time:.2f}x, CPU ratio: {plain_cpu / our_cpu:.2f}x")
    return _compare(ours, plain)


def _compare(ours: Sequence[Generation], plain: Sequence[tuple[int, ...]]) -> int:
    """Print how many outputs differ; 1 if any does that no tie explains."""
    different = [g for g, p in zip(ours, plain, strict=True) if g.token_ids != p]
    unexplained = [g for g in different if not g.ties]
    positions = sum(len(g.token_ids) for g in ours)
    ties = sum(g.ties for g in ours)
    print(
        f"identical outputs: {len(ours) - len(different)} of {len(ours)}; "
        f"ties at {ties} of {positions} positions; unexplained differences: {len(unexplained)}"
    )
    return 1 if unexplained else 0


def _draft_verified(
    model: PreTrainedModel,
    requests: Sequence[Request],
    stop_ids: frozenset[int],
    max_new_tokens: int,
    counters: Counters,
) -> list[Generation]:
    return generate_batched(
        model, requests, stop_ids=stop_ids, max_new_tokens=max_new_tokens, counters=counters
    )


def _generate(
    model: PreTrainedModel, request: Request, stop_ids: frozenset[int], max_new_tokens: int
) -> tuple[int, ...]:
    prompt = torch.tensor([request.prompt_ids], device=model.device)
    with torch.no_grad():
        output = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(stop_ids),
            pad_token_id=0,
            # neutral, whatever the model ships
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            num_beams=1,
        )
    return tuple(output[0, prompt.shape[1] :].tolist())


def _from_file(
    name: str, args: argparse.Namespace, model: PreTrainedModel
) -> tuple[list[Request], frozenset[int]]:
    from tooltune.evaluate.prepare import prepare_samples, render_samples
    from tooltune.evaluate.run import generation_stop_ids
    from tooltune.render.turns import Renderer
    from tooltune.traces.load import load_traces

    tokenizer = load_tokenizer(name)
    renderer = Renderer(tokenizer)
    samples = render_samples(load_traces(args.traces), renderer, include_abstain=args.abstain)
    prepared = prepare_samples(samples[: args.limit or None], max_prompt_tokens=None)
    requests = [
        Request(item.prompt_ids, item.draft_ids) for item in prepared if item.prompt_ids is not None
    ]
    return requests, generation_stop_ids(tokenizer, model, renderer.stop_ids)


def _synthetic(args: argparse.Namespace) -> tuple[list[Request], frozenset[int]]:
    """Random tokens: `limit` turns of 150 tokens behind 800 shared ones, drafts of 40 tokens."""
    rng = np.random.default_rng(0)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(rng.integers(1000, 10000, n).tolist())

    shared = tokens(800)
    return [Request((*shared, *tokens(150)), tokens(40)) for _ in range(args.limit)], frozenset({2})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="?", help="traces in any format that tooltune reads")
    parser.add_argument("--synthetic", action="store_true", help="random tokens, no file needed")
    parser.add_argument("--model", action="append", help="may be given several times")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--limit", type=int, default=40, help="turns to generate, 0: all")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--drafts", default="truth", choices=["truth", "own", "none"])
    parser.add_argument("--abstain", action="store_true", help="also turns that call no tool")
    args = parser.parse_args()
    if args.synthetic == bool(args.traces):
        parser.error("give either a file of traces or --synthetic")
    return args


if __name__ == "__main__":
    sys.exit(main())
