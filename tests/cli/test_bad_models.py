"""Models, tokenizers and templates that do not fit: what is wrong, where, and what to give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import refused, succeeds
from tests.cli.conftest import TinyRun

# Renders text turns well, and says nothing of tools, calls or results.
IGNORES_TOOLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder, to be damaged."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "plain.jinja"
    path.write_text(IGNORES_TOOLS)
    return path


@pytest.mark.parametrize("verb", ["check", "preview", "eval", "train"])
def test_a_template_that_ignores_tools_is_refused_by_name(
    verb: str, model: Path, data: Path, config: Path, template: Path, tmp_path: Path
) -> None:
    if verb == "eval":
        words = ["eval", "--model", model, "--data", data, "--chat-template", template]
    else:
        words = [verb, config, f"--model.chat_template={template}"]
    said = refused(*words)
    assert "template_ignores_tools" in said
    assert "does not render `tools`" in said
    assert not (tmp_path / "run").exists()


def test_a_template_file_is_used_as_the_tokenizers_own_would_be(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """Its text, and not its path, is what is rendered."""
    own = (model / "chat_template.jinja").read_text()
    path = tmp_path / "loud.jinja"
    path.write_text(own.replace("Tools that you can call:", "TOOLS THAT YOU CAN CALL:"))
    words = [data, "--model", model, "--row", "1"]
    quiet, loud = succeeds("preview", *words), succeeds("preview", *words, "--chat-template", path)
    assert "TOOLS THAT YOU CAN CALL:" in loud.out
    assert quiet.out.split("<tool_call>", 1)[1].split("next:")[0] in loud.out


def test_an_unreadable_template_is_named(model: Path, data: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.jinja"
    said = refused("preview", data, "--model", model, "--chat-template", missing)
    assert f"cannot read the chat template {missing}" in said


def test_a_template_that_raises_says_what_it_said(model: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.jinja"
    path.write_text("{{ raise_exception('only for poets') }}")
    said = refused("check", data, "--model", model, f"--model.chat_template={path}")
    assert "only for poets" in said


def test_a_tokenizer_without_template_is_refused(copy: Path, data: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    said = refused("check", data, "--model", copy)
    assert "no chat template" in said
    assert "Jinja file" in said


@pytest.mark.parametrize("verb", ["eval", "train"])
def test_a_vocabulary_larger_than_the_model_is_refused(
    verb: str, copy: Path, data: Path, config: Path
) -> None:
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    added = dict(tokenizer["added_tokens"][-1], id=49_999, content="<|extra|>")
    tokenizer["added_tokens"].append(added)
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    words = ["eval", "--model", copy, "--data", data]
    said = refused(*(words if verb == "eval" else ["train", config, f"--model={copy}"]))
    assert "embedding rows" in said
    assert "use the tokenizer that belongs to this model" in said


def test_weights_that_lack_a_part_are_refused_not_filled_with_noise(copy: Path, data: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "lack model.norm.weight" in refused("eval", "--model", copy, "--data", data)


def test_a_hub_model_while_offline_says_what_to_do_instead(data: Path, config: Path) -> None:
    for words in (
        ["check", data, "--model", "nobody/nothing"],
        ["eval", "--data", data, "--model", "nobody/nothing"],
        ["train", config, "--model=nobody/nothing"],
    ):
        said = refused(*words)
        assert "nobody/nothing" in said
        assert "download it and give its directory" in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("builtin:gpt-9", "builtin:smollm2-135m-instruct"),
        ("./no/such/folder", "no such directory"),
        ("what is this?", "no such directory"),
    ],
)
def test_a_name_that_is_no_model_is_refused(data: Path, name: str, message: str) -> None:
    assert message in refused("check", data, "--model", name)


def test_a_lora_adapter_names_the_merged_model_beside_it(run: TinyRun, data: Path) -> None:
    adapter = run.model.parent / "adapter"
    said = refused("eval", "--model", adapter, "--data", data)
    assert "is a LoRA adapter" in said
    assert "model/consolidated" in said


def test_the_folder_of_a_run_names_the_model_in_it(run: TinyRun, data: Path) -> None:
    assert f"did you mean {run.model}?" in refused("eval", "--model", run.folder, "--data", data)


def test_data_without_a_model_asks_for_one(data: Path) -> None:
    said = refused("preview", data)
    assert f"tooltune preview {data} --model builtin:smollm2-135m-instruct" in said


def test_template_arguments_that_are_no_object_are_refused(model: Path, data: Path) -> None:
    for text in ("enable_thinking", "[1]"):
        words = ["eval", "--model", model, "--data", data, "--chat-template-kwargs", text]
        assert "is no JSON object" in refused(*words)
