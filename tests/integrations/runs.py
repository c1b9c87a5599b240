"""Real `Trainer` runs in seconds: a tiny model, generated traces, the real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tests.train.tiny_run import save_tiny_model, write_traces
from tooltune import make_agent_chat_dataset


def tiny_files(folder: Path, tokenizer: Any) -> tuple[Path, Path]:
    """A model folder and a file of 8 traces."""
    return save_tiny_model(folder / "model", tokenizer), write_traces(folder / "traces.jsonl", 8)


def tiny_model(folder: Path, dropout: float = 0.0) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attention_dropout=dropout
    )


def tiny_trainer(
    model: Any,
    tokenizer: Any,
    traces: Path,
    out: Path,
    callbacks: list[TrainerCallback] | None = None,
    eval_dataset: Any = None,
    **arguments: Any,
) -> Trainer:
    """4 steps of 2 traces, evaluated every 2 steps; `arguments` go over these."""
    rows = make_agent_chat_dataset(tokenizer, path=traces)
    short = [{key: row[key][:24] for key in ("input_ids", "attention_mask")} for row in rows]
    short = [{**row, "labels": row["input_ids"]} for row in short]  # steps are quick, that is all
    base: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": 2,
        "max_steps": 4,
        "learning_rate": 1e-2,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return Trainer(
        model=model,
        args=TrainingArguments(**{**base, **arguments}),
        train_dataset=short,
        eval_dataset=short[:2] if eval_dataset is None else eval_dataset,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
        callbacks=callbacks,
    )


class Scripted:
    """Stands in for an evaluator: says what it is told to, evaluation after evaluation."""

    run_on_fsdp2 = True
    metric_prefix = "tool_call"
    sample_shard = None

    def __init__(self, *accuracies: float) -> None:
        self.accuracies = list(accuracies)
        self.asked = 0

    def evaluate(self, model: Any, tokenizer: Any) -> dict[str, float]:
        self.asked += 1
        return {"tool_call/accuracy": self.accuracies[min(self.asked, len(self.accuracies)) - 1]}


class Tracker(TrainerCallback):
    """What a tracker is told."""

    def __init__(self) -> None:
        self.logs: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        self.logs.append((state.global_step, dict(logs)))


def scores_of(trainer: Trainer) -> list[tuple[int, float]]:
    """(step, accuracy) of the entries of its log that have one."""
    return [
        (entry["step"], entry["eval_tool_call/accuracy"])
        for entry in trainer.state.log_history
        if "eval_tool_call/accuracy" in entry
    ]
