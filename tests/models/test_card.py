"""Model cards: metadata that the hub reads, text that says what the run did and nothing more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.train.tiny_run import save_tiny_model
from tooltune.models.base_card import BaseCard, describe_base
from tooltune.models.card import CardData, CardFacts, CardResult, model_card, write_model_card
from tooltune.render.spec import RenderSpec
from tooltune.toolcalls.parse import parse_turn
from tooltune.toolcalls.score import score_turn

FACTS = CardFacts(
    title="my run, step 90",
    base=BaseCard("Qwen/Qwen3-4B", hub_id="Qwen/Qwen3-4B", license="apache-2.0"),
    lora=True,
    training=(("Method", "LoRA, rank 16"),),
    losses=(0.9357, 0.1204),
    data=(
        CardData("train.jsonl", "training", sha256="9ca7d86337c49a97" + "0" * 48, size=502_200),
        CardData("owner/traces", "evaluation", hub_id="owner/traces"),
    ),
    counts={"train": 360, "held_out": 58, "read": 444, "rejected": 2},
    rejected={"no_targets": 2},
    call_format="hermes",
    results=(CardResult("held out", "accuracy", 92, 0.011, 0.663, (0.54, 0.759)),),
    versions={"tooltune": "0.1.0"},
)
SECRET = "hf_" + "b" * 34


def parts(text: str) -> tuple[dict[str, Any], str]:
    """Metadata and body, as the hub cuts them."""
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert isinstance(metadata, dict)
    return metadata, body


def markdown(body: str) -> list[Any]:
    """Every token of the body as a Markdown parser sees it, those inside lines too."""
    blocks = MarkdownIt("commonmark").enable("table").parse(body)
    return [*blocks, *(child for block in blocks for child in block.children or ())]


def test_the_hub_reads_the_metadata_as_it_was_meant(tmp_path: Path) -> None:
    card = ModelCard.load(write_model_card(tmp_path, FACTS))
    assert card.data.base_model == "Qwen/Qwen3-4B"
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.datasets == ["owner/traces"]
    assert {"tool-calling", "lora"} <= set(card.data.tags)
    assert card.data.to_dict()["base_model_relation"] == "finetune"


def test_an_adapter_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    text = write_model_card(tmp_path, FACTS).read_text()
    metadata, body = parts(text)
    assert metadata["library_name"] == "peft"
    assert metadata["base_model_relation"] == "adapter"
    assert "PeftModel.from_pretrained" in body


def test_a_base_that_is_not_on_the_hub_is_named_and_not_linked() -> None:
    metadata, body = parts(model_card(replace(FACTS, base=BaseCard("mine"))))
    assert "base_model" not in metadata
    assert "license" not in metadata
    assert "`mine`" in body
    assert "Look it up" in body


def test_results_stand_with_their_intervals_and_a_loss_of_quality_is_a_warning() -> None:
    worse = CardResult("held out", "abstain_accuracy", 92, 0.978, 0.804, (-0.265, -0.088))
    body = model_card(replace(FACTS, results=(*FACTS.results, worse)))
    assert "| 92 | 1.1 % | **66.3 %** | +65.2 [+54.0, +75.9] |" in body
    assert "worse than its base at turns that should not call a tool" in body
    assert "worse than its base" not in model_card(FACTS)
    assert "Few turns were measured" in model_card(FACTS)
    assert "Not measured" in model_card(replace(FACTS, results=()))


def test_what_the_card_says_of_cut_answers_is_how_they_are_scored() -> None:
    tools = [{"name": "f", "parameters": {"type": "object"}}]
    whole = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'

    def right(text: str, truth: list[dict[str, Any]]) -> bool:
        calls = parse_turn(text, format="hermes", tools=tools).calls
        return score_turn(calls, truth, tools).correct

    truth = [{"name": "f", "arguments": {}}]
    text = " ".join(model_card(FACTS).split())
    assert "an answer that was cut is judged by what there is of it" in text
    assert "a call that is not complete is wrong" in text
    assert right(whole + "\nand so", truth)
    assert not right(whole[:25], truth)
    assert not right("Let me", truth)
    assert not right(whole[:25], [])
    assert "with no call begun, a turn that should not call was left alone" in text
    assert right("Let me", [])
    assert "cut counts as wrong" not in text


@pytest.mark.parametrize(("limit", "shown"), [(4, 256), (256, 256), (1024, 1024)])
def test_the_snippet_has_room_for_a_call_whatever_the_evaluation_had(
    limit: int, shown: int
) -> None:
    text = model_card(replace(FACTS, max_new_tokens=limit))
    assert f"model.generate(**inputs, max_new_tokens={shown})" in text
    assert f"at most {limit} new tokens" in text


def test_held_out_rows_that_were_trained_on_are_told() -> None:
    assert "were not trained on" in model_card(FACTS)
    text = model_card(replace(FACTS, counts={**FACTS.counts, "overlap": 3}))
    assert "**3 of which" in text
    assert "were not trained on" not in text


def test_template_arguments_and_limits_of_the_prompts_are_told() -> None:
    render = RenderSpec(
        chat_template_kwargs={"enable_thinking": False},
        drop_history_reasoning_content=True,
        seq_length=2048,
        truncation=True,
    )
    text = model_card(replace(FACTS, render=render))
    assert "    enable_thinking=False,\n" in text
    assert "2,048 tokens" in text
    assert "no reasoning from before" in text


def test_secrets_are_scrubbed_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "very-secret-value")
    facts = replace(
        FACTS,
        title=f"run {SECRET}",
        data=(CardData("https://me:pass1234@host/very-secret-value.jsonl", "training"),),
    )
    text = model_card(facts)
    for secret in (SECRET, "very-secret-value", "pass1234"):
        assert secret not in text


nasty = st.text(max_size=30) | st.sampled_from(
    [
        "---\nlicense: mit",
        "\n# Heading",
        "a | b",
        "[x](javascript:1)",
        "`<img>`",
        "{{ 7 * 7 }}",
        "…",
    ]
)


@given(nasty, nasty, nasty)
def test_text_of_unknown_origin_stays_text(title: str, name: str, value: str) -> None:
    facts = replace(
        FACTS,
        title=title,
        base=BaseCard(name),
        data=(CardData(name, "training"),),
        training=(("Method", value),),
    )
    metadata, body = parts(model_card(facts))
    assert "license" not in metadata
    tokens = markdown(body)
    kinds = [token.type for token in tokens]
    assert kinds.count("heading_open") == 8, "a text made a heading of its own"
    assert not {"html_block", "html_inline", "image"} & set(kinds)
    links = {token.attrs["href"] for token in tokens if token.type == "link_open"}
    assert not links, "a text made a link"
    assert "49" not in body
    (row,) = [line for line in body.splitlines() if line.startswith("| Method")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_the_license_is_that_of_the_base_models_own_card(tmp_path: Path) -> None:
    head = "license: other\nlicense_name: my-license\nlicense_link: https://example.com/l"
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# Base\n")
    base = describe_base(str(tmp_path))
    assert (base.name, base.hub_id) == (tmp_path.name, None)
    assert (base.license, base.license_name) == ("other", "my-license")
    metadata, _ = parts(model_card(replace(FACTS, base=base)))
    assert metadata["license_link"] == "https://example.com/l"


@pytest.mark.parametrize(
    "card",
    [
        "",
        "# no metadata",
        "---\nlicense: [",
        "---\nlicense: {a: b}\n---\n",
        "---\nlicense: 'x\n# y'\n---\n",
        "---\nlicense: !!python/object/apply:os.system ['true']\n---\n",
        "---\n- a\n---\n",
    ],
)
def test_a_base_card_that_says_nothing_usable_gives_no_license(card: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card)
    assert describe_base(str(tmp_path)) == BaseCard(tmp_path.name)


def test_the_built_in_base_is_known_and_a_hub_that_does_not_answer_is_no_error() -> None:
    assert describe_base("builtin:smollm2-135m-instruct").license == "apache-2.0"
    unknown = describe_base("nobody/no-such-model")
    assert unknown == BaseCard("nobody/no-such-model", hub_id="nobody/no-such-model")


def test_the_hub_is_asked_once_and_only_where_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(url: str, **_: Any) -> Any:
        asked.append(url)
        return SimpleNamespace(status_code=200, text="---\nlicense: mit\n---\n# Base\n")

    monkeypatch.setattr("httpx2.get", get)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    assert describe_base("owner/asked").license is None
    assert asked == []
    for _ in range(2):
        assert describe_base("owner/asked", ask_hub=True).license == "mit"
    assert asked == ["https://huggingface.co/owner/asked/resolve/main/README.md"]
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert describe_base("owner/offline", ask_hub=True).license is None
    assert len(asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "adapter", "bare adapter"])
def test_the_snippet_runs_as_it_stands_in_a_python_without_tooltune(
    kind: str, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = save_tiny_model(tmp_path / "model", builtin_tokenizer)
    folder = model
    if kind != "model":
        beside = builtin_tokenizer if kind == "adapter" else None
        folder = save_tiny_adapter(model, tmp_path / "adapter", beside)
    facts = replace(FACTS, base=BaseCard(str(model)), max_new_tokens=3)
    text = write_model_card(folder, facts).read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "snippet.py"
    script.write_text("import sys\n" + code + "\nassert 'tooltune' not in sys.modules\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def save_tiny_adapter(model: Path, folder: Path, tokenizer: Any) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(str(folder))
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
        GenerationConfig(eos_token_id=[2]).save_pretrained(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2
    return folder
