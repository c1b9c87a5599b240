"""Ways to generate: `pick_engine` says which one serves a model."""

from __future__ import annotations

import inspect
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from tooltune.evaluate.engines.hf import generate_batched
from tooltune.evaluate.engines.plain import generate_plain
from tooltune.evaluate.engines.types import (
    Counters,
    Generate,
    Generation,
    OnOutput,
    Progress,
    Request,
    Sampling,
)

__all__ = [
    "Counters",
    "Generate",
    "Generation",
    "OnOutput",
    "Progress",
    "Request",
    "Sampling",
    "generate_batched",
    "generate_plain",
    "pick_engine",
]


def pick_engine(model: Any) -> Generate:
    """Batched decoding with drafts for a real transformers decoder; plain for all else."""
    return generate_batched if _is_causal_lm(model) else generate_plain


def _is_causal_lm(model: Any) -> bool:
    """A transformers decoder, or a PeftModel around one, that can give the logits asked for.

    Prompt tuning puts virtual tokens before the prompt, which only its own `generate` knows of.
    """
    base = model
    if isinstance(model, PeftModel):
        if any(config.is_prompt_learning for config in model.peft_config.values()):
            return False
        base = model.get_base_model()
    if not isinstance(base, PreTrainedModel) or base.config.is_encoder_decoder:
        return False
    return "logits_to_keep" in inspect.signature(base.forward).parameters
