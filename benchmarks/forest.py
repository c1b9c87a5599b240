"""Forest against flat sequences: one training step (forward and backward) on the same traces.

    python benchmarks/forest.py --synthetic      # random tokens behind a shared prefix
    python benchmarks/forest.py traces.jsonl     # real traces, rendered by tooltune

Flat is what a trainer does without sharing: one sequence for every trace (for every branch where
the template rewrites history), at the micro-batch size that measures fastest. Gradients are
compared in fp32 before anything is timed; the times are of LoRA training in bf16.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from tooltune.models.forest_forward import Model, flat_logits, forest_logits, supports_forest
from tooltune.models.load import load_model, load_tokenizer
from tooltune.render.forest import TokenForest, merge_paths
from tooltune.train.loss import step_loss

Path = tuple[Sequence[int], Sequence[int], Sequence[float]]  # prompt, completion, weights
Logits = Callable[[Model, TokenForest], tuple[Tensor, Tensor]]


def main() -> None:
    args = _arguments()
    traces = _synthetic(args) if args.synthetic else _from_file(args)
    whole = merge_paths([path for trace in traces for path in trace])
    alone = [merge_paths(trace) for trace in traces]
    shared = sum(len(forest) for forest in alone) - len(whole)
    print(f"{len(traces)} traces, {len(whole)} distinct tokens, {shared} shared away")

    model = load_model(args.model, device=args.device)
    assert (reason := supports_forest(model)) is None, reason
    few = [path for trace in traces[:3] for path in trace]
    print(f"fp32 gradients, forest against flat, 3 traces: {_gradient_difference(model, few):.1e}")

    adapted = _lora(load_model(args.model, dtype=torch.bfloat16, device=args.device))
    total = whole.total_weight
    forest_time = _time(adapted, [whole], forest_logits, total)
    _report("forest", len(whole), len(set(whole.target_source.tolist())), forest_time)

    flat_tokens = sum(_flat_tokens(forest) for forest in alone)
    rows = sum(len(set(forest.target_source.tolist())) for forest in alone)
    times = {}
    for size in args.micro_batches:
        groups = [traces[i : i + size] for i in range(0, len(traces), size)]
        batches = [merge_paths([path for trace in group for path in trace]) for group in groups]
        times[size] = _time(adapted, batches, flat_logits, total)
        _report(f"flat, micro-batch {size}", flat_tokens, rows, times[size])
    best = min(times, key=lambda size: times[size])
    print(
        f"forest is {times[best] / forest_time:.2f}x as fast as flat (micro-batch {best}), "
        f"forwards {flat_tokens / len(whole):.2f}x fewer tokens"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="?", help="traces in any format that tooltune reads")
    parser.add_argument("--synthetic", action="store_true", help="random tokens, no file needed")
    parser.add_argument("--model", default="builtin:smollm2-135m-instruct")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=16, help="traces a step")
    parser.add_argument("--shared", type=int, default=1200, help="synthetic: shared tokens")
    parser.add_argument("--own", type=int, default=150, help="synthetic: tokens of one trace")
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    if args.synthetic == bool(args.traces):
        parser.error("give either a file of traces or --synthetic")
    return args


def _synthetic(args: argparse.Namespace) -> list[list[Path]]:
    """`batch` traces of one turn: shared prefix, own prompt, and a quarter of `own` as targets."""
    rng = np.random.default_rng(0)
    prefix = rng.integers(100, 40_000, args.shared).tolist()
    answer = args.own // 4
    return [
        [
            (
                prefix + rng.integers(100, 40_000, args.own - answer).tolist(),
                rng.integers(100, 40_000, answer).tolist(),
                [1.0] * answer,
            )
        ]
        for _ in range(args.batch)
    ]


def _from_file(args: argparse.Namespace) -> list[list[Path]]:
    from tooltune.render.turns import Renderer
    from tooltune.traces.load import load_traces

    renderer = Renderer(load_tokenizer(args.model))
    rendered = [renderer.render(trace) for trace in load_traces(args.traces, limit=args.batch)]
    return [
        [(turn.prompt_ids, turn.completion_ids, turn.weights) for turn in trace.trained_turns]
        for trace in rendered
    ]


def _lora(model: Model) -> Model:
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    # As the recipe trains: adapters compute in bf16 too, their fp32 masters are the optimizer's.
    return get_peft_model(model, config, autocast_adapter_dtype=False).train()


def _gradient_difference(model: Model, paths: Sequence[Path]) -> float:
    """Relative L2 difference of all gradients: forest against one flat sequence at a time."""
    forest = merge_paths(paths)
    singles = [merge_paths([path]) for path in paths]
    gradients = []
    for batches, logits in (([forest], forest_logits), (singles, flat_logits)):
        model.zero_grad()
        _step(model, batches, logits, forest.total_weight)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    ours, theirs = gradients
    return float((ours - theirs).norm() / theirs.norm())


def _step(model: Model, batches: Sequence[TokenForest], logits: Logits, total: float) -> None:
    for forest in batches:
        scores, rows = logits(model, forest)
        ids = torch.from_numpy(forest.target_id).to(scores.device)
        weights = torch.from_numpy(forest.target_weight).to(scores.device)
        step_loss(scores, ids, weights, total, rows=rows).backward()


def _time(model: Model, batches: Sequence[TokenForest], logits: Logits, total: float) -> float:
    device = next(model.parameters()).device
    _step(model, batches[:1], logits, total)  # warm-up
    _wait(device)
    start = time.perf_counter()
    _step(model, batches, logits, total)
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _flat_tokens(forest: TokenForest) -> int:
    """Tokens of the sequences that hold a trace flat: its root-to-leaf paths."""
    return sum(len(p) for p in forest.paths if forest.end[p[-1]] == p[-1] + 1)


def _report(what: str, tokens: int, rows: int, seconds: float) -> None:
    print(f"{what:24} {tokens:7} tokens forwarded {rows:6} logit rows {seconds:7.2f} s a step")


if __name__ == "__main__":
    main()
