from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.tiny import tiny_model
from tooltune.errors import UserError
from tooltune.models.load import check_vocabulary, load_model, load_tokenizer, resolve_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_model("llama").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_local_directory_loads_in_the_type_that_was_asked_for(saved: Path) -> None:
    model = load_model(saved, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not model.training
    assert model.config._attn_implementation == "sdpa"


def test_a_hub_id_is_passed_on() -> None:
    assert resolve_model("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/no/such/model", "a/b/c"])
def test_a_missing_directory_is_named(name: str) -> None:
    with pytest.raises(UserError, match="no such directory"):
        resolve_model(name)


def test_a_hub_id_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for load in (load_tokenizer, load_model):
        with pytest.raises(UserError, match=r"no-such-owner/no-such-model(?s:.*)builtin:smollm2"):
            load("no-such-owner/no-such-model")


def test_a_directory_without_a_model_names_the_one_inside_it(saved: Path) -> None:
    with pytest.raises(UserError, match=f"did you mean {saved}"):
        resolve_model(saved.parent)


def test_an_adapter_is_not_taken_for_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="LoRA adapter"):
        resolve_model(tmp_path)


def test_weights_missing_from_the_files_are_an_error_not_random_numbers(saved: Path) -> None:
    file = saved / "model.safetensors"
    state = load_file(file)
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(saved)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt"])
def test_weights_that_are_pickles_are_never_opened(saved: Path, file: str) -> None:
    canary = saved / "executed"
    (saved / "model.safetensors").unlink()
    payload = b"cposix\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    (saved / file).write_bytes(payload)
    with pytest.raises(UserError, match=rf"pickle only \({file}\)(?s:.*)safetensors"):
        load_model(saved)
    # Beside safetensors they are not looked at.
    tiny_model("llama").save_pretrained(saved)
    assert load_model(saved).training is False
    assert not canary.exists()
    pickle.loads(payload)
    assert canary.exists(), "the canary does not sing"


def test_pickles_of_a_hub_model_are_neither_loaded_nor_converted_by_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def cached_file(name: str, filename: str, **_: Any) -> str | None:
        asked.append(filename)
        return None

    def convert(*_: Any, **__: Any) -> None:
        raise AssertionError("a conversion was asked for")

    config = tiny_model("llama").config

    def read_config(*_: Any, **options: Any) -> Any:
        kept = {k: options[k] for k in ("use_safetensors", "output_loading_info") if k in options}
        return config, kept

    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", read_config)
    for module in ("modeling_utils", "models.auto.auto_factory"):
        name = f"transformers.{module}.find_adapter_config_file"
        monkeypatch.setattr(name, lambda *_, **__: None, raising=False)
    monkeypatch.setattr("transformers.modeling_utils.cached_file", cached_file)
    monkeypatch.setattr("transformers.modeling_utils.auto_conversion", convert)
    with pytest.raises(UserError, match=r"(?s)model\.safetensors.*take a revision"):
        load_model("some-owner/pickled")
    assert asked
    assert not [name for name in asked if name.endswith(".bin")]


def test_a_broken_config_is_a_user_error(saved: Path) -> None:
    (saved / "config.json").write_text("{not json")
    with pytest.raises(UserError, match="cannot load the model"):
        load_model(saved)


def test_a_value_of_the_wrong_type_in_a_config_is_a_user_error_that_names_it(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "hidden_size": "wide"}))
    with pytest.raises(UserError, match="'hidden_size' expected int, got str") as raised:
        load_model(saved)
    assert "config.json is wrong" in str(raised.value)


def test_a_model_with_code_of_its_own_is_refused(saved: Path) -> None:
    (saved / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", '
        '"AutoModelForCausalLM": "evil.Model"}}'
    )
    (saved / "evil.py").write_text("raise SystemExit('this code must not run')")
    with pytest.raises(UserError, match="never run"):
        load_model(saved)


def test_a_tokenizer_without_a_template_names_the_key_to_set(
    saved: Path, builtin_tokenizer: Any, tmp_path: Path
) -> None:
    builtin_tokenizer.save_pretrained(saved)
    (saved / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="chat_template"):
        load_tokenizer(saved)
    assert load_tokenizer(saved, chat_template="{{ messages }}").chat_template == "{{ messages }}"
    file = tmp_path / "template.jinja"
    file.write_text("{{ tools }}")
    assert load_tokenizer(saved, chat_template=file).chat_template == "{{ tools }}"
    with pytest.raises(UserError, match="cannot read the chat template"):
        load_tokenizer(saved, chat_template=tmp_path / "absent.jinja")


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(builtin_tokenizer: Any) -> None:
    with pytest.raises(UserError, match="61 embedding rows"):
        check_vocabulary(tiny_model("llama"), builtin_tokenizer)


def test_loading_prints_nothing(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(saved)
    assert capfd.readouterr() == ("", "")
