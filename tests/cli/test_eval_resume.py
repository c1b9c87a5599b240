"""`tooltune eval` killed, stopped, and given again: nothing is lost and nothing done twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import refused, succeeds, tooltune
from tests.cli.conftest import TinyRun
from tooltune.evaluate.evaluation_file import load_evaluation
from tooltune.evaluate.outputs import OutputLog, read_generation

# The command in a process of its own, which SIGKILL ends in the middle of writing an output.
DYING = """
import os, signal, sys
from tooltune.cli.main import main
from tooltune.evaluate.outputs import OutputLog

left, append = int(sys.argv[1]), OutputLog.append

def write_or_die(self, output):
    global left
    left -= 1
    if left < 0:
        self._file.write(b'{"sample_id": "half a li')
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, output)

OutputLog.append = write_or_die
sys.argv = ["tooltune", *sys.argv[2:]]
main()
"""
WAYS = {
    "greedy": ["--max-new-tokens", "3"],
    "sampled": ["--max-new-tokens", "3", "--temperature", "0.9", "--repeats", "2"],
}


def words_of(model: Path, data: Path, way: str, out: Path) -> list[str]:
    return ["eval", "--model", str(model), "--data", str(data), *WAYS[way], "--out", str(out)]


def outputs_of(folder: Path) -> list[Any]:
    """Keys of the outputs, in the order in which they were written."""
    lines = (folder / "outputs.jsonl").read_bytes().splitlines()
    return [(row["sample_id"], row["repeat"]) for row in map(json.loads, lines)]


def answers(folder: Path) -> list[Any]:
    """Records but for the likelihoods, whose last digits depend on what shares a batch."""
    return [{**record, "draft_nll": None} for record in load_evaluation(folder)]


def same(folder: Path, other: Path) -> None:
    assert (folder / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()
    assert answers(folder) == answers(other)


@pytest.fixture(scope="module")
def whole(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Evaluations that nothing interrupted, by way."""
    folder = tmp_path_factory.mktemp("whole")
    for way in WAYS:
        succeeds(*words_of(model, data, way, folder / way))
    return {way: folder / way for way in WAYS}


@pytest.mark.parametrize("way", WAYS)
def test_killed_in_the_middle_and_run_again_it_ends_the_same_and_generates_nothing_twice(
    way: str, model: Path, data: Path, whole: dict[str, Path], tmp_path: Path
) -> None:
    words = words_of(model, data, way, tmp_path / "eval")
    killed = subprocess.run([sys.executable, "-c", DYING, "5", *words], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = (tmp_path / "eval" / "outputs.jsonl").read_bytes()
    assert before.count(b"\n") == 5
    assert not (tmp_path / "eval" / "metrics.json").exists()

    printed = succeeds(*words)
    assert "5 outputs that need not be generated" in printed.err
    assert "half an output" in printed.err
    after = (tmp_path / "eval" / "outputs.jsonl").read_bytes()
    assert after.startswith(before[: before.rindex(b"\n") + 1])
    keys = outputs_of(tmp_path / "eval")
    assert len(keys) == len(set(keys)) == len(outputs_of(whole[way]))
    same(tmp_path / "eval", whole[way])
    generation = read_generation(tmp_path / "eval")
    assert generation is not None
    (run,) = generation["runs"]
    assert (run["reused"], run["generated"], run["torn_lines"]) == (5, len(keys) - 5, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moments_it_ends_the_same(
    seed: int, model: Path, data: Path, whole: dict[str, Path], tmp_path: Path
) -> None:
    draw = random.Random(seed)
    out = tmp_path / "eval"
    words = words_of(model, data, "sampled", out)
    command = [sys.executable, "-c", "from tooltune.cli.main import main; main()", *words]
    deaths = 0
    for _ in range(6):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
        )
        deadline = time.monotonic() + 120
        while not (out / "outputs.jsonl").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.4))
        process.kill()
        deaths += process.wait() == -signal.SIGKILL
    assert deaths
    succeeds(*words)
    keys = outputs_of(out)
    assert len(keys) == len(set(keys))
    same(out, whole["sampled"])


def test_ctrl_c_says_how_to_go_on_and_exits_as_shells_expect(
    model: Path, data: Path, whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(model, data, "greedy", tmp_path / "eval")
    append = OutputLog.append

    def interrupted(self: OutputLog, output: Any) -> None:
        append(self, output)
        if len(self.outputs) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(OutputLog, "append", interrupted)
        printed = tooltune(*words)
    assert printed.code == 130
    assert f"3 outputs kept in {tmp_path / 'eval'}: give the same command again" in printed.err
    succeeds(*words)
    same(tmp_path / "eval", whole["greedy"])


def test_given_again_a_finished_evaluation_generates_nothing(
    model: Path, data: Path, whole: dict[str, Path]
) -> None:
    before = {p.name: p.read_bytes() for p in whole["greedy"].iterdir() if p.suffix != ".json"}
    printed = succeeds(*words_of(model, data, "greedy", whole["greedy"]))
    assert "0 outputs generated" in printed.err
    assert before == {p.name: p.read_bytes() for p in whole["greedy"].iterdir() if p.name in before}


def test_other_settings_do_not_mix_with_the_outputs_that_are_there(
    model: Path, data: Path, run: TinyRun, whole: dict[str, Path]
) -> None:
    words = words_of(model, data, "greedy", whole["greedy"])
    before = (whole["greedy"] / "outputs.jsonl").read_bytes()
    said = refused(*words, "--max-new-tokens", "4")
    assert "max_new_tokens was 3, is 4" in said
    assert "--overwrite" in said
    assert "sampling.temperature" in refused(*words, "--temperature", "0.5")
    kwargs = '{"enable_thinking": false}'
    assert "render" in refused(*words, "--chat-template-kwargs", kwargs)
    assert (whole["greedy"] / "outputs.jsonl").read_bytes() == before


def test_the_same_path_with_other_weights_is_another_model(
    model: Path, data: Path, run: TinyRun, tmp_path: Path
) -> None:
    place = tmp_path / "LATEST"
    place.symlink_to(model)
    words = words_of(place, data, "greedy", tmp_path / "eval")
    succeeds(*words, "--limit", "2")
    place.unlink()
    place.symlink_to(run.model)
    assert "weights was" in refused(*words, "--limit", "2")
    succeeds(*words, "--limit", "2", "--overwrite")


def test_a_larger_limit_generates_only_what_is_new(
    model: Path, data: Path, whole: dict[str, Path], tmp_path: Path
) -> None:
    words = words_of(model, data, "greedy", tmp_path / "eval")
    succeeds(*words, "--limit", "4")
    assert "4 were there" in succeeds(*words).err
    same(tmp_path / "eval", whole["greedy"])


def test_a_folder_that_cannot_be_written_is_said_before_the_model_is_loaded(
    model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    printed = tooltune(*words_of(model, data, "greedy", tmp_path / "file" / "eval"))
    assert printed.code == 2
    assert "Not a directory" in printed.err
    assert "loading" not in printed.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux' /dev/full")
def test_a_full_disk_is_one_message(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "outputs.jsonl").symlink_to("/dev/full")
    printed = tooltune(*words_of(model, data, "greedy", tmp_path))
    assert printed.code == 2
    assert "No space left on device" in printed.err
    assert "make room" in printed.err
