"""`tooltune eval`: scoring again without a model, shards, thresholds, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import refused, succeeds, tooltune
from tests.render.strategies import simple_trace
from tooltune.evaluate import suites
from tooltune.evaluate.evaluation_file import load_evaluation
from tooltune.evaluate.samples import EvalSample
from tooltune.evaluate.suites.suite import Suite
from tooltune.toolcalls.truth import GroundTruth


@pytest.fixture
def words(model: Path, data: Path) -> list[str | Path]:
    return ["eval", "--model", model, "--data", data, "--max-new-tokens", "2"]


@pytest.fixture
def base(evaluations: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of an evaluation, to be changed at will."""
    return Path(shutil.copytree(evaluations[0], tmp_path / "base"))


def metrics_of(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text())


def answer(folder: Path, text: str) -> None:
    """Put a text into the mouth of the model, for each sample that should call."""
    rows = load_evaluation(folder)
    for row in rows:
        calls = row["gt_tool_calls"]
        row["text"] = text.replace("CALLS", json.dumps(calls)).replace(
            "CALL", json.dumps(calls[0]) if calls else ""
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "samples.jsonl").write_text(lines)


def test_scored_again_as_before_nothing_changes(base: Path) -> None:
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    succeeds("eval", "--rescore", base)
    assert before == {path.name: path.read_bytes() for path in base.iterdir()}


def test_scoring_again_can_read_outputs_in_another_way(base: Path, tmp_path: Path) -> None:
    answer(base, "CALLS")
    succeeds("eval", "--rescore", base, "--parser", "hermes", "--out", tmp_path / "hermes")
    succeeds("eval", "--rescore", base, "--parser", "bare_json", "--out", tmp_path / "bare")
    assert metrics_of(tmp_path / "hermes")["tool_call/accuracy"] == 0
    assert metrics_of(tmp_path / "bare")["tool_call/accuracy"] == 1
    answer(base, "<tool_call>CALL")
    strict = json.loads(succeeds("eval", "--rescore", base, "--json").out)
    mended = json.loads(succeeds("eval", "--rescore", base, "--mode", "recover", "--json").out)
    assert strict["tool_call/accuracy"] == 0
    assert mended["tool_call/accuracy"] == 1


def test_scoring_again_needs_no_model_and_no_torch(base: Path) -> None:
    code = (
        "import sys; sys.argv = ['tooltune', 'eval', '--rescore', sys.argv[1], '--json']\n"
        "from tooltune.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(base)], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == metrics_of(base)


def test_an_evaluation_of_a_training_run_can_be_scored_again(run: Any, tmp_path: Path) -> None:
    final = run.folder / "eval" / "final"
    succeeds("eval", "--rescore", final, "--out", tmp_path / "again")
    assert metrics_of(tmp_path / "again") == metrics_of(final)


def test_shards_put_together_are_the_whole(words: list[str], tmp_path: Path) -> None:
    succeeds(*words, "--out", tmp_path / "whole")
    shards = [tmp_path / f"shard{i}" for i in range(3)]
    for i, folder in enumerate(shards):
        succeeds(*words, "--shard", f"{i}/3", "--out", folder)
    named = [word for folder in shards for word in ("--rescore", folder)]
    assert "several evaluations" in refused("eval", *named)
    succeeds("eval", *named, "--out", tmp_path / "joined")
    assert metrics_of(tmp_path / "joined") == metrics_of(tmp_path / "whole")
    joined, whole = (
        [{**record, "draft_nll": None} for record in load_evaluation(tmp_path / name)]
        for name in ("joined", "whole")
    )
    assert joined == whole
    twice = ["eval", "--rescore", shards[0], "--rescore", shards[0], "--out", tmp_path / "twice"]
    assert "in several of the evaluations" in refused(*twice)


def test_nothing_that_was_generated_elsewhere_is_written_over(
    base: Path, words: list[str], run: Any, tmp_path: Path
) -> None:
    succeeds(*words, "--limit", "1", "--out", tmp_path / "other")
    rescore = ["eval", "--rescore", base, "--out"]
    assert "holds another evaluation" in refused(*rescore, tmp_path / "other")
    assert "a training run" in refused(*rescore, run.folder)
    assert "folder of a training run" in refused(*words, "--out", run.folder)
    succeeds(*rescore, tmp_path / "again")
    assert "not generated there" in refused(*words, "--limit", "1", "--out", tmp_path / "again")
    assert load_evaluation(tmp_path / "again") == load_evaluation(base)


def test_what_every_shard_left_out_is_counted_once(base: Path, tmp_path: Path) -> None:
    line = json.dumps({"sample_id": "x", "reason": "no call meets it"}) + "\n"
    (base / "excluded.jsonl").write_text(line)
    other = tmp_path / "other"
    shutil.copytree(base, other)
    records = load_evaluation(base)
    for folder, part in ((base, records[::2]), (other, records[1::2])):
        (folder / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    succeeds("eval", "--rescore", base, "--rescore", other, "--out", tmp_path / "joined")
    assert metrics_of(tmp_path / "joined")["n_excluded"] == 1
    assert (tmp_path / "joined" / "excluded.jsonl").read_text() == line


def test_evaluations_that_were_generated_otherwise_are_no_shards(
    words: list[str], evaluations: tuple[Path, Path], tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "joined"]
    base, tuned = evaluations
    assert "not generated alike" in refused("eval", "--rescore", base, "--rescore", tuned, *out)


def test_under_a_threshold_the_exit_code_is_one_and_the_line_says_by_how_much(
    base: Path,
) -> None:
    answer(base, "<tool_call>CALL</tool_call>")
    words = ["eval", "--rescore", base]
    succeeds(*words, "--fail-under", "accuracy=0.9", "--fail-under", "name_correct=1")
    printed = tooltune(*words, "--fail-under", "accuracy=0.9", "--fail-under", "has_call=1")
    assert printed.code == 0
    answer(base, "Hello.")
    printed = tooltune(*words, "--fail-under", "accuracy=0.8", "--fail-under", "malformed_rate=0")
    assert printed.code == 1
    assert printed.err.count("failed:") == 1
    assert "failed: tool_call/accuracy is 0.0000, under 0.8" in printed.err
    assert metrics_of(base)["tool_call/accuracy"] == 0


@pytest.mark.parametrize("threshold", ["acuracy=0.8", "accuracy", "accuracy=x", "accuracy=80"])
def test_a_threshold_that_means_nothing_is_refused_before_the_work(
    base: Path, threshold: str
) -> None:
    refused("eval", "--rescore", base, "--fail-under", threshold)


def test_what_was_interrupted_is_not_scored_as_if_it_were_whole(base: Path) -> None:
    (base / "samples.jsonl").unlink()
    assert "interrupted" in refused("eval", "--rescore", base)


@pytest.mark.parametrize(
    "more",
    [
        ["--repeats", "2"],
        ["--temperature", "0"],
        ["--top-p", "2"],
        ["--parser", "nope"],
        ["--mode", "nope"],
        ["--matching", "nope"],
        ["--shard", "3/3"],
        ["--shard", "one"],
        ["--base-url", "http://localhost:1"],
        ["--engine", "openai"],
        ["--engine", "openai", "--base-url", "localhost"],
        ["--engine", "openai", "--base-url", "http://localhost:1", "--server-mode", "completion"],
        ["--engine", "openai", "--base-url", "http://localhost:1", "--max-prompt-tokens", "9"],
        ["--rescore", "somewhere"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_refused_with_a_fix(
    words: list[str], more: list[str]
) -> None:
    refused(*words, *more)


def test_a_model_and_data_are_wanted(model: Path, data: Path) -> None:
    assert "--model is missing" in refused("eval", "--data", data)
    assert "--data is missing" in refused("eval", "--model", model)


def test_sampling_gives_several_answers_and_the_same_ones_again(
    words: list[str], tmp_path: Path
) -> None:
    sampled = [*words, "--limit", "3", "--do-sample", "--repeats", "2"]
    first = json.loads(succeeds(*sampled, "--json", "--out", tmp_path / "a").out)
    assert (first["n_samples"], first["repeats"]) == (3, 2)
    assert first["tool_call/_count"] + first["tool_call/_abstain_count"] == 6
    assert "tool_call/pass@2" in first
    succeeds(*sampled, "--out", tmp_path / "b")
    succeeds(*sampled, "--seed", "1", "--out", tmp_path / "c")
    texts = [
        [record["text"] for record in load_evaluation(tmp_path / name)] for name in ("a", "b", "c")
    ]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) > 3


def test_a_suite_brings_prompts_without_an_answer_in_them(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = simple_trace()
    asked = replace(trace, messages=trace.messages[:1], id="q1")
    call = {"name": "get_time", "arguments": {"city": "Roma"}, "alternatives": {"city": ["Rome"]}}
    truth = GroundTruth.of([call])
    samples = [EvalSample(asked, 1, None, "suite_part", own_truth=truth)]
    monkeypatch.setattr(suites, "load_suite", lambda name: Suite(samples, [("q2", "no answer")]))
    words = ["eval", "--model", model, "--max-new-tokens", "2"]
    out = tmp_path / "suite"
    metrics = json.loads(succeeds(*words, "--suite", "some:part", "--out", out, "--json").out)
    assert (metrics["n_samples"], metrics["n_excluded"]) == (1, 1)
    assert metrics["tool_call/suite_part/_count"] == 1
    assert "q2" in (out / "excluded.jsonl").read_text()
    rows = load_evaluation(out)
    rows[0]["text"] = '<tool_call>{"name": "get_time", "arguments": {"city": "Rome"}}</tool_call>'
    (out / "samples.jsonl").write_text(json.dumps(rows[0]) + "\n")
    again = json.loads(succeeds("eval", "--rescore", out, "--json").out)
    assert again["tool_call/suite_part/accuracy"] == 1
    assert again["n_excluded"] == 1
    assert "brings its own data" in refused(*words, "--suite", "some:part", "--row", "0")
