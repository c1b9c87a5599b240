"""The facts of a card are those of the run's files, whatever version wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tooltune.errors import UserError
from tooltune.models.card import model_card
from tooltune.train.folder.card import run_card_facts, write_run_cards

SHA = "ab" * 32
CONFIG: dict[str, Any] = {
    "model": {
        "pretrained_model_name_or_path": "builtin:smollm2-135m-instruct",
        "dtype": "bfloat16",
    },
    "dataset": {"path": "/home/someone/private/train.jsonl", "skip_failed_calls": True},
    "validation_dataset": {"fraction": 0.1},
    "tool_call_eval": {
        "max_new_tokens": 77,
        "extra_datasets": {"hub": {"dataset_name": "owner/traces", "split": "test"}},
    },
    "step_scheduler": {"global_batch_size": 4},
    "optimizer": {"name": "adamw", "lr": 2e-4, "weight_decay": 0.0, "max_grad_norm": 1.0},
    "peft": {"dim": 16, "alpha": 32, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
    "output_dir": "runs/my",
}
DONE = {"step": 12, "tokens": 3456, "trained_tokens": 789}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "my"
    folder.mkdir()
    write(folder / "config.yaml", yaml.safe_dump(CONFIG))
    environment = {
        "python": "3.12.1",
        "packages": {"tooltune": "0.1.0", "torch": "2.13.0"},
        "data": {"/home/someone/private/train.jsonl": {"sha256": SHA, "bytes": 10, "files": 1}},
        "rows": {"read": 20, "accepted": 17, "rejected": {"no_targets": 3}},
        "render": {"chat_template_kwargs": {"enable_thinking": False}, "fingerprint": "0123"},
        "template_profile": {"call_format": "hermes", "parallel_calls": False},
    }
    write(folder / "environment.json", json.dumps(environment))
    split = {"n_train": 15, "n_held_out": 2, "held_out": ["a", "b"]}
    write(folder / "split.json", json.dumps(split))
    losses = [{"kind": "val", "step": s, "loss": 1.0 / (1 + s)} for s in (0, 6, 12)]
    write(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in losses) + "{half")
    return folder


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def comparison(step: int) -> dict[str, Any]:
    entry = {"base": 0.1, "tuned": 0.6, "n": 50, "ci95": [0.3, 0.7]}
    other = {"base": 0.0, "tuned": 0.2, "n": 9, "ci95": [0.0, 0.4]}
    return {
        "tool_call/accuracy": entry,
        "main_set": "held_out",
        "tuned_name": f"my (step {step})",
        "datasets": {"hub": {"tool_call/accuracy": other}},
    }


def test_the_card_says_what_was_trained_on_what(run: Path) -> None:
    text = model_card(run_card_facts(run, DONE))
    assert "my, step 12" in text
    assert "LoRA, rank 16, alpha 32, dropout 0.1, on q\\_proj, v\\_proj" in text
    assert "12 of 4 conversations" in text
    assert "3,456 forwarded" in text
    assert "0.0002" in text
    assert "| train.jsonl | training | 10 bytes | `abababababababab…` |" in text
    assert "10% of the training source" in text
    assert "15 conversations trained on, 2 held out. Of 20 rows read, 3 were rejected" in text
    assert "3 x `no_targets`" in text
    assert "1.000 before training, 0.077 after" in text
    assert "enable_thinking=False" in text
    assert "cannot write several calls" in text
    assert "skip\\_failed\\_calls" in text
    assert "tooltune 0.1.0, torch 2.13.0, Python 3.12.1" in text


def test_no_path_and_no_user_stand_in_the_card(run: Path) -> None:
    text = model_card(run_card_facts(run, DONE))
    assert "someone" not in text
    assert "private" not in text
    assert str(run.parent) not in text


def test_a_data_set_of_the_hub_is_named_in_the_metadata(run: Path) -> None:
    facts = run_card_facts(run, DONE)
    assert [d.hub_id for d in facts.data if d.hub_id] == ["owner/traces"]
    assert "- owner/traces" in model_card(facts).split("---")[1]


def test_results_are_of_the_very_checkpoint_or_not_there(run: Path) -> None:
    write(run / "comparison.json", json.dumps(comparison(12)))
    facts = run_card_facts(run, DONE, results=True)
    assert [(r.dataset, r.metric, r.turns, r.tuned) for r in facts.results] == [
        ("held out", "accuracy", 50, 0.6),
        ("hub", "accuracy", 9, 0.2),
    ]
    assert run_card_facts(run, DONE).results == ()
    earlier = {**DONE, "step": 6}
    assert run_card_facts(run, earlier, results=True).results == (), "of the last step, not this"
    assert "Not measured" in model_card(run_card_facts(run, earlier, results=True))


def test_an_earlier_checkpoint_is_compared_by_its_own_evaluation(run: Path) -> None:
    for tag, correct in (("step_0", False), ("step_6", True)):
        folder = run / "eval" / tag
        folder.mkdir(parents=True)
        samples = [sample(i, correct) for i in range(4)]
        write(folder / "samples.jsonl", "".join(json.dumps(s) + "\n" for s in samples))
    facts = run_card_facts(run, {**DONE, "step": 6}, results=True)
    (accuracy,) = [r for r in facts.results if r.metric == "accuracy"]
    assert (accuracy.base, accuracy.tuned, accuracy.turns) == (0.0, 1.0, 4)


def sample(i: int, correct: bool) -> dict[str, Any]:
    outcome = "right" if correct else "wrong"
    return {
        "sample_id": f"{i}/1",
        "example_id": str(i),
        "turn_index": 1,
        "dataset": "held_out",
        "kind": "call",
        "gt_tool_calls": [{"name": "f", "arguments": {}}],
        "verdict": {"correct": correct, "outcome": outcome, "scores": {}, "reasons": []},
    }


def test_what_the_files_lack_is_left_out(tmp_path: Path) -> None:
    text = model_card(run_card_facts(tmp_path, {}))
    assert "not recorded" in text
    assert "conversations trained on" not in text


def test_a_config_that_cannot_be_read_is_an_error_of_the_user(tmp_path: Path) -> None:
    write(tmp_path / "config.yaml", "a: [")
    with pytest.raises(UserError, match=r"config\.yaml"):
        run_card_facts(tmp_path, {})


def test_both_folders_of_a_checkpoint_get_their_card(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    for part in ("consolidated", "adapter"):
        (model / part).mkdir(parents=True)
    write(model / "adapter" / "adapter_config.json", "{}")
    write(model / "adapter" / "README.md", "[More Information Needed]")
    written = write_run_cards(model, run, DONE)
    assert [path.parent.name for path in written] == ["consolidated", "adapter"]
    assert "library_name: transformers" in written[0].read_text()
    assert "library_name: peft" in written[1].read_text()
