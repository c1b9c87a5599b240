"""The evaluator on objects of any make: what it asks of them, and how it counts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.render.strategies import simple_trace
from tooltune import ToolCallAccuracyEvaluator, make_agent_chat_eval_samples
from tooltune.errors import UserError

RIGHT = '<tool_call>\n{"name": "get_time", "arguments": {"city": "CITY"}}\n</tool_call>'
CITIES = ["Rome", "Oslo", "Lima", "Cairo"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "traces.jsonl"
    rows = [simple_trace(user=f"Time in {city}?", city=city).to_openai() for city in CITIES]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class LetterTokenizer:
    """Only what the contract promises to use: each character is a token."""

    def apply_chat_template(
        self, messages: Any, *, tools: Any, add_generation_prompt: bool, tokenize: bool
    ) -> str:
        assert add_generation_prompt
        assert not tokenize
        assert tools[0]["function"]["name"] == "get_time"
        return "".join(f"{m['role']}: {m['content']}\n" for m in messages)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: Any, *, skip_special_tokens: bool) -> str:
        assert not skip_special_tokens
        return "".join(chr(i) for i in ids)


class ScriptedModel:
    """Has `generate` alone, with exactly the reference's keywords."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def generate(
        self,
        *,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        max_new_tokens: int,
        do_sample: bool,
        pad_token_id: int,
    ) -> torch.Tensor:
        assert attention_mask.shape == input_ids.shape
        prompt = "".join(chr(i) for i in input_ids[0].tolist())
        text = self.answer(prompt)
        new = torch.tensor([[ord(c) for c in text]], dtype=torch.long)[:, :max_new_tokens]
        return torch.cat([input_ids, new], dim=1)


def city_of(prompt: str) -> str:
    return next(city for city in CITIES if city in prompt)


def answer_right(prompt: str) -> str:
    return RIGHT.replace("CITY", city_of(prompt))


def evaluate(data: Path, answer: Any, **options: Any) -> dict[str, float]:
    evaluator = ToolCallAccuracyEvaluator(path=data, **options)
    return evaluator.evaluate(ScriptedModel(answer), LetterTokenizer())


def test_a_model_that_calls_right_scores_one(data: Path) -> None:
    metrics = evaluate(data, answer_right)
    for key in ("accuracy", *ToolCallAccuracyEvaluator.METRIC_KEYS):
        assert metrics[f"tool_call/{key}"] == 1.0
    assert metrics["tool_call/_count"] == 4.0
    assert metrics["tool_call/_skipped"] == 0.0
    assert all(isinstance(value, float) for value in metrics.values())


def test_silence_scores_zero_and_still_counts(data: Path) -> None:
    metrics = evaluate(data, lambda prompt: "I do not know.")
    assert metrics["tool_call/accuracy"] == metrics["tool_call/has_call"] == 0.0
    assert metrics["tool_call/_count"] == 4.0


def test_an_extra_call_costs_the_headline_but_not_the_reference_keys(data: Path) -> None:
    metrics = evaluate(data, lambda prompt: answer_right(prompt) + answer_right(prompt))
    assert metrics["tool_call/args_exact_match"] == 1.0
    assert metrics["tool_call/accuracy"] == 0.0


def test_a_sample_whose_generation_fails_is_skipped_named_and_counted_as_wrong(data: Path) -> None:
    def answer(prompt: str) -> str:
        if city_of(prompt) == "Lima":
            raise RuntimeError("broken")
        return answer_right(prompt)

    metrics = evaluate(data, answer)
    assert metrics["tool_call/_count"] == 3.0
    assert metrics["tool_call/_skipped"] == 1.0
    assert metrics["tool_call/_skip_generate_error_RuntimeError"] == 1.0
    assert metrics["tool_call/accuracy"] == 0.75
    assert metrics["tool_call/name_correct"] == 1.0


def test_cuda_out_of_memory_ends_the_evaluation_unless_told_otherwise(data: Path) -> None:
    def answer(prompt: str) -> str:
        raise torch.cuda.OutOfMemoryError("full")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        evaluate(data, answer)
    metrics = evaluate(data, answer, raise_on_cuda_oom=False)
    assert metrics["tool_call/_skip_out_of_memory"] == 4.0
    assert all(metrics[f"tool_call/{key}"] == 0.0 for key in ToolCallAccuracyEvaluator.METRIC_KEYS)
    assert metrics["tool_call/accuracy"] == 0.0


def test_prompts_over_the_limit_are_skipped_and_counted(data: Path) -> None:
    metrics = evaluate(data, answer_right, max_prompt_tokens=len("user: Time in Rome?\n"))
    assert metrics["tool_call/_skip_prompt_too_long"] == 1.0  # Cairo has a letter more
    assert metrics["tool_call/accuracy"] == 0.75


def test_the_budget_of_new_tokens_is_kept(data: Path) -> None:
    assert evaluate(data, answer_right, max_new_tokens=10)["tool_call/accuracy"] == 0.0


def test_caps_prefix_and_shards(data: Path) -> None:
    assert evaluate(data, answer_right, max_eval_samples=3)["tool_call/_count"] == 3.0
    assert evaluate(data, answer_right, limit_dataset_samples=2)["tool_call/_count"] == 2.0
    assert evaluate(data, answer_right, metric_prefix="val/")["val/_count"] == 4.0
    counts = [
        evaluate(data, answer_right, sample_shard=(rank, 3))["tool_call/_count"]
        for rank in range(3)
    ]
    assert counts == [2.0, 1.0, 1.0]


def test_turns_that_should_not_call_are_scored_apart(data: Path) -> None:
    metrics = evaluate(data, lambda prompt: "Fine.", include_abstain=True)
    assert metrics["tool_call/abstain_accuracy"] == 1.0
    assert metrics["tool_call/accuracy"] == 0.0
    assert metrics["tool_call/balanced_accuracy"] == 0.5


def test_a_model_with_forward_alone_decodes_greedily(data: Path) -> None:
    script = RIGHT.replace("CITY", "Rome")

    class ForwardOnly:
        def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
            prompt = "".join(chr(i) for i in input_ids[0].tolist())
            done = prompt.partition("?\n")[2]
            nxt = script[len(done)] if len(done) < len(script) else " "
            logits = torch.zeros(1, input_ids.shape[1], 128)
            logits[0, -1, ord(nxt)] = 1.0
            return SimpleNamespace(logits=logits)

    evaluator = ToolCallAccuracyEvaluator(path=data, max_new_tokens=90, max_eval_samples=1)
    metrics = evaluator.evaluate(ForwardOnly(), LetterTokenizer())
    assert metrics["tool_call/accuracy"] == 1.0


def test_evaluation_draws_nothing_from_the_training_rng(data: Path) -> None:
    def answer(prompt: str) -> str:
        torch.rand(3)
        return answer_right(prompt)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    evaluate(data, answer, do_sample=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_exactly_one_source_is_wanted(data: Path) -> None:
    for source in ({}, {"path": data, "dataset_name": "a/b"}):
        with pytest.raises(UserError, match="one source"):
            ToolCallAccuracyEvaluator(**source)


def test_public_samples_hold_prompt_tools_and_ground_truth(data: Path) -> None:
    samples = make_agent_chat_eval_samples(path=data)
    assert [sample["turn_index"] for sample in samples] == [1, 1, 1, 1]
    sample = samples[0]
    assert list(sample) == [
        "prompt_messages",
        "tools",
        "gt_tool_calls",
        "example_id",
        "turn_index",
    ]
    assert sample["prompt_messages"] == [{"role": "user", "content": "Time in Rome?"}]
    assert sample["gt_tool_calls"] == [{"name": "get_time", "arguments": {"city": "Rome"}}]
    assert len(make_agent_chat_eval_samples(path=data, include_abstain=True)) == 12
    assert len(make_agent_chat_eval_samples(path=data, max_eval_samples=2)) == 2


def test_a_called_tool_that_the_row_does_not_list_can_still_be_called_right(
    tmp_path: Path,
) -> None:
    row = simple_trace(user="Time in Rome?").to_openai()
    row["tools"][0]["function"]["name"] = "other"
    path = tmp_path / "row.json"
    path.write_text(json.dumps([row]))

    class AnyTools(LetterTokenizer):
        def apply_chat_template(self, messages: Any, **_: Any) -> str:
            return "".join(f"{m['role']}: {m['content']}\n" for m in messages)

    evaluator = ToolCallAccuracyEvaluator(path=path)
    metrics = evaluator.evaluate(ScriptedModel(answer_right), AnyTools())
    assert metrics["tool_call/accuracy"] == 1.0
