"""The guide of the reference system, steps 1, 2, 5 and 6, with our imports and verbs.

The hub is out of reach of tests: its data set is three rows of the same form, its model a tiny
random one, so that every call is made and every file read, and nothing is said about quality.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import succeeds, write_rows
from tests.cli.conftest import TinyRun

STOCK_PRICE = {
    "name": "get_stock_price",
    "description": "Get the current stock price of a company",
    "parameters": {
        "type": "object",
        "properties": {"symbol": {"type": "string", "description": "Ticker symbol"}},
        "required": ["symbol"],
    },
}
TOOLS = [{"type": "function", "function": STOCK_PRICE}]
MESSAGES = [{"role": "user", "content": "What is the current price of Apple's stock?"}]


def glaive_row(company: str, symbol: str, price: float) -> dict[str, Any]:
    call = json.dumps({"name": "get_stock_price", "arguments": {"symbol": symbol}})
    return {
        "conversations": [
            {"from": "human", "value": f"What does a share of {company} cost?"},
            {"from": "function_call", "value": call},
            {"from": "observation", "value": json.dumps({"price": price})},
            {"from": "gpt", "value": f"A share of {company} costs ${price}."},
        ],
        "tools": json.dumps([STOCK_PRICE]),
    }


@pytest.fixture(scope="module")
def glaive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [glaive_row("Apple", "AAPL", 190.5), glaive_row("Nvidia", "NVDA", 900.25)]
    return write_rows(tmp_path_factory.mktemp("glaive") / "train.jsonl", *rows)


def test_step_1_the_data_set_gives_ids_labels_and_what_pads_them(glaive: Path, model: Path) -> None:
    from transformers import AutoTokenizer

    from tooltune import make_agent_chat_dataset

    tokenizer = AutoTokenizer.from_pretrained(model)
    dataset = make_agent_chat_dataset(
        tokenizer=tokenizer,
        path=str(glaive),
        split="train[:100]",
        seq_length=4096,
        truncation=True,
    )
    assert len(dataset) == 2
    item = dataset[0]
    assert list(item) == ["input_ids", "labels", "attention_mask", "___PAD_TOKEN_IDS___"]
    assert len(item["input_ids"]) == len(item["labels"]) == len(item["attention_mask"])
    trained = [label for label in item["labels"] if label != -100]
    assert 0.1 < len(trained) / len(item["labels"]) < 0.4
    assert tokenizer.decode(trained) == (
        '<tool_call>\n{"name": "get_stock_price", "arguments": {"symbol": "AAPL"}}\n</tool_call>'
        "<|im_end|>A share of Apple costs $190.5.<|im_end|>"
    )


def test_step_2_the_prompt_shows_the_tool_and_generation_is_greedy(model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tooltune import ToolCallAccuracyEvaluator, make_agent_chat_eval_samples, parse_tool_calls

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model)
    prompt = tokenizer.apply_chat_template(
        MESSAGES, tools=TOOLS, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert "get_stock_price" in tokenizer.decode(prompt["input_ids"][0])
    out = loaded.generate(**prompt, max_new_tokens=8, do_sample=False)
    again = loaded.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert out.tolist() == again.tolist()
    text = tokenizer.decode(out[0, prompt["input_ids"].shape[1] :])
    assert parse_tool_calls(text) == []
    assert callable(ToolCallAccuracyEvaluator)
    assert callable(make_agent_chat_eval_samples)


def test_step_2_the_evaluator_scores_the_same_prompts(glaive: Path, model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tooltune import ToolCallAccuracyEvaluator, make_agent_chat_eval_samples

    samples = make_agent_chat_eval_samples(path=str(glaive))
    assert [sample["gt_tool_calls"] for sample in samples] == [
        [{"name": "get_stock_price", "arguments": {"symbol": symbol}}]
        for symbol in ("AAPL", "NVDA")
    ]
    evaluator = ToolCallAccuracyEvaluator(
        path=str(glaive), max_eval_samples=128, max_new_tokens=4, max_prompt_tokens=3584
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    metrics = evaluator.evaluate(AutoModelForCausalLM.from_pretrained(model), tokenizer)
    assert metrics["tool_call/_count"] == 2
    for key in ("has_call", "name_correct", "args_json_valid", "args_exact_match"):
        assert metrics[f"tool_call/{key}"] == 0


# What a reader of the guide runs, in a Python that has no tooltune.
WITHOUT_TOOLTUNE = """
import json, sys
sys.modules["tooltune"] = None  # importing it raises
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, messages, tools = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
prompt = tokenizer.apply_chat_template(
    messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
out = model.generate(**prompt, max_new_tokens=16, do_sample=False)
new = out[0, prompt["input_ids"].shape[1]:]
print(json.dumps({
    "prompt": tokenizer.decode(prompt["input_ids"][0]),
    "new": new.tolist(),
    "stops": model.generation_config.eos_token_id,
    "end": tokenizer.convert_tokens_to_ids("<|im_end|>"),
}))
"""


def test_step_5_plain_transformers_load_the_checkpoint_and_stop_where_it_was_taught(
    run: TinyRun,
) -> None:
    folder = run.folder / "checkpoints" / "LOWEST_VAL" / "model" / "consolidated"
    words = [sys.executable, "-I", "-c", WITHOUT_TOOLTUNE, str(folder)]
    done = subprocess.run(
        [*words, json.dumps(MESSAGES), json.dumps(TOOLS)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "get_stock_price" in found["prompt"]
    assert found["prompt"].endswith("<|im_start|>assistant\n")
    stops = found["stops"] if isinstance(found["stops"], list) else [found["stops"]]
    assert found["end"] in stops
    assert len(found["new"]) == 16 or found["new"][-1] in stops


def test_step_5_the_prompt_is_the_one_that_was_trained(run: TinyRun, model: Path) -> None:
    from transformers import AutoTokenizer

    base, tuned = (AutoTokenizer.from_pretrained(folder) for folder in (model, run.model))
    assert base.apply_chat_template(
        MESSAGES, tools=TOOLS, add_generation_prompt=True, tokenize=False
    ) == tuned.apply_chat_template(
        MESSAGES, tools=TOOLS, add_generation_prompt=True, tokenize=False
    )


def test_step_6_base_and_tuned_stand_in_one_table(evaluations: tuple[Path, Path]) -> None:
    out = succeeds("compare", *evaluations).out
    head = next(line.split() for line in out.splitlines() if line.startswith("metric"))
    assert head[:4] == ["metric", "base", "tuned", "difference"]
    for metric in ("accuracy", "name_correct", "args_exact_match"):
        assert any(line.startswith(f"{metric} ") for line in out.splitlines())
