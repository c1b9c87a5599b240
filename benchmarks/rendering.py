"""Render + targets against TRL's tokenization of the same traces, one process, in one run.

    python benchmarks/rendering.py --data traces.jsonl --tokenizer Qwen/Qwen2.5-0.5B-Instruct
    python benchmarks/rendering.py                    # generated traces, the built-in tokenizer

Two sets: the rows of a file (generated stand-ins without one), and generated traces that share
about 2,000 tokens of tool schemas. TRL is measured twice: as its `SFTTrainer` prepares a data set
with `assistant_only_loss` (two `datasets.map` passes), and its template and mask alone, without
the data set around them. Ours is everything from a trace to labels, with all checks of each row.
Sides take turns, and each side's best time counts, so that other load on the machine hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
from trl.chat_template_utils import get_training_chat_template

from tooltune.models.load import load_tokenizer
from tooltune.render.sequences import flatten_turns
from tooltune.render.turns import Renderer, render_traces
from tooltune.traces.ledger import Ledger
from tooltune.traces.load import load_traces
from tooltune.traces.types import Trace
from tooltune.worlds.generate import generate_long_schema_traces, generate_traces

_SCHEMA_CHARACTERS = 8000  # about 2,000 tokens


def main() -> None:
    args = _arguments()
    datasets.disable_progress_bars()
    datasets.disable_caching()
    tokenizer = load_tokenizer(args.tokenizer, chat_template=args.chat_template)
    template = _training_template(tokenizer)
    sets = {
        args.data or "generated": list(load_traces(args.data, limit=args.rows))
        if args.data
        else generate_traces(args.rows, seed=0, split="train"),
        "shared schemas": generate_long_schema_traces(
            args.rows, seed=0, schema_chars=_SCHEMA_CHARACTERS
        ),
    }
    for name, traces in sets.items():
        _compare(name, traces, tokenizer, template, args.repeats)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="traces in any format that tooltune reads")
    parser.add_argument("--tokenizer", default="builtin:smollm2-135m-instruct")
    parser.add_argument("--chat-template", help="Jinja text or file instead of the tokenizer's")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _training_template(tokenizer: Any) -> str | None:
    """TRL's template with generation marks, or the tokenizer's own where TRL has none for it."""
    try:
        template: str | None = get_training_chat_template(tokenizer)
    except ValueError:
        print("TRL has no training template for this tokenizer: its own is used, without a mask")
        return None
    return template


def _compare(
    name: str, traces: Sequence[Trace], tokenizer: Any, template: str | None, repeats: int
) -> None:
    rows = [trace.to_openai() for trace in traces]
    plain = [{key: json.dumps(row.get(key)) for key in ("messages", "tools")} for row in rows]
    table = datasets.Dataset.from_list(plain)
    masked = template is not None

    def tokenize(messages: Any, tools: Any) -> dict[str, Any]:
        out = tokenizer.apply_chat_template(
            messages,
            tools=tools,
            chat_template=template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=masked,
        )
        masks = out["assistant_masks"] if masked else [1] * len(out["input_ids"])
        return {"input_ids": out["input_ids"], "assistant_masks": masks}

    def trl() -> None:
        table.map(
            lambda row: tokenize(json.loads(row["messages"]), json.loads(row["tools"])),
        ).map(lambda row: {"labels": _labels(row["input_ids"], row["assistant_masks"])})

    def alone() -> None:
        for row in rows:
            tokenize(row["messages"], row.get("tools"))

    renderers = [Renderer(tokenizer) for _ in range(repeats)]  # none remembers another's work
    unused = iter(renderers)

    def ours() -> None:
        renderer, ledger = next(unused), Ledger()
        rendered = render_traces(renderer, traces, ledger)
        assert not ledger.rejections, ledger.counts
        for row in rendered:
            flatten_turns(row.turns)

    best = _best_times([ours, trl, alone], repeats)
    turns = sum(len(trace.turns) for trace in traces)
    print(f"{name}: {len(traces)} rows, {turns} turns")
    for side, seconds in zip(("tooltune", "TRL", "TRL, no data set"), best, strict=True):
        print(f"  {side:18} {len(traces) / seconds:7.0f} rows/s")
    print(
        f"  tooltune is {best[1] / best[0]:.1f}x TRL, {best[2] / best[0]:.1f}x its template and "
        f"mask alone; {renderers[0].template.renders} template renders (2 a turn and the probe's), "
        f"{renderers[0].encoder.encoder_calls} encoder calls"
    )


def _labels(ids: Sequence[int], mask: Sequence[int]) -> list[int]:
    return [token if bit else -100 for token, bit in zip(ids, mask, strict=True)]


def _best_times(sides: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Least seconds of each side, the sides in turn."""
    best = [float("inf")] * len(sides)
    for _ in range(repeats):
        for i, side in enumerate(sides):
            start = time.perf_counter()
            side()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
