"""Make run folders for report tests: small, seeded, in the shapes that a real run writes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooltune.evaluate.breakdown import breakdown

Row = dict[str, Any]

CITIES = ["Zürich", "Lima", "Osaka", "Accra", "Perth", "Quito"]
TOOLS: list[Row] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city for some days.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                    "days": {"type": "integer"},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "find_train", "description": "", "parameters": {}}},
]


@dataclass(frozen=True)
class Run:
    """A fabricated run folder and what is true of it."""

    folder: Path
    base: list[Row]
    tuned: list[Row]
    comparison: Row

    def count(self, before: bool, after: bool) -> int:
        """Samples whose verdict was `before` at base and `after` when tuned."""
        pairs = zip(self.base, self.tuned, strict=True)
        return sum((correct(b), correct(t)) == (before, after) for b, t in pairs)


def correct(sample: Row) -> bool:
    return bool(sample["verdict"]["correct"])


def call_text(call: Row) -> str:
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call><|im_end|>"


def sample_pair(index: int, rng: random.Random) -> tuple[Row, Row]:
    """One evaluated turn by the base and by the tuned model."""
    city = CITIES[index % len(CITIES)]
    truth = {"name": "get_weather", "arguments": {"city": city, "unit": "C", "days": 3}}
    abstain = index % 7 == 6
    question = f"What will the weather be in {city} for the next three days? (request {index})"
    messages = [
        {"role": "system", "content": "You are a helpful assistant with access to tools."},
        {"role": "user", "content": "Hello, can you help me plan a trip?"},
        {"role": "assistant", "content": "Of course. Where do you want to go?"},
        {"role": "user", "content": "Thanks for all this!" if abstain else question},
    ]
    shared = {
        "sample_id": f"trace-{index // 2}/{2 * (index % 2) + 3}",
        "example_id": f"trace-{index // 2}",
        "turn_index": 2 * (index % 2) + 3,
        "group": f"trace-{index // 2}",
        "dataset": "unseen_tools" if index % 10 == 9 else "held_out",
        "kind": "abstain" if abstain else "call",
        "prompt_id": f"{index:016x}",
        "prompt_tokens": 200 + index,
        "prompt_messages": messages,
        "tools": TOOLS,
        "gt_tool_calls": [] if abstain else [truth],
        "gt_text": "You are welcome!<|im_end|>" if abstain else call_text(truth),
        "token_ids": [1, 2, 3],
        "skip_reason": None,
        "teacher_forced_exact": None,
    }
    base_right, tuned_right = rng.random() < 0.15, rng.random() < 0.8
    return (
        {**shared, **_answer(abstain, base_right, truth, weak=True)},
        {**shared, **_answer(abstain, tuned_right, truth, weak=False)},
    )


def _answer(abstain: bool, right: bool, truth: Row, *, weak: bool) -> Row:
    calls: list[Row] = []
    reasons: list[str] = []
    text = "You are welcome! Have a good trip.<|im_end|>"
    outcome = "abstained"
    if not right if abstain else right or not weak:
        given: Row = dict(truth["arguments"])
        if not right:
            given = {"city": given["city"].lower(), "days": 3, "hourly": True}
            reasons = ["extra_call"] if abstain else ["missing_argument", "wrong_value"]
        made = {"name": truth["name"], "arguments": given}
        text, outcome = call_text(made), "call"
        raw = text.removesuffix("<|im_end|>")
        calls = [{**made, "status": "ok", "raw": raw, "span": [0, len(raw)]}]
    elif not right:
        text = "The weather in the city is sunny, with a high of 25 degrees.\n" * 6
        reasons = ["no_call"]
    return {
        "text": text,
        "calls": calls,
        "finish_reason": "length" if weak and not right else "stop",
        "verdict": {"correct": right, "outcome": outcome, "reasons": reasons, "scores": {}},
    }


def entry(base: float, tuned: float, margin: float = 0.08) -> Row:
    difference = tuned - base
    return {
        "base": base,
        "tuned": tuned,
        "difference": difference,
        "ci95": [difference - margin, difference + margin],
        "n": 92,
    }


def comparison_of(base: list[Row], tuned: list[Row]) -> Row:
    """A comparison whose accuracy and flips are those of the samples; the rest is made up."""
    held_out = [
        (correct(b), correct(t))
        for b, t in zip(base, tuned, strict=True)
        if b["dataset"] == "held_out" and b["kind"] == "call"
    ]
    n = max(1, len(held_out))
    before, after = sum(b for b, _ in held_out) / n, sum(t for _, t in held_out) / n
    accuracy = {
        **entry(before, after),
        "mcnemar_p": 3.2e-11,
        "base_only": sum(b and not t for b, t in held_out),
        "tuned_only": sum(t and not b for b, t in held_out),
        "base_ci95": [max(0.0, before - 0.07), before + 0.07],
        "tuned_ci95": [after - 0.09, min(1.0, after + 0.07)],
    }
    return {
        "tool_call/accuracy": accuracy,
        "tool_call/abstain_accuracy": entry(0.21, 0.93),
        "tool_call/balanced_accuracy": entry(0.18, 0.87),
        "tool_call/has_call": entry(0.2, 0.97),
        "tool_call/args_field_recall": entry(0.15, 0.9),
        "tool_call/malformed_rate": entry(0.3, 0.02),
        "tool_call/name_correct": entry(0.5, 0.52),
        "n_samples": sum(row["dataset"] == "held_out" for row in base),
        "n_call_turns": len(held_out),
        "n_traces": len({row["example_id"] for row in base}),
        "base_name": "builtin:smollm2-135m-instruct",
        "tuned_name": "runs/demo/checkpoints/BEST_TOOL_CALL/model/consolidated",
        "datasets": {"unseen_tools": {"tool_call/accuracy": entry(0.0, 0.44, 0.2)}},
    }


def log_rows(steps: int = 60) -> list[Row]:
    rng = random.Random(5)
    rows: list[Row] = []
    for step in range(1, steps + 1):
        rows.append(
            {
                "step": step,
                "epoch": 0,
                "kind": "train",
                "loss": 2.2 * 0.95**step + 0.2 + rng.random() * 0.1,
                "lr": 1e-3,
                "grad_norm": 0.8,
                "tokens": 4000,
                "trained_tokens": 1000,
                "tokens_per_second": 900.0,
                "seconds": 4.4,
            }
        )
    for step in range(0, steps + 1, 20):
        rows.append({"step": step, "epoch": 0, "kind": "val", "loss": 2.1 * 0.96**step + 0.25})
        rows.append(
            {
                "step": step,
                "epoch": 0,
                "kind": "tool_call",
                "tool_call/accuracy": min(0.8, 0.1 + step / 70),
                "tool_call/abstain_accuracy": min(0.93, 0.21 + step / 60),
                "tool_call/unseen_tools/accuracy": min(0.44, step / 100),
            }
        )
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def fabricate_run(folder: Path, n: int = 40, change: Callable[[Row], Row] = lambda row: row) -> Run:
    """Write a complete run of `n` samples; `change` may rewrite each sample first."""
    rng = random.Random(1)
    pairs = [sample_pair(index, rng) for index in range(n)]
    base = [change(b) for b, _ in pairs]
    tuned = [change(t) for _, t in pairs]
    comparison = comparison_of(base, tuned)
    write_rows(folder / "eval/step_0/samples.jsonl", base)
    write_rows(folder / "eval/final/samples.jsonl", tuned)
    for tag, side, records in (("step_0", "base", base), ("final", "tuned", tuned)):
        metrics = {"model": comparison[f"{side}_name"], "n_samples": n, "n_traces": n // 2}
        metrics |= {k: v[side] for k, v in comparison.items() if k.startswith("tool_call/")}
        metrics["tool_call/unseen_tools/accuracy"] = 0.25
        metrics |= {"tool_call/_count": 40, "tool_call/_skipped": 1}
        main = [record for record in records if record["dataset"] == "held_out"]
        metrics["breakdown"] = breakdown(main or records)
        (folder / f"eval/{tag}/metrics.json").write_text(json.dumps(metrics))
    (folder / "comparison.json").write_text(json.dumps(comparison))
    write_rows(folder / "metrics.jsonl", log_rows())
    (folder / "config.yaml").write_text("model: builtin:smollm2-135m-instruct\npeft: {dim: 16}\n")
    (folder / "environment.json").write_text(
        json.dumps({"packages": {"torch": "2.13.0"}, "rows": {"read": 303, "accepted": 300}})
    )
    write_rows(
        folder / "ledger.jsonl",
        [
            {"file": "a.json", "row": 4, "code": "no_assistant_turn", "reason": "nothing to learn"},
            {"file": "a.json", "row": 9, "code": "unknown_role", "reason": "role 'narrator'"},
            {"file": "a.json", "row": 11, "code": "unknown_role", "reason": "role 'critic'"},
        ],
    )
    split = {"n_train": 280, "n_held_out": 2, "held_out": ["trace-0", "trace-1"]}
    (folder / "split.json").write_text(json.dumps(split))
    return Run(folder, base, tuned, comparison)
