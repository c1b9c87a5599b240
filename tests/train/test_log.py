from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tooltune.errors import UserError
from tooltune.train.log import RunLog, one_line
from tooltune.train.progress import Progress, clock_time


def lines(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "metrics.jsonl").read_bytes().decode()
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.split("\n") if line]


def step(log: RunLog, number: int, **more: Any) -> None:
    numbers = {"loss": 1.5, "lr": 1e-4, "grad_norm": 0.5, "tokens": 100, "trained_tokens": 25}
    log.train_step(**{"step": number, "epoch": 0, "seconds": 0.5, **numbers, **more})


def test_a_training_line_has_the_contracts_keys_and_rates(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        step(log, 3, skipped=1)
    assert lines(tmp_path) == [
        {
            "step": 3,
            "epoch": 0,
            "kind": "train",
            "loss": 1.5,
            "lr": 1e-4,
            "grad_norm": 0.5,
            "tokens": 100,
            "trained_tokens": 25,
            "tokens_per_second": 200.0,
            "trained_tokens_per_second": 50.0,
            "seconds": 0.5,
            "skipped": 1,
        }
    ]


def test_each_line_is_on_disk_before_the_next(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for number in (1, 2, 3):
            step(log, number)
            log.info(f"did {number}")
            assert [line["step"] for line in lines(tmp_path)][-1] == number
            assert f"did {number}\n" in (tmp_path / "train.log").read_text()


def test_non_finite_numbers_become_null_with_a_note(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.metrics({"step": 1, "kind": "val", "loss": math.nan, "by": {"a": [1.0, -math.inf]}})
    assert lines(tmp_path) == [
        {
            "step": 1,
            "kind": "val",
            "loss": None,
            "by": {"a": [1.0, None]},
            "non_finite": {"loss": "nan", "by.a.1": "-inf"},
        }
    ]


def test_a_reopened_log_continues(tmp_path: Path) -> None:
    for number in (1, 2):
        with RunLog(tmp_path) as log:
            step(log, number)
            log.info(f"line {number}")
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]
    assert len((tmp_path / "train.log").read_text().splitlines()) == 2


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for number in range(1, 6):
            step(log, number)
        log.metrics({"step": 4, "kind": "val", "loss": 2.0})
    with RunLog(tmp_path) as log:
        assert log.truncate_after(4) == 1
        step(log, 5, loss=9.0)
    assert [(line["step"], line["kind"]) for line in lines(tmp_path)] == [
        *((number, "train") for number in (1, 2, 3, 4)),
        (4, "val"),
        (5, "train"),
    ]
    assert lines(tmp_path)[-1]["loss"] == 9.0


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 600), resumed=st.integers(0, 4))
def test_a_log_cut_anywhere_by_a_crash_heals(
    tmp_path_factory: pytest.TempPathFactory, cut: int, resumed: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    with RunLog(directory) as log:
        for number in range(1, 4):
            step(log, number)
    path = directory / "metrics.jsonl"
    os.truncate(path, min(cut, path.stat().st_size))
    whole = path.read_bytes().count(b"\n")
    with RunLog(directory) as log:
        log.truncate_after(resumed)
        step(log, resumed + 1)
    assert [line["step"] for line in lines(directory)] == [
        *range(1, min(whole, resumed) + 1),
        resumed + 1,
    ]


def test_a_line_cut_by_a_crash_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    with RunLog(tmp_path) as log:
        step(log, 2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("\x1b[]m\r\n\x07\u2028\x9b")))
def test_no_text_can_break_a_line_or_steer_a_terminal(text: str) -> None:
    cleaned = one_line(text)
    assert cleaned.splitlines() in ([], [cleaned])
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in cleaned)


def test_escape_sequences_are_removed_whole(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.warning("a\x1b[31mred\x1b[0m \x1b]0;title\x07b\nforged INFO line\r\n\tc")
    line = (tmp_path / "train.log").read_text()
    assert line.endswith("Z WARNING ared b\\nforged INFO line\\n c\n")


def test_secrets_reach_neither_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "very-secret-value")
    out = io.StringIO()
    progress = Progress(3, console=Console(file=out))
    with RunLog(tmp_path, progress=progress) as log:
        log.info("downloading with very-secret-value")
        log.error("failed with very-secret-value")
        log.metrics({"step": 1, "kind": "note", "url": "https://u:pw@h/", "t": "very-secret-value"})
    written = "".join(path.read_text() for path in tmp_path.iterdir()) + out.getvalue()
    assert "very-secret-value" not in written
    assert "u:pw" not in written
    assert "downloading with ***" in written


def test_a_run_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    with RunLog(tmp_path), pytest.raises(UserError, match="another process is writing the run"):
        RunLog(tmp_path)
    RunLog(tmp_path).close()


def test_a_killed_process_leaves_whole_lines_and_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tooltune.train.log import RunLog\n"
        "log = RunLog(Path(sys.argv[1]))\n"
        "log.metrics({'step': 1}); log.info('one'); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment)
    assert done.returncode == -signal.SIGKILL
    with RunLog(tmp_path) as log:
        log.metrics({"step": 2})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]
    assert "INFO one" in (tmp_path / "train.log").read_text()


# --- the console


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(tmp_path: Path, *, terminal: bool, every: int = 1, done: int = 0) -> str:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=140)
    progress = Progress(100, console=console, every=every, clock=clock)
    clock.now += 1000  # loading and the first evaluation are no part of a step
    with RunLog(tmp_path, progress=progress) as log:
        for number in range(done + 1, done + 8):
            clock.now += 2
            step(log, number, seconds=2.0)
        log.metrics({"step": 7, "kind": "tool_call", "tool_call/accuracy": 0.5, "loss": None})
        log.warning("careful [red]not markup[/red]")
    return out.getvalue()


def test_without_a_terminal_each_step_is_a_plain_line(tmp_path: Path) -> None:
    text = shown(tmp_path, terminal=False)
    assert "\x1b" not in text
    assert text.splitlines()[0] == (
        "step 1/100  loss 1.5000  lr 1.00e-04  grad 0.50  50 tok/s (12 trained)  eta 3:18"
    )
    assert "step 7/100" in text
    assert "eta 3:06" in text
    assert "step 7  tool_call  tool_call/accuracy 0.5000" in text
    assert text.splitlines()[-1] == "warning: careful [red]not markup[/red]"


def test_the_time_left_of_a_resumed_run_counts_only_its_own_steps(tmp_path: Path) -> None:
    assert "step 91/100" in shown(tmp_path, terminal=False, done=90)
    assert "eta 0:18" in shown(tmp_path, terminal=False, done=90)


def test_fewer_lines_can_be_asked_for(tmp_path: Path) -> None:
    text = shown(tmp_path, terminal=False, every=5)
    assert [line.split()[1] for line in text.splitlines() if "tok/s" in line] == ["1/100", "5/100"]


def test_on_a_terminal_there_is_one_live_line(tmp_path: Path) -> None:
    text = shown(tmp_path, terminal=True)
    assert "\x1b" in text
    assert "loss 1.5000" in text
    assert "[red]not markup[/red]" in text


def test_a_loss_that_is_not_finite_is_shown_as_such(tmp_path: Path) -> None:
    out = io.StringIO()
    with RunLog(tmp_path, progress=Progress(2, console=Console(file=out))) as log:
        step(log, 1, loss=math.nan)
    assert "loss nan" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "0:07"), (754.4, "12:34"), (3723, "1:02:03"), (math.inf, "?"), (-1, "?")],
)
def test_times_read_like_a_clock(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
