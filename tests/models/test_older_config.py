"""What transformers 4 must find in config.json, and that version 5 reads the file as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING, AutoConfig

from tooltune.models.older_config import add_older_keys

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 4.0,
    "original_max_position_embeddings": 4096,
}
CASES: list[tuple[str, dict[str, Any] | None]] = [
    ("llama", {"rope_type": "default", "rope_theta": 100000.0}),
    ("llama", LLAMA3),
    ("qwen2", {"rope_type": "default", "rope_theta": 1e6}),
    ("qwen3", YARN),
    ("mistral", {"rope_type": "default", "rope_theta": 1e6}),
    ("gemma3_text", None),
    ("glm4", None),
    ("gpt_oss", None),
    ("gpt2", None),
]


def saved(
    kind: str, rope: dict[str, Any] | None, folder: Path, *, older: bool = True
) -> dict[str, Any]:
    config = CONFIG_MAPPING[kind](**({} if rope is None else {"rope_parameters": dict(rope)}))
    config.save_pretrained(folder)
    if older:
        add_older_keys(folder)
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@pytest.mark.parametrize(("kind", "rope"), CASES)
def test_version_5_reads_the_file_as_before(
    kind: str, rope: dict[str, Any] | None, tmp_path: Path
) -> None:
    saved(kind, rope, tmp_path, older=False)
    before = AutoConfig.from_pretrained(tmp_path).to_dict()
    add_older_keys(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == before


def test_the_base_frequency_stands_where_version_4_looks_for_it(tmp_path: Path) -> None:
    plain = saved("llama", {"rope_type": "default", "rope_theta": 100000.0}, tmp_path / "a")
    assert plain["rope_theta"] == 100000.0
    assert "rope_scaling" not in plain
    scaled = saved("llama", LLAMA3, tmp_path / "b")
    assert scaled["rope_theta"] == 500000.0
    assert scaled["rope_scaling"] == {k: v for k, v in LLAMA3.items() if k != "rope_theta"}
    gemma = saved("gemma3_text", None, tmp_path / "c")
    assert gemma["rope_theta"] == 1e6
    assert gemma["rope_local_base_freq"] == 1e4
    assert "rope_theta" not in saved("gpt2", None, tmp_path / "d")
