"""A whole run in seconds: a tiny random Llama under the real built-in tokenizer and template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tooltune.config.load import load_config
from tooltune.config.schema import Config
from tooltune.worlds.generate import generate_traces, write_jsonl


def save_tiny_model(directory: Path, tokenizer: Any) -> Path:
    """Two layers of width 32 over the tokenizer's whole vocabulary, as a Hugging Face directory."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def write_traces(path: Path, n: int, split: str = "train") -> Path:
    write_jsonl(generate_traces(n, seed=0, split=split), path)  # type: ignore[arg-type]
    return path


def tiny_config(
    model: Path, data: Path, out: Path, /, *, dtype: str = "float32", **sections: Any
) -> Config:
    """8 traces, 2 held out, steps of 2; `sections` are merged over the defaults here."""
    base: dict[str, Any] = {
        "model": {"pretrained_model_name_or_path": str(model), "dtype": dtype},
        "dataset": {"path": str(data)},
        "validation_dataset": {"fraction": 0.25},
        "tool_call_eval": {"max_eval_samples": 3, "max_new_tokens": 4},
        "step_scheduler": {"global_batch_size": 2, "num_epochs": 2},
        "optimizer": {"lr": 1e-2},
        "output_dir": str(out),
    }
    for name, section in sections.items():
        merged = {**base.get(name, {}), **section} if isinstance(section, dict) else section
        base[name] = merged
    return load_config(None, base=base)


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = ("seconds", "tokens_per_second", "trained_tokens_per_second")
    return [{k: v for k, v in record.items() if k not in timed} for record in records]
