"""One tiny model, eight traces, one run and two evaluations, shared by all tests of commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.cli.command import Printed, succeeds, write_config
from tests.train.tiny_run import save_tiny_model, write_traces
from tooltune.cli import output, preview

CONFIG = """
model: {{pretrained_model_name_or_path: {model}, dtype: float32}}
dataset: {{path: {data}}}
validation_dataset: {{fraction: 0.25}}
tool_call_eval: {{max_eval_samples: 3, max_new_tokens: 4}}
step_scheduler: {{global_batch_size: 2}}
peft: {{dim: 4}}
output_dir: {out}
"""


@dataclass(frozen=True)
class TinyRun:
    """A finished `tooltune train`: its config file, its folder, and what it printed."""

    config: Path
    folder: Path
    printed: Printed

    @property
    def model(self) -> Path:
        return self.folder / "checkpoints" / "LATEST" / "model" / "consolidated"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    """Two random layers under the built-in model's tokenizer and template."""
    return save_tiny_model(tmp_path_factory.mktemp("cli") / "tiny", builtin_tokenizer)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_traces(tmp_path_factory.mktemp("cli") / "traces.jsonl", 8)


@pytest.fixture
def in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands print goes to a terminal that knows colours."""
    terminal = Console(force_terminal=True, color_system="standard", soft_wrap=True, width=200)
    for module in (output, preview):
        monkeypatch.setattr(module, "console", terminal)


@pytest.fixture
def config(model: Path, data: Path, tmp_path: Path) -> Path:
    """A config file whose run goes to `tmp_path / "run"`."""
    text = CONFIG.format(model=model, data=data, out=tmp_path / "run")
    return write_config(tmp_path / "my.yaml", text)


@pytest.fixture(scope="session")
def run(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    folder = tmp_path_factory.mktemp("cli")
    text = CONFIG.format(model=model, data=data, out=folder / "run")
    path = write_config(folder / "my.yaml", text)
    return TinyRun(path, folder / "run", succeeds("train", path))


@pytest.fixture(scope="session")
def evaluations(model: Path, data: Path, run: TinyRun) -> tuple[Path, Path]:
    """`tooltune eval --out` of the base model and of the run's, in one folder."""
    folder = run.folder.parent / "eval"
    for name, evaluated in (("base", model), ("tuned", run.model)):
        words = ["--model", evaluated, "--data", data, "--max-samples", "6"]
        succeeds("eval", *words, "--max-new-tokens", "4", "--out", folder / name)
    return folder / "base", folder / "tuned"
