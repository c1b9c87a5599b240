"""`tooltune check`: what a run needs on GPUs, from data and, without any, from a model's shape."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import next_commands, refused, succeeds
from tooltune.cli import scale
from tooltune.train import data as run_data

ROOT = Path(__file__).parents[2]
FULL = ROOT / "examples" / "qwen2_5_3b_function_calling.yaml"
LORA = ROOT / "examples" / "qwen2_5_3b_function_calling_lora.yaml"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No connection, no cache of the hub, no data: whoever asks for one fails the test."""

    def connect(*_: Any) -> None:
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(run_data, "prepare_data", lambda *_, **__: pytest.fail("data were read"))
    monkeypatch.setenv("TOOLTUNE_CACHE", str(tmp_path / "cache"))


def memory(*words: str | Path) -> dict[str, Any]:
    found = json.loads(succeeds("check", *words, "--json").out)["memory"]
    assert isinstance(found, dict)
    return found


@pytest.mark.usefixtures("no_network")
def test_the_examples_are_planned_for_one_and_eight_gpus_from_nothing() -> None:
    full = succeeds("check", FULL, "--offline-shapes").out
    assert "Qwen/Qwen2.5-3B: 3.09 B parameters, all trained; 36 layers of 2,048" in full
    assert (
        "a micro-batch of 4,096 tokens, 1,024 of them targets: one trace of an assumed length"
        in full
    )
    assert "1 GPU" in full
    assert "8 GPUs" in full
    for row in ("weights", "AdamW moments", "gathered blocks", "activations", "in all"):
        assert row in full
    assert "estimate" in full
    lora = succeeds("check", LORA, "--offline-shapes").out
    assert "29.9 M trained" in lora


@pytest.mark.usefixtures("no_network")
def test_the_same_is_json_for_programs() -> None:
    found = memory(FULL, "--offline-shapes")
    one, eight = found["gpus"]
    assert (one["gpus"], eight["gpus"]) == (1, 8)
    assert one["total_gib"] == pytest.approx(sum(one["items_gib"].values()), abs=0.05)
    assert 70 < one["total_gib"] < 80
    assert 25 < eight["total_gib"] < 40
    assert eight["layout"] == "sharded over 8 (FSDP2)"
    assert one["fits"] == {"24 GB": False, "80 GB": True, "141 GB": True}
    assert found["model"]["parameters"] == 3_085_938_688
    low, high = eight["tokens_per_second"]["H100"]
    assert 0 < low < high


@pytest.mark.usefixtures("no_network")
def test_numbers_of_gpus_and_overrides_are_taken() -> None:
    length = ("--dataset.seq_length=8192", "--dataset.filter_overlong=true")
    found = memory(FULL, "--offline-shapes", "--gpus", "16,2", *length)
    assert [one["gpus"] for one in found["gpus"]] == [2, 16]
    assert found["micro_batch"]["tokens"] == 8192
    assert "seq_length" in found["micro_batch"]["why"]


@pytest.mark.usefixtures("no_network")
def test_what_does_not_fit_comes_with_what_would() -> None:
    printed = succeeds("check", FULL, "--offline-shapes", "--model=meta-llama/Llama-3.1-8B").out
    assert re.search(r"fits 80 GB +no +to [\d,]+ tokens", printed)
    assert "to fit    1 GPU of 80 GB, one of:" in printed
    assert "--peft.dim=16: " in printed
    assert "--nproc-per-node 4" in printed


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("gpus", ["0", "-1", "eight", "1,,x", "", "1.5", "10000000"])
def test_a_number_that_is_none_is_refused(gpus: str) -> None:
    assert "--gpus 1,8" in refused("check", FULL, "--offline-shapes", "--gpus", gpus)


def test_numbers_that_are_none_are_refused_before_the_data_are_read(config: Path) -> None:
    said = refused("check", config, "--gpus", "0,x")
    assert said.splitlines()[0].startswith("error: --gpus '0,x'")


def test_columns_stand_apart_however_wide_their_numbers_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def estimate(gpus: int, speed: float) -> dict[str, Any]:
        return {
            "gpus": gpus,
            "items_gib": {"weights": 1.0},
            "total_gib": 1.0,
            "fits": {"80 GB": True},
            "tokens_that_fit": {"80 GB": 1_000_000_000_000},
            "tokens_per_second": {"H100": (speed, 3 * speed)},
            "host_gib": 1.0,
        }

    for speed in (1.0, 8e6, 8e11):
        scale._print_table([estimate(1, speed), estimate(8, 8 * speed), estimate(64, 64 * speed)])
        lines = capsys.readouterr().out.splitlines()
        assert len({len(line) for line in lines}) == 1  # columns end where those above end
        for line in lines[1:]:
            assert len(re.split(" {2,}", line.strip())) == 4, line


@pytest.mark.usefixtures("no_network")
def test_a_mesh_that_is_asked_for_and_impossible_is_refused() -> None:
    words = ("check", FULL, "--offline-shapes", "--distributed.dp_replicate_size=4")
    assert "dp_replicate_size" in refused(*words, "--gpus", "6")
    some = succeeds(*words, "--gpus", "6,8").out
    assert "cannot    6 GPUs: " in some
    assert "4 copies, each over 2 GPUs (HSDP)" in some
    none = succeeds("check", FULL, "--offline-shapes", "--distributed.strategy=none").out
    assert "cannot    8 GPUs: distributed.strategy is none" in none
    assert "fix: " in none


@pytest.mark.usefixtures("no_network")
def test_gpus_without_work_are_told() -> None:
    words = ("check", FULL, "--offline-shapes", "--step_scheduler.global_batch_size=4")
    assert "idle      8 GPUs: a step has fewer traces" in succeeds(*words).out


@pytest.mark.usefixtures("no_network")
def test_an_unknown_model_is_refused_with_what_would_help() -> None:
    said = refused("check", FULL, "--offline-shapes", "--model=me/my-model")
    assert "me/my-model" in said
    assert "Qwen2.5-3B" in said


@pytest.mark.usefixtures("no_network")
def test_what_needs_data_does_not_go_with_it(tmp_path: Path) -> None:
    for option, value in (("--html", "page.html"), ("--fix", "a.jsonl"), ("--redact", "b.jsonl")):
        said = refused("check", FULL, "--offline-shapes", option, tmp_path / value)
        assert option in said
    data = tmp_path / "traces.jsonl"
    data.write_text("{}\n")
    assert "--model" in refused("check", data, "--offline-shapes")
    assert "--model" in refused("check", data, "--gpus", "1,8")


def test_with_data_the_longest_trace_and_the_whole_run_are_planned(config: Path) -> None:
    printed = succeeds("check", config).out
    assert "the longest trace alone" in printed
    assert "tokens, evaluation apart, on H100s (estimate)" in printed
    found = json.loads(succeeds("check", config, "--json").out)
    assert found["memory"]["micro_batch"]["tokens"] == found["tokens"]["per_trace"]["max"]
    assert found["memory"]["total_tokens"] == found["tokens"]["forest"]
    assert "config.json" in found["memory"]["model"]["source"]


@pytest.mark.usefixtures("no_network")
def test_what_it_proposes_is_the_check_with_data() -> None:
    (command,) = next_commands(succeeds("check", FULL, "--offline-shapes", "--peft.dim=8"))
    assert command == f"tooltune check {FULL} --peft.dim=8"
