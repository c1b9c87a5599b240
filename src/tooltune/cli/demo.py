"""`tooltune demo`: the whole job on the built-in model and traces from simulated tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tooltune.cli.output import help_text, print_text, user_errors

if TYPE_CHECKING:
    from tooltune.traces.types import Trace

HELP = help_text(
    "Fine-tune the built-in model on traces of simulated tools, and measure what it learnt.",
    "tooltune demo",
    "tooltune demo --out runs/another --seed 1",
    remark="Needs no GPU, no network and no data; takes about twelve minutes on two CPU cores. Run "
    "again after an interruption, it resumes.",
)

# Sized for two CPU cores: enough to learn from, and 80 turns and more to measure on.
_SIZES = {"train": 360, "held_out": 58, "unseen_tools": 26}
_WORLDS = ("shop", "home", "travel")
_BATCH = 4


@user_errors
def command(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the run; its traces go to DIR-data.")
    ] = Path("runs/demo"),
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the traces and of the training.")
    ] = 0,
) -> None:
    from tooltune.cli.train import run
    from tooltune.config.load import load_config

    folder = out.with_name(f"{out.name}-data")
    data = {split: folder / f"{split}.jsonl" for split in _SIZES}
    config = load_config(None, base=demo_config(data, out, seed))
    _write_traces(data, seed)
    print_text(
        f"LoRA on SmolLM2-135M-Instruct, {_SIZES['train']} traces of three simulated tool worlds; "
        f"measured on {_SIZES['held_out']} held-out traces of those worlds and "
        f"{_SIZES['unseen_tools']} of a world whose tools it never saw"
    )
    run(config)


def demo_config(data: dict[str, Path], out: Path, seed: int) -> dict[str, Any]:
    """The demo's run, as a configuration that anyone could write in YAML."""
    return {
        "model": "builtin:smollm2-135m-instruct",
        # In the order of the file: each step trains on traces of one agent, which share a prefix.
        "dataset": {"path": str(data["train"]), "shuffle": False},
        "validation_dataset": {"path": str(data["held_out"])},
        "tool_call_eval": {
            "max_eval_samples": 96,
            "max_new_tokens": 96,
            "extra_datasets": {"unseen_tools": {"path": str(data["unseen_tools"])}},
        },
        "step_scheduler": {"global_batch_size": _BATCH, "num_epochs": 1},
        "optimizer": {"lr": 2e-3, "weight_decay": 0.0},
        "lr_scheduler": {"lr_warmup_steps": 3},
        "peft": {"dim": 16},
        "seed": seed,
        "output_dir": str(out),
    }


def _write_traces(data: dict[str, Path], seed: int) -> None:
    from tooltune.worlds.generate import generate_traces, write_jsonl
    from tooltune.worlds.pools import Side

    sides: tuple[Side, ...] = ("train", "held_out", "unseen_tools")
    for side in sides:
        path = data[side]
        path.parent.mkdir(parents=True, exist_ok=True)
        worlds = None if side == "unseen_tools" else _WORLDS
        traces = generate_traces(_SIZES[side], seed=seed, split=side, agents=True, worlds=worlds)
        write_jsonl(_by_agent(traces, seed) if side == "train" else traces, path)


def _by_agent(traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Shuffled batches of traces that have the same tools."""
    agents: dict[tuple[str, ...], list[Trace]] = {}
    for trace in traces:
        agents.setdefault(tuple(tool.name for tool in trace.tools), []).append(trace)
    batches = [
        some[i : i + _BATCH] for some in agents.values() for i in range(0, len(some), _BATCH)
    ]
    Random(seed).shuffle(batches)
    batches.sort(key=lambda batch: len(batch) < _BATCH)  # incomplete ones would shift all others
    return [trace for batch in batches for trace in batch]
