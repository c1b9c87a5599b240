"""`tooltune demo`: the whole job on the built-in model and traces from simulated tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tooltune.cli.output import console, user_errors

HELP = """Fine-tune the built-in model on traces of simulated tools, and measure what it learnt.

Needs no GPU, no network and no data; takes about ten minutes on two CPU cores.

Examples:

  tooltune demo

  tooltune demo --out runs/another --seed 1"""

# Sized for two CPU cores: enough to learn from, and 80 turns and more to measure on.
_SIZES = {"train": 168, "held_out": 58, "unseen_tools": 20}


@user_errors
def command(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the traces and of the training.")] = 0,
) -> None:
    from tooltune.cli.train import run
    from tooltune.config.load import load_config

    data = _write_traces(out.with_name(f"{out.name}-data"), seed)
    console.print(
        f"[bold]tooltune demo[/]: LoRA on SmolLM2-135M-Instruct, {_SIZES['train']} traces of six "
        f"simulated tool worlds; measured on {_SIZES['held_out']} held-out traces of those worlds "
        f"and {_SIZES['unseen_tools']} of a world whose tools it never saw"
    )
    run(load_config(None, base=demo_config(data, out, seed)))


def demo_config(data: dict[str, Path], out: Path, seed: int) -> dict[str, Any]:
    """The demo's run, as a configuration that anyone could write in YAML."""
    return {
        "model": "builtin:smollm2-135m-instruct",
        "dataset": {"path": str(data["train"])},
        "validation_dataset": {"path": str(data["held_out"])},
        "tool_call_eval": {
            "max_eval_samples": 96,
            "max_new_tokens": 96,
            "extra_datasets": {"unseen_tools": {"path": str(data["unseen_tools"])}},
        },
        "step_scheduler": {"global_batch_size": 4, "num_epochs": 1},
        "optimizer": {"lr": 1.5e-3, "weight_decay": 0.0},
        "lr_scheduler": {"lr_warmup_steps": 3},
        "peft": {"dim": 16},
        "seed": seed,
        "output_dir": str(out),
    }


def _write_traces(directory: Path, seed: int) -> dict[str, Path]:
    from tooltune.worlds.generate import generate_traces, write_jsonl

    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for split, size in _SIZES.items():
        paths[split] = directory / f"{split}.jsonl"
        write_jsonl(generate_traces(size, seed=seed, split=split), paths[split])  # type: ignore[arg-type]
    return paths
