"""What lies in `examples/` works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.assets import REPOSITORY
from tooltune import Trace, load_traces
from tooltune.config.load import load_config
from tooltune.worlds.generate import generate_traces

EXAMPLES = REPOSITORY / "examples"
CONFIGS = sorted(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_says_only_what_it_means(path: Path) -> None:
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    resolved = load_config(path).resolved()
    for section, values in given.items():
        if isinstance(values, dict):
            for key, value in values.items():
                assert resolved[section][key] == pytest.approx(_number(value)), (section, key)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5 as text; a config reads a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def test_the_two_configs_of_the_3b_model_train_on_the_same_traces_and_measure_the_same() -> None:
    full, lora = (
        load_config(EXAMPLES / f"qwen2_5_3b_function_calling{end}.yaml") for end in ("", "_lora")
    )
    assert full.peft is None
    assert lora.peft is not None
    for section in ("model", "dataset", "validation_dataset", "tool_call_eval"):
        assert getattr(full, section) == getattr(lora, section), section


def _essence(trace: Trace) -> tuple[Any, ...]:
    """A trace without the ids of its calls, which ShareGPT has no place for."""
    messages = [
        (m.role, m.content or None, tuple((c.name, c.arguments) for c in m.tool_calls))
        for m in trace.messages
    ]
    return messages, [tool.to_openai() for tool in trace.tools]


def test_the_made_up_traces_read_back_as_they_were(tmp_path: Path) -> None:
    script = EXAMPLES / "glaive_like_traces.py"
    words = [sys.executable, str(script), "--train", "60", "--held-out", "20", "--seed", "3"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    worlds = ("shop", "home", "travel")
    for name, side, count in (("traces", "train", 60), ("held_out", "held_out", 20)):
        made = generate_traces(count, seed=3, split=side, agents=True, worlds=worlds)  # type: ignore[arg-type]
        read = load_traces(tmp_path / f"{name}.json")
        assert [_essence(trace) for trace in read] == [_essence(trace) for trace in made]
        assert set(read.format.split(", ")) == {"sharegpt"}
    turns = [turn for row in json.loads((tmp_path / "traces.json").read_text("utf-8"))
             for turn in row["conversations"]]  # fmt: skip
    assert {turn["from"] for turn in turns} == {"human", "gpt", "function_call", "observation"}
