"""What a run would do, without its weights: counts that are exact. `scale.py` has the estimates."""

from __future__ import annotations

from typing import Any

import numpy as np

from tooltune.config.schema import Config
from tooltune.train.batches import step_plan
from tooltune.train.data import RunData


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
    }
