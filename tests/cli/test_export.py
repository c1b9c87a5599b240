"""`tooltune export`: folders that others load, by a command that says what went wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.command import next_commands, refused, succeeds, tooltune
from tests.cli.conftest import TinyRun
from tests.export.test_gguf import CONVERTER

PLAIN = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, base = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(base or folder)
if base:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, folder)
text = tokenizer.apply_chat_template(
    [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
)
ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
assert "tooltune" not in sys.modules
print(json.dumps(model(**ids).logits[0, -1, :50].tolist()))
"""


def plain_logits(folder: Path, base: str = "") -> torch.Tensor:
    """Logits of the folder's model in a Python that cannot import tooltune."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", PLAIN, str(folder), base]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout))


def record_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "export.json").read_text())
    return found


@pytest.fixture
def adapter_only(run: TinyRun, tmp_path: Path) -> Path:
    """The run's checkpoint after its merged copy was dropped, as of an older checkpoint."""
    from tooltune.train.checkpoints.store import CheckpointStore

    folder = Path(shutil.copytree(run.folder, tmp_path / "older", symlinks=True))
    store = CheckpointStore(folder / "checkpoints")
    store.drop(store.all()[-1].name, "model/consolidated")
    return folder


def test_a_run_becomes_a_folder_with_card_page_and_record(run: TinyRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = succeeds("export", run.folder, "--out", out, "--selftest", "auto")
    assert "equal to its manifest" in printed.out
    assert "self-test: the same calls" in printed.out
    assert "--tool-call-parser hermes" in printed.out
    assert next_commands(printed)[0] == f"cat {out}/SERVE.md"
    record = record_of(out)
    assert record["kind"] == "merged"
    assert record["made"] == "copied"
    assert record["source"]["step"] == 3
    assert record["source"]["verified"] is True
    assert record["selftest"]["passed"] is True
    assert record["selftest"]["prompts_of"] == "eval/final"
    assert set(record["files"]) == {p.name for p in out.iterdir()} - {"export.json"}
    for name in ("model.safetensors", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (run.model / name).read_bytes()


def test_nothing_in_an_export_names_a_path_of_this_machine(run: TinyRun, tmp_path: Path) -> None:
    for words in ([], ["--adapter"]):
        out = tmp_path / f"out{len(words)}"
        succeeds("export", run.folder, "--out", out, *words)
        for file in out.iterdir():
            if file.name != "adapter_config.json" and file.suffix in (".md", ".json", ".jinja"):
                assert str(run.folder.parent) not in file.read_text(), file.name


def test_the_card_has_the_results_that_the_run_has_by_now(run: TinyRun, tmp_path: Path) -> None:
    succeeds("export", run.folder, "--out", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    comparison = json.loads((run.folder / "comparison.json").read_text())
    turns = comparison["tool_call/accuracy"]["n"]
    assert (
        f"| held out | turns that should call: all calls right, none too many | {turns} |" in card
    )
    assert "run, step 3" in card


@pytest.mark.slow
def test_model_and_adapter_load_in_a_python_without_tooltune(
    run: TinyRun, model: Path, adapter_only: Path, tmp_path: Path
) -> None:
    merged, adapter, again = (tmp_path / name for name in ("merged", "adapter", "again"))
    succeeds("export", run.folder, "--out", merged)
    succeeds("export", run.folder, "--out", adapter, "--adapter")
    succeeds("export", adapter_only, "--out", again)
    expected = plain_logits(merged)
    torch.testing.assert_close(plain_logits(adapter, str(model)), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain_logits(again), expected)


def test_where_only_the_adapter_was_kept_it_is_merged_as_training_merged_it(
    run: TinyRun, adapter_only: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    printed = succeeds("export", adapter_only, "--out", out, "--selftest", "auto")
    assert "merged from adapter and base" in printed.out
    assert record_of(out)["made"] == "merged"
    ours, theirs = load_file(out / "model.safetensors"), load_file(run.model / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name in ("generation_config.json", "chat_template.jinja", "tooltune_render.json"):
        assert (out / name).read_text() == (run.model / name).read_text()


def test_an_adapter_brings_its_template_and_stops_also_without_a_merged_copy(
    run: TinyRun, adapter_only: Path, tmp_path: Path
) -> None:
    names = ["generation_config.json", "chat_template.jinja", "tooltune_render.json"]
    for folder, out in ((run.folder, tmp_path / "a"), (adapter_only, tmp_path / "b")):
        printed = succeeds("export", folder, "--out", out, "--adapter")
        assert "--enable-lora" in printed.out
        assert "--max-lora-rank 8" in printed.out, "rank 4 needs the next that vLLM knows"
        assert "tokenizer.json" in {path.name for path in out.iterdir()}
    for name in names:
        one, other = ((tmp_path / side / name).read_text() for side in "ab")
        assert json_or_text(one) == json_or_text(other)


def json_or_text(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return {k: v for k, v in value.items() if k != "transformers_version"}


def test_the_record_is_printed_as_json(run: TinyRun, tmp_path: Path) -> None:
    printed = succeeds("export", run.folder, "--out", tmp_path / "out", "--json")
    value = json.loads(printed.out)
    assert value.pop("folder") == str(tmp_path / "out")
    assert value == record_of(tmp_path / "out")


def test_a_self_test_that_finds_a_difference_ends_with_code_1_and_pushes_nothing(
    run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tooltune.export import same_calls

    def others(*_: Any, **__: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (1,), (5, 6)

    pushed: list[str] = []
    monkeypatch.setattr(same_calls, "_plainly", others)
    monkeypatch.setattr(same_calls, "parse_turn", every_answer_is_a_call)
    monkeypatch.setattr("tooltune.export.hub.push_export", lambda *_, **__: pushed.append("x"))
    out = tmp_path / "out"
    words = ("--selftest", "auto", "--max-samples", "2", "--push", "me/my")
    printed = tooltune("export", run.folder, "--out", out, *words)
    assert printed.code == 1
    assert "NOT the same" in printed.out
    assert "calls other tools" in printed.err
    assert record_of(out)["selftest"]["passed"] is False
    assert not pushed


def every_answer_is_a_call(text: str, **_: Any) -> Any:
    from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn

    return ParsedTurn(None, "", (ParsedToolCall(text),), "hermes")


def test_a_push_sends_the_folder_and_prints_no_token(
    run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    sent: list[tuple[str, Any]] = []
    token = "hf_" + "c" * 34
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(
        HfApi,
        "create_repo",
        lambda self, repo, **given: sent.append(("create", given)) or f"https://hub/{repo}",
    )
    monkeypatch.setattr(HfApi, "repo_info", lambda *_, **__: type("Info", (), {"private": True}))
    monkeypatch.setattr(
        HfApi, "upload_folder", lambda self, **given: sent.append(("folder", given))
    )
    out = tmp_path / "out"
    printed = succeeds("export", run.folder, "--out", out, "--push", "me/my")
    assert [kind for kind, _ in sent] == ["create", "folder"]
    assert sent[0][1]["private"] is True
    assert sent[1][1]["folder_path"] == str(out)
    assert "uploaded: https://hub/me/my" in printed.out
    assert token not in printed.out + printed.err


def test_gguf_is_made_where_the_converter_is_and_named_in_the_page(
    run: TinyRun, tmp_path: Path
) -> None:
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "convert_hf_to_gguf.py").write_text(CONVERTER)
    out = tmp_path / "out"
    words = ("--gguf", "q8_0", "--llama-cpp", tmp_path / "llama.cpp")
    printed = succeeds("export", run.folder, "--out", out, *words)
    assert (out / "run-Q8_0.gguf").read_text() == "GGUF q8_0"
    assert "run-Q8_0.gguf" in printed.out
    assert "llama-server -m run-Q8_0.gguf" in (out / "SERVE.md").read_text()
    assert record_of(out)["files"]["run-Q8_0.gguf"]["size"] == 9


def test_without_llama_cpp_the_commands_are_told_and_the_code_is_1(
    run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    out = tmp_path / "out"
    printed = tooltune("export", run.folder, "--out", out, "--gguf", "q4_k_m")
    assert printed.code == 1
    assert "git clone https://github.com/ggml-org/llama.cpp" in printed.err
    assert f"convert_hf_to_gguf.py {out}" in printed.err
    assert "was not made" in printed.err
    assert (out / "model.safetensors").is_file(), "the rest of the export is whole"


def test_a_template_of_no_known_syntax_must_be_named(run: TinyRun, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.model, tmp_path / "model"))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(
        template.replace("<tool_call>", "<<<")
        .replace("</tool_call>", ">>>")
        .replace('"name": ', '"do": ')
    )
    message = refused("export", folder, "--out", tmp_path / "out")
    assert "--family" in message
    assert not (tmp_path / "out").exists()
    succeeds("export", folder, "--out", tmp_path / "out", "--family", "none")
    assert "No parser is known" in (tmp_path / "out" / "SERVE.md").read_text()


def test_a_damaged_checkpoint_is_refused_by_the_name_of_its_file(
    run: TinyRun, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run", symlinks=True))
    file = folder / "checkpoints" / "LATEST" / "model" / "consolidated" / "model.safetensors"
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    message = refused("export", folder, "--out", tmp_path / "out")
    assert "model/consolidated/model.safetensors was altered" in message
    assert not (tmp_path / "out").exists()


def test_what_the_user_got_wrong_is_said_before_anything_is_written(
    run: TinyRun, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("x")
    wrong: list[tuple[str, tuple[str | Path, ...]]] = [
        ("not empty", (run.folder, "--out", full)),
        ("inside the checkpoint", (run.model, "--out", run.model / "out")),
        ("no such folder", (tmp_path / "gone", "--out", out)),
        ("not an adapter", (model, "--out", out, "--adapter")),
        ("leaves that out", (run.folder, "--out", out, "--adapter", "--gguf", "q8_0")),
        ("no type of GGUF", (run.folder, "--out", out, "--gguf", "q9")),
        ("--push", (run.folder, "--out", out, "--push", "not a repo")),
        ("--public", (run.folder, "--out", out, "--public")),
        ("no call syntax", (run.folder, "--out", out, "--family", "klingon")),
        ("belongs to no run", (model, "--out", out, "--selftest", "auto")),
        ("--llama-cpp", (run.folder, "--out", out, "--gguf", "f16", "--llama-cpp", out)),
    ]
    for words, given in wrong:
        assert words in refused("export", *given), given
        assert not out.exists()


def test_an_adapter_whose_base_moved_asks_for_it(
    adapter_only: Path, model: Path, tmp_path: Path
) -> None:
    config = adapter_only / "config.yaml"
    config.write_text(config.read_text().replace(str(model), "/gone/base"))
    message = refused("export", adapter_only, "--out", tmp_path / "out")
    assert "not at hand" in message
    assert "--base" in message
    succeeds("export", adapter_only, "--out", tmp_path / "out", "--base", model)
