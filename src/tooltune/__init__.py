"""tooltune: fine-tune open models on agent traces, and measure that they call tools right.

Names are imported on first use, so that `import tooltune` (and `tooltune --help`) loads no torch.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tooltune.evaluate.evaluator import ToolCallAccuracyEvaluator as ToolCallAccuracyEvaluator
    from tooltune.evaluate.samples import (
        make_agent_chat_eval_samples as make_agent_chat_eval_samples,
    )
    from tooltune.integrations.trainer import (
        ToolCallAccuracyCallback as ToolCallAccuracyCallback,
    )
    from tooltune.render.dataset import make_agent_chat_dataset as make_agent_chat_dataset
    from tooltune.toolcalls.parse import parse_tool_calls as parse_tool_calls
    from tooltune.toolcalls.score import compute_sample_metrics as compute_sample_metrics
    from tooltune.toolcalls.types import ParsedToolCall as ParsedToolCall
    from tooltune.traces.load import load_traces as load_traces
    from tooltune.traces.types import Trace as Trace

__version__ = "0.1.0"

# PEFT imports bitsandbytes wherever it is installed, and that says on some CPUs that a kernel
# could be fetched from the hub: nothing that is used here.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

_HOMES = {
    "ParsedToolCall": "tooltune.toolcalls.types",
    "ToolCallAccuracyCallback": "tooltune.integrations.trainer",
    "ToolCallAccuracyEvaluator": "tooltune.evaluate.evaluator",
    "Trace": "tooltune.traces.types",
    "compute_sample_metrics": "tooltune.toolcalls.score",
    "load_traces": "tooltune.traces.load",
    "make_agent_chat_dataset": "tooltune.render.dataset",
    "make_agent_chat_eval_samples": "tooltune.evaluate.samples",
    "parse_tool_calls": "tooltune.toolcalls.parse",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tooltune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
