"""How large a model is, told from its configuration: the formula, the table, and where to look."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from tests.models.families import family_model
from tooltune.errors import UserError
from tooltune.models import builtin
from tooltune.models.known_shapes import FAMILIES, KNOWN, known_shape, shape_of_facts
from tooltune.models.shapes import TABLE, ModelShape, count_shape, shape_of

# Parameters in the weight files, as huggingface.co shows them; tied weights counted once.
PUBLISHED = {
    "SmolLM2-135M": 134_515_008,
    "SmolLM2-360M": 361_821_120,
    "SmolLM2-1.7B": 1_711_376_384,
    "SmolLM3-3B": 3_075_098_624,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-3B": 3_085_938_688,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-14B": 14_770_033_664,
    "Qwen2.5-32B": 32_763_876_352,
    "Qwen2.5-72B": 72_706_203_648,
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3-4B": 4_022_468_096,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-14B": 14_768_307_200,
    "Qwen3-32B": 32_762_123_264,
    "Qwen3-30B-A3B": 30_532_122_624,
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.2-3B": 3_212_749_824,
    "Llama-3-8B": 8_030_261_248,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3-70B": 70_553_706_496,
    "Llama-3.1-70B": 70_553_706_496,
    "Llama-3.3-70B": 70_553_706_496,
    "Mistral-7B": 7_248_023_552,
    "Mistral-Nemo": 12_247_782_400,
    "Mistral-Small-24B": 23_572_403_200,
    "gemma-3-1b": 999_885_952,
    "gemma-3-4b": 4_300_079_472,
    "gemma-3-12b": 12_187_325_040,
    "gemma-3-27b": 27_432_406_640,
    "gpt-oss-20b": 20_914_757_184,
}
# "Number of parameters (non-embedding)" of the model cards, in billions.
WITHOUT_EMBEDDINGS = {
    "Qwen2.5-0.5B": 0.36,
    "Qwen2.5-1.5B": 1.31,
    "Qwen2.5-3B": 2.77,
    "Qwen2.5-7B": 6.53,
    "Qwen2.5-14B": 13.1,
    "Qwen2.5-32B": 31.0,
    "Qwen2.5-72B": 70.0,
    "Qwen3-0.6B": 0.44,
    "Qwen3-1.7B": 1.4,
    "Qwen3-4B": 3.6,
    "Qwen3-8B": 6.95,
    "Qwen3-14B": 13.2,
    "Qwen3-32B": 31.2,
    "Qwen3-30B-A3B": 29.9,
}
# Of the model cards: parameters that compute a token, in billions, without the input table.
ACTIVE = {"Qwen3-30B-A3B": 3.3, "gpt-oss-20b": 3.6}


def known(name: str) -> ModelShape:
    shape = known_shape(name)
    assert shape is not None
    return shape


def counted(facts: dict[str, Any]) -> ModelShape:
    return count_shape("", TABLE, AutoConfig.for_model(**facts))


def test_every_model_of_the_table_has_the_published_size() -> None:
    assert set(PUBLISHED) == set(KNOWN)
    for name, parameters in PUBLISHED.items():
        assert known(name).parameters == pytest.approx(parameters, rel=0.001), name


def test_the_body_has_the_published_size() -> None:
    for name, billions in WITHOUT_EMBEDDINGS.items():
        shape = known(name)
        assert (shape.parameters - shape.embeddings) / 1e9 == pytest.approx(billions, rel=0.02)


def test_the_experts_that_a_token_visits_have_the_published_size() -> None:
    for name, billions in ACTIVE.items():
        shape = known(name)
        table = shape.vocab * shape.hidden
        assert (shape.active - table) / 1e9 == pytest.approx(billions, rel=0.1), name


@st.composite
def small_facts(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration of any family in the formula, a few thousand parameters large."""
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    head_dim = 2 * draw(st.integers(2, 8))
    facts = {
        "model_type": draw(st.sampled_from(sorted(FAMILIES))),
        "hidden_size": 2 * heads * draw(st.integers(2, 8)),
        "intermediate_size": draw(st.integers(8, 64)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": draw(st.integers(16, 400)),
        "tie_word_embeddings": draw(st.booleans()),
        "pad_token_id": None,
    }
    if facts["model_type"] in ("qwen2", "smollm3"):  # their head_dim follows from the hidden size
        facts["hidden_size"] = heads * head_dim
    if facts["model_type"] == "qwen3_moe":
        facts |= {"num_experts": draw(st.integers(2, 6)), "num_experts_per_tok": 2}
        facts["moe_intermediate_size"] = draw(st.integers(8, 32))
    if facts["model_type"] == "gpt_oss":
        facts |= {"num_local_experts": draw(st.integers(2, 6)), "num_experts_per_tok": 2}
    return facts


@settings(max_examples=40, deadline=None)
@given(small_facts())
def test_the_formula_counts_what_transformers_builds(facts: dict[str, Any]) -> None:
    assert shape_of_facts("", facts) == counted(facts)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in KNOWN if n not in ("Llama-3-8B", "Llama-3-70B")])
def test_every_model_of_the_table_is_what_transformers_builds(name: str) -> None:
    assert shape_of_facts("", KNOWN[name]) == counted(KNOWN[name])


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "mixtral", "gpt_oss", "gemma3", "gpt2"])
def test_a_counted_shape_is_that_of_the_model_with_weights(family: str) -> None:
    model = family_model(family)
    shape = count_shape("", "", model.config)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert shape.layers == 3
    assert shape.hidden == 32
    assert shape.active <= shape.parameters
    assert (shape.active < shape.parameters) == (shape.active_experts < shape.experts)


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("Qwen/Qwen2.5-3B", "Qwen2.5-3B"),
        ("Qwen/Qwen2.5-3B-Instruct", "Qwen2.5-3B"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "Qwen2.5-7B"),
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen3-4B"),
        ("unsloth/Qwen3-30B-A3B-Thinking-2507", "Qwen3-30B-A3B"),
        ("meta-llama/Meta-Llama-3-8B", "Llama-3-8B"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Llama-3.3-70B"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "Mistral-7B"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "Mistral-Nemo"),
        ("google/gemma-3-4b-it", "gemma-3-4b"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("builtin:smollm2-135m-instruct", "SmolLM2-135M"),
    ],
)
def test_a_model_is_known_by_whatever_owner_and_tuning(name: str, known_as: str) -> None:
    assert replace(known(name), name="") == replace(known(known_as), name="")


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-4B", "me/my-model", "Qwen/Qwen2.5-3B-pruned", ""])
def test_other_names_are_not_guessed_at(name: str) -> None:
    assert known_shape(name) is None


def test_an_unknown_model_offline_is_refused_with_what_would_help() -> None:
    with pytest.raises(UserError, match="not known without") as caught:
        shape_of("me/my-model", offline=True)
    assert caught.value.fix is not None
    assert "Qwen2.5-3B" in caught.value.fix
    assert "folder" in caught.value.fix


def write_config(folder: Path, **facts: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def test_a_folder_is_counted_and_not_taken_for_what_it_is_called(tmp_path: Path) -> None:
    facts = {**KNOWN["Qwen2.5-0.5B"], "num_hidden_layers": 2}
    folder = write_config(tmp_path / "Qwen2.5-0.5B", **facts)
    shape = shape_of(folder, offline=True)
    assert shape.layers == 2
    assert str(folder) in shape.source


def test_a_downloaded_configuration_comes_before_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cache = tmp_path / "models--Qwen--Qwen2.5-0.5B"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    write_config(cache / "snapshots" / "abc", **{**KNOWN["Qwen2.5-0.5B"], "num_hidden_layers": 3})
    shape = shape_of("Qwen/Qwen2.5-0.5B", offline=True)
    assert shape.layers == 3
    assert "downloaded" in shape.source
    assert shape_of("Qwen/Qwen2.5-1.5B", offline=True).source == TABLE


def test_the_built_in_model_is_told_without_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "builtin_model", lambda name: pytest.fail("was made"))
    assert shape_of("builtin:smollm2-135m-instruct").parameters == PUBLISHED["SmolLM2-135M"]
    with pytest.raises(UserError, match="unknown built-in"):
        shape_of("builtin:gpt-5")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"model_type": "no_such_model"},
        {"model_type": "t5"},
        {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 3},
        {"model_type": "llama", "hidden_size": "wide"},
        {"model_type": "llama", "hidden_size": 0},
        {"model_type": "llama", "num_hidden_layers": 0},
    ],
)
def test_a_configuration_of_no_causal_model_is_one_error(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_config(tmp_path / "model", **facts)
    with pytest.raises(UserError) as caught:
        shape_of(folder)
    assert caught.value.fix is not None
