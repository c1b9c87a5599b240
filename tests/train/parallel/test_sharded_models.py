"""What is sharded may be any model, trained in any way: the same numbers as in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.families import family_model
from tests.ranks import results_of
from tests.train.parallel.test_sharded_training import config_of, trained
from tests.train.tiny_run import save_tiny_model, write_traces
from tooltune.train.parallel.world import World


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    directory = tmp_path_factory.mktemp("sharded_models")
    save_tiny_model(directory / "model", builtin_tokenizer)
    write_traces(directory / "traces.jsonl", 10)
    return directory


OTHERS: dict[str, dict[str, Any]] = {
    "dora": {"peft": {"dim": 4, "use_dora": True}},
    "selective": {"model": {"activation_checkpointing": "selective"}},
    "full recomputation": {"model": {"activation_checkpointing": "full"}},
    "untied": {"family": "qwen3"},
    "mixture of experts": {"family": "qwen3_moe"},
    "mixture of experts, lora": {"family": "qwen3_moe", "peft": {"dim": 4}},
}


QUICK = ("dora", "mixture of experts")
EACH = [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in OTHERS]


@pytest.mark.parametrize("kind", EACH)
def test_other_models_and_methods_are_sharded_as_they_are(
    kind: str, place: Path, builtin_tokenizer: Any
) -> None:
    sections = {**OTHERS[kind], "step_scheduler": {"global_batch_size": 4, "num_epochs": 4}}
    family = sections.pop("family", None)
    if family is not None:
        sections["model"] = {"pretrained_model_name_or_path": str(place / family)}
        if not (place / family).exists():
            model = family_model(
                family, vocab_size=len(builtin_tokenizer), max_position_embeddings=2048
            )
            model.save_pretrained(place / family)
            builtin_tokenizer.save_pretrained(place / family)
    alone = World.alone(torch.device("cpu"))
    losses, _, weights, _ = trained(alone, config_of(place, "none", **sections))
    for their in results_of(trained, 2, config_of(place, "fsdp2", **sections)):
        assert their[3]
        assert their[0] == pytest.approx(losses, abs=1e-5)
        for name, weight in weights.items():
            assert their[2][name] == pytest.approx(weight, abs=1e-4), name
