"""A real checkpoint, file by file: bits that flip, and pickles that nobody may run."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.cli.command import refused, succeeds, tooltune
from tests.train.checkpoints.canary import KINDS, raw
from tests.train.checkpoints.disks import small_disk
from tests.train.tiny_run import save_tiny_model, tiny_config, write_traces
from tooltune.config.load import load_config
from tooltune.errors import UserError
from tooltune.models.load import load_model, load_tokenizer
from tooltune.train.checkpoints.state import load_training_tensors
from tooltune.train.checkpoints.store import LATEST, CheckpointStore, verify
from tooltune.train.recipe import train

CONSOLIDATED = "model/consolidated"
FILES = (
    "manifest.json",
    "state.json",
    "optim/optimizer.json",
    "optim/shard-00001-model-00001-of-00001.safetensors",
    "model/adapter/adapter_config.json",
    "model/adapter/adapter_model.safetensors",
    f"{CONSOLIDATED}/chat_template.jinja",
    f"{CONSOLIDATED}/config.json",
    f"{CONSOLIDATED}/generation_config.json",
    f"{CONSOLIDATED}/model.safetensors",
    f"{CONSOLIDATED}/tokenizer.json",
    f"{CONSOLIDATED}/tokenizer_config.json",
    f"{CONSOLIDATED}/tooltune_render.json",
)
# What loaders of torch, transformers, PEFT, DCP, accelerate and others look for, or once did.
EXTRA = (
    ".metadata",
    "optim/.metadata",
    "optim/__0_0.distcp",
    "optim/optimizer.pt",
    "optim/scheduler.pt",
    "rng_state.pth",
    "rng.pth",
    "training_args.bin",
    "model/adapter/adapter_model.bin",
    f"{CONSOLIDATED}/pytorch_model.bin",
    f"{CONSOLIDATED}/pytorch_model-00001-of-00001.bin",
    f"{CONSOLIDATED}/consolidated.00.pth",
    f"{CONSOLIDATED}/adapter_model.bin",
    f"{CONSOLIDATED}/tokenizer.pkl",
    f"{CONSOLIDATED}/vocab.pkl",
    f"{CONSOLIDATED}/vocab.bin",
    f"{CONSOLIDATED}/special_tokens_map.json",
    f"{CONSOLIDATED}/added_tokens.json",
    f"{CONSOLIDATED}/processor_config.json",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    """A model, data, and a LoRA run that kept the checkpoints of steps 1 and 2 whole."""
    folder = tmp_path_factory.mktemp("damaged")
    save_tiny_model(folder / "model", builtin_tokenizer)
    write_traces(folder / "traces.jsonl", 8)
    train(config_of(folder, folder / "run", max_steps=2))
    checkpoints = folder / "run/checkpoints"
    assert [path.name for path in CheckpointStore(checkpoints).all()] == [
        *("epoch_0_step_1", "epoch_0_step_2")
    ]
    return folder


def config_of(place: Path, out: Path, max_steps: int) -> Any:
    return tiny_config(
        place / "model",
        place / "traces.jsonl",
        out,
        peft={"dim": 4},
        step_scheduler={"max_steps": max_steps, "ckpt_every_steps": 1},
        checkpoint={"save_consolidated": "all", "keep_last": 5},
        tool_call_eval={"enabled": False},
    )


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    """A copy of the run; files are links to the first one's, to be replaced and not written to."""
    copy = tmp_path / "run"
    shutil.copytree(place / "run", copy, symlinks=True, copy_function=os.link)
    return copy


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def flipped(content: bytes, seed: str) -> bytes:
    chance, changed = random.Random(seed), bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_these_are_all_files_of_a_checkpoint(run: Path) -> None:
    path = run / "checkpoints/epoch_0_step_2"
    found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert found - {f"{CONSOLIDATED}/README.md", "model/adapter/README.md"} == set(FILES)
    assert not found & set(EXTRA)


DAMAGE: dict[str, Callable[[bytes, str], bytes | None]] = {
    "a flipped bit": flipped,
    "truncation": lambda content, _: content[:-1],
    "loss": lambda *_: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_damage_to_any_file_is_refused_by_name_and_the_one_before_is_used(
    run: Path, file: str, damage: str
) -> None:
    store = CheckpointStore(run / "checkpoints", warn=(said := []).append)
    good, bad = store.all()
    content = DAMAGE[damage]((bad / file).read_bytes(), f"{file} {damage}")
    (bad / file).unlink()
    if content is not None:
        (bad / file).write_bytes(content)
    assert store.settle() == good
    (text,) = [text for text in said if "damaged and NOT used" in text]
    assert bad.name in text
    # A bit of the manifest may turn one file's name, size or hash into another.
    assert file in text or (file == "manifest.json" and "not" in text)
    assert store.resolve(LATEST) == good
    assert not store.is_complete(bad.name)


def test_a_run_goes_on_from_the_last_good_checkpoint_and_says_so(place: Path, run: Path) -> None:
    shard = run / "checkpoints/epoch_0_step_2" / FILES[3]
    replace(shard, flipped(shard.read_bytes(), "run"))
    (run / "comparison.json").unlink(missing_ok=True)
    train(config_of(place, run, max_steps=2))
    log = (run / "train.log").read_text()
    assert "epoch_0_step_2 is damaged and NOT used" in log
    assert f"{FILES[3]} was altered" in log
    assert "resumed from epoch_0_step_1" in log
    assert verify(run / "checkpoints/epoch_0_step_2") == []


def test_a_run_without_a_sound_checkpoint_starts_anew_and_says_so(place: Path, run: Path) -> None:
    for checkpoint in CheckpointStore(run / "checkpoints").all():
        replace(checkpoint / FILES[3], b"")
    (run / "comparison.json").unlink(missing_ok=True)
    (run / "metrics.jsonl").unlink()
    train(config_of(place, run, max_steps=2))
    log = (run / "train.log").read_text()
    assert "no checkpoint of this run is sound: it starts anew" in log
    assert "resumed" not in log.split("starts anew")[-1]


def test_a_run_whose_history_is_gone_goes_on_and_says_so(place: Path, run: Path) -> None:
    (run / "comparison.json").unlink(missing_ok=True)
    (run / "metrics.jsonl").unlink()
    train(config_of(place, run, max_steps=3))
    assert (
        "metrics.jsonl is gone or empty: its history begins at step 2"
        in (run / "train.log").read_text()
    )


def test_a_run_whose_disk_fills_stops_and_goes_on_once_there_is_room(
    place: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", megabytes=30) as disk:
        config = config_of(place, disk / "run", max_steps=4)
        with pytest.raises(UserError, match="no space is left on the disk"):
            train(config)
        store = CheckpointStore(disk / "run/checkpoints")
        latest = store.latest_complete()
        assert latest is not None
        assert latest == store.resolve(LATEST)
        assert [path.name for path in store.root.iterdir() if path.name.startswith(".")] == []
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        train(config)
        log = (disk / "run/train.log").read_text()
        assert f"resumed from {latest.name}" in log
        assert len(store.all()) == 4
        assert all(verify(path) == [] for path in store.all())


# --- pickles -----------------------------------------------------------------------------------


def load_everything(checkpoint: Path) -> list[str]:
    """Every way in which a checkpoint is read here, past its manifest; what each one said."""
    said: list[str] = []

    def attempt(what: str, do: Callable[[], Any]) -> None:
        try:
            do()
        except UserError as error:
            said.append(f"{what}: {error}")

    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([weight])
    tensors = {"weight": weight}
    attempt("state", lambda: load_training_tensors(tensors, optimizer, checkpoint / "optim"))
    attempt("tokenizer", lambda: load_tokenizer(checkpoint / CONSOLIDATED))
    attempt("model", lambda: load_model(checkpoint / CONSOLIDATED))
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_a_canary_sings_when_it_is_unpickled(kind: str, canary: Path) -> None:
    """Else the tests below could not fail."""
    content = KINDS[kind](canary)
    if kind == "raw":
        pickle.loads(content)
    else:
        file = canary.with_suffix(".pt")
        file.write_bytes(content)
        torch.load(file, weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_a_pickle_in_the_place_of_any_file_is_refused_and_never_run(
    run: Path, file: str, kind: str, canary: Path
) -> None:
    store = CheckpointStore(run / "checkpoints", warn=lambda _: None)
    good, bad = store.all()
    replace(bad / file, KINDS[kind](canary))
    assert verify(bad)
    assert store.settle() == good
    with suppress(UnicodeDecodeError):  # a template is read as text
        load_everything(bad)
    assert tooltune("export", str(bad), "--out", str(run / "out")).code == 2
    assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_beside_a_checkpoints_files_are_refused_and_never_run(
    run: Path, kind: str, canary: Path, place: Path
) -> None:
    store = CheckpointStore(run / "checkpoints", warn=(said := []).append)
    good, bad = store.all()
    for file in EXTRA:
        replace(bad / file, KINDS[kind](canary))
        assert f"{file} is not in the manifest" in "; ".join(verify(bad))
    assert store.settle() == good
    assert any("is not in the manifest" in text for text in said)
    for file in EXTRA:
        if file.endswith(".json"):
            (bad / file).unlink()
    assert not [text for text in load_everything(bad) if text.startswith(("tokenizer", "model"))]
    words = ["--data", place / "traces.jsonl", "--max-samples", "1", "--max-new-tokens", "2"]
    assert "not in the manifest" in refused("eval", "--model", bad / CONSOLIDATED, *words)
    succeeds("eval", "--model", shutil.copytree(bad / CONSOLIDATED, run / "out_of_it"), *words)
    refused("export", bad, "--out", run / "out")
    assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_in_place_of_missing_weights_are_refused_and_never_run(
    run: Path, kind: str, canary: Path, place: Path
) -> None:
    """Loaders fall back to them where safetensors are missing."""
    checkpoint = run / "checkpoints/epoch_0_step_2"
    model = checkpoint / CONSOLIDATED
    (model / "model.safetensors").unlink()
    replace(model / "pytorch_model.bin", KINDS[kind](canary))
    said = refused("eval", "--model", model, "--data", place / "traces.jsonl")
    assert "pickle" in said
    adapter = checkpoint / "model/adapter"
    (adapter / "adapter_model.safetensors").unlink()
    replace(adapter / "adapter_model.bin", KINDS[kind](canary))
    (checkpoint / "manifest.json").unlink()
    refused("export", adapter, "--base", str(place / "model"), "--out", run / "out")
    assert not canary.exists()


LOADING = """
import sys
from tooltune.errors import UserError
from tooltune.models.load import load_model, load_tokenizer
for load in (load_tokenizer, load_model):
    try:
        load(sys.argv[1])
    except UserError:
        pass
"""


def test_code_beside_a_model_is_not_run_even_if_a_terminal_says_yes(
    run: Path, canary: Path, place: Path
) -> None:
    model = run / "checkpoints/epoch_0_step_2" / CONSOLIDATED
    code = f"open({str(canary)!r}, 'w')\n"
    (model / "evil.py").write_text(code + "class Evil: pass\n")
    (model / "custom_generate").mkdir()
    (model / "custom_generate/generate.py").write_text(code + "def generate(*a, **k): pass\n")
    config = (
        (model / "config.json")
        .read_text()
        .replace(
            "{", '{"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},', 1
        )
    )
    config = config.replace('"model_type": "llama"', '"model_type": "evil"')
    assert '"evil"' in config
    replace(model / "config.json", config.encode())
    process = subprocess.run(
        [sys.executable, "-c", LOADING, model],
        input="y\n" * 9,
        text=True,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "[y/N]" not in process.stdout
    assert not canary.exists()
    # The same folder would run its code in a program that trusts it.
    with suppress(Exception):
        AutoModelForCausalLM.from_pretrained(model, trust_remote_code=True)
    assert canary.exists()


# --- YAML --------------------------------------------------------------------------------------


def payloads(canary: Path) -> dict[str, str]:
    touch = f"[{canary}]"
    return {
        "a call": f"model: !!python/object/apply:pathlib.Path.touch {touch}\n",
        "a new object": f"model: !!python/object/new:io.FileIO [{canary}, w]\n",
        "a name": "model: !!python/name:os.system\n",
        "a module": "model: !!python/module:antigravity\n",
        "a nested call": f"dataset:\n  path:\n  - !!python/object/apply:os.mkdir {touch}\n",
        "a target": f"model:\n  _target_: os.mkdir\n  path: {canary}\n",
        "a target with arguments": f"optimizer:\n  _target_: os.mkdir\n  _args_: {touch}\n",
        "a target at the top": f"_target_: os.mkdir\n_args_: {touch}\n",
        "a pickle": raw(canary).decode("latin-1"),
    }


@pytest.mark.parametrize("payload", list(payloads(Path())))
def test_a_configuration_names_things_and_never_runs_them(
    payload: str, canary: Path, run: Path, place: Path, tmp_path: Path
) -> None:
    text = payloads(canary)[payload]
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError):
        load_config(path)
    replace(run / "config.yaml", text.encode("latin-1"))
    with pytest.raises(UserError):
        train(config_of(place, run, max_steps=3))
    assert not canary.exists()
