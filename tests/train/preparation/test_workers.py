"""Several processes give what one gives, byte for byte, and say so when one of them dies."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.train.preparation.test_build import content, with_bad_rows
from tests.train.tiny_run import write_traces
from tooltune.errors import UserError
from tooltune.render.turns import Renderer
from tooltune.traces.source import trace_source
from tooltune.traces.types import Source
from tooltune.train.preparation.build import CHUNK, Preparing, prepare_source
from tooltune.train.preparation.chunks import Row, Task, work
from tooltune.train.preparation.workers import _in_processes, run_tasks


def test_several_processes_write_the_same_bytes_as_one(
    tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_bad_rows(write_traces(tmp_path / "traces.jsonl", 4 * CHUNK))
    written = []
    for workers in (1, 2):
        monkeypatch.setenv("TOOLTUNE_CACHE", str(tmp_path / f"cache-{workers}"))
        before = renderer.template.renders
        how = Preparing(workers=workers, patience=0)
        prepare_source(trace_source(path), renderer, how)
        assert (renderer.template.renders == before) == (workers == 2)  # done elsewhere
        written.append(content(tmp_path / f"cache-{workers}" / "prepared"))
    assert written[0] == written[1]


class _Deadly:
    """What kills the process that unpickles it."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)


def test_a_worker_that_dies_is_an_error_that_names_the_fix() -> None:
    tasks = iter([Task((Row(0, Source("f", 0), {}, trace_source("f")),))])
    with pytest.raises(UserError, match="num_workers"):
        list(_in_processes(tasks, SimpleNamespace(tokenizer=_Deadly(), spec=None), 2))  # type: ignore[arg-type]


def test_a_tokenizer_that_cannot_be_sent_is_used_in_this_process(
    data: Path, renderer: Renderer
) -> None:
    class Unsendable:
        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer, self.secret = tokenizer, lambda: None

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tokenizer, name)

    renderer.tokenizer = Unsendable(renderer.tokenizer)
    row = Row(0, Source("f", 0), {"messages": []}, trace_source(data))
    tasks = [Task((row,)), Task((row,))]
    found = list(run_tasks(tasks, renderer, workers=2, patience=0))
    assert found == [work(renderer, task) for task in tasks]


_LIGHT = """
import pickle, sys
from tooltune.train.preparation.chunks import Task, work
from tooltune.train.preparation import workers
workers._start_worker(*pickle.load(open(sys.argv[1], "rb")))
heavy = [name for name in ("torch", "pandas", "datasets") if name in sys.modules]
assert not heavy, heavy
"""


def test_a_worker_loads_neither_torch_nor_pandas(tmp_path: Path, renderer: Renderer) -> None:
    """Each costs every worker time and memory that rendering has no use for."""
    state = tmp_path / "state"
    state.write_bytes(pickle.dumps((renderer.tokenizer, renderer.spec)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = [sys.executable, "-c", _LIGHT, str(state)]
    done = subprocess.run(code, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
