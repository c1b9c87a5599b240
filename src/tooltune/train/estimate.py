"""What a run would do, without its weights: counts that are exact, and a memory estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tooltune.config.schema import Config
from tooltune.models.load import resolve_model
from tooltune.models.quiet import quiet_transformers
from tooltune.train.batches import MicroBatch, cost_model, pack, step_plan
from tooltune.train.data import RunData

_GIB = 1024**3
_BYTES = {"bfloat16": 2, "float32": 4}
# Floats that a transformer layer keeps per token for its backward pass, in units of hidden size:
# inputs and outputs of two norms, attention and MLP (Korthikanti et al., 2022, "Reducing
# Activation Recomputation in Large Transformer Models", eq. 2, without its score matrices).
_ACTIVATIONS_PER_LAYER = 17
_STEPS_PACKED = 200


def describe_run(config: Config, data: RunData) -> dict[str, Any]:
    """Findings of `tooltune check` as a JSON object; token counts are of one epoch."""
    lengths = data.train.forest_tokens
    longest = data.train.keys[int(lengths.argmax())]
    plan = step_plan(config, len(data.train))
    examples: dict[str, list[str]] = {}
    for rejection in data.ledger.rejections:
        where = f"{rejection.file}:{rejection.row} {rejection.reason}"
        examples.setdefault(rejection.code, []).append(where)
    return {
        "rows": {
            "read": data.rows_read,
            "accepted": data.rows_accepted,
            "rejected": dict(data.ledger.counts),
            "examples": {code: reasons[:10] for code, reasons in examples.items()},
            "counts": data.counts,
        },
        "train_traces": len(data.train),
        "held_out_traces": len(data.held_out),
        "eval_turns": len(data.samples),
        "template": data.renderer.profile.to_dict(),
        "tokens": {
            "forest": int(lengths.sum()),
            "flat": int(data.train.flat_tokens.sum()),
            "targets": int(data.train.targets.sum()),
            "per_trace": {
                "median": int(np.median(lengths)),
                "p95": int(np.percentile(lengths, 95)),
                "max": int(lengths.max()),
                "longest": str(longest.source or longest.id),
            },
        },
        "steps": {
            "total": plan.total_steps,
            "per_epoch": plan.steps_per_epoch,
            "global_batch_size": plan.global_batch_size,
        },
        "memory": _memory(config, _largest_batch(config, data)),
    }


def _largest_batch(config: Config, data: RunData) -> int:
    """Tokens of the largest micro-batch of the first epoch, or of `_STEPS_PACKED` of its steps."""
    plan = step_plan(config, len(data.train))
    cost = cost_model("cuda" if torch.cuda.is_available() else "cpu")
    sizes = [int(data.train.forest_tokens.max())]
    steps = min(plan.steps_per_epoch, plan.total_steps)
    for step in range(0, steps, -(-steps // _STEPS_PACKED)):
        rows = [data.train[i] for i in plan.traces(step)]
        batches: list[MicroBatch] = pack(
            rows, cost, max_traces=config.step_scheduler.local_batch_size
        )
        sizes += [len(batch.forest) for batch in batches]
    return max(sizes)


def _memory(config: Config, tokens: int) -> dict[str, float] | None:
    """GiB of weights, of masters with AdamW state and gradients, and of one batch's activations."""
    try:
        with quiet_transformers():
            model_config = AutoConfig.from_pretrained(
                resolve_model(config.model.pretrained_model_name_or_path)
            )
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(model_config)
    except (OSError, ValueError, KeyError):
        return None
    parameters = sum(p.numel() for p in model.parameters())
    text = model_config.get_text_config(decoder=True)
    trained = parameters
    if config.peft is not None:
        head = model.get_output_embeddings()
        trained = sum(
            config.peft.dim * (module.in_features + module.out_features)
            for module in model.modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        )
    width = _BYTES[config.model.dtype]
    layers = 1 if config.model.activation_checkpointing != "none" else text.num_hidden_layers
    kept = _ACTIVATIONS_PER_LAYER * layers * text.hidden_size + 2 * text.vocab_size
    weights = parameters * width / _GIB
    state = trained * (4 + 4 + 8) / _GIB  # fp32 master, gradient, two AdamW moments
    activations = tokens * kept * width / _GIB
    return {
        "weights_gib": weights,
        "training_state_gib": state,
        "activations_gib": activations,
        "total_gib": weights + state + activations,
    }
