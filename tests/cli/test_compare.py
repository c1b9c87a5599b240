"""`tooltune compare`: the table, its files, and evaluations that are broken or do not belong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import files_below, next_commands, refused, succeeds, tooltune
from tests.cli.conftest import TinyRun
from tooltune.evaluate.evaluation_file import load_evaluation

Evaluations = tuple[Path, Path]


def test_the_table_names_both_sides_and_proposes_the_page(evaluations: Evaluations) -> None:
    base, tuned = evaluations
    printed = succeeds("compare", base, tuned)
    assert f"base: {base}   tuned: {tuned}" in printed.out
    assert "McNemar exact p" in printed.out
    assert next_commands(printed) == [f"tooltune compare {base} {tuned} --out comparison"]


def test_the_page_and_the_numbers_are_written_on_request(
    evaluations: Evaluations, tmp_path: Path
) -> None:
    printed = succeeds("compare", *evaluations, "--out", tmp_path / "c")
    assert files_below(tmp_path / "c") == ["comparison.json", "report.html"]
    assert f"report: {tmp_path / 'c' / 'report.html'}" in printed.out
    shown = json.loads(succeeds("compare", *evaluations, "--json").out)
    assert shown == json.loads((tmp_path / "c" / "comparison.json").read_text())


def test_the_evaluations_inside_a_run_can_be_compared(run: TinyRun) -> None:
    folder = run.folder / "eval"
    assert "2 call turns" in succeeds("compare", folder / "step_0", folder / "final").out


def test_the_folder_of_a_run_is_not_overwritten(evaluations: Evaluations, run: TinyRun) -> None:
    before = (run.folder / "comparison.json").read_bytes()
    assert "folder of a training run" in refused("compare", *evaluations, "--out", run.folder)
    assert (run.folder / "comparison.json").read_bytes() == before


def test_a_folder_without_an_evaluation_is_named(
    evaluations: Evaluations, run: TinyRun, tmp_path: Path
) -> None:
    assert str(tmp_path / "none") in refused("compare", evaluations[0], tmp_path / "none")
    assert f"{run.folder / 'eval' / 'final'}" in refused("compare", evaluations[0], run.folder)


DAMAGES = {
    "empty": (b"", "holds no samples"),
    "cut off": (b'{"sample_id": "a/1", "exa', "line 1: not JSON"),
    "not an object": (b"[1, 2]\n", "line 1: not a JSON object"),
    "no verdict": (
        b'{"sample_id": "a/1", "example_id": "a", "dataset": "x", "kind": "call"}\n',
        "`",
    ),
    "binary": (b"\x80\x00\xff\n", "line 1: not JSON"),
    "deep": (b"[" * 100_000 + b"\n", "line 1: not JSON"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_samples_file_is_named_with_its_line(
    evaluations: Evaluations, tmp_path: Path, damage: str
) -> None:
    content, message = DAMAGES[damage]
    (tmp_path / "samples.jsonl").write_bytes(content)
    said = refused("compare", evaluations[0], tmp_path)
    assert str(tmp_path / "samples.jsonl") in said
    assert message in said


def test_a_damaged_metrics_file_neither_stops_nor_spoils_the_comparison(
    evaluations: Evaluations, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(evaluations[1], tmp_path / "copy"))
    (copy / "metrics.json").write_text('{"model": ')
    succeeds("compare", evaluations[0], copy, "--out", tmp_path / "c")
    assert "metrics.json is not JSON" in (tmp_path / "c" / "report.html").read_text()


def test_evaluations_of_other_samples_are_no_pair(evaluations: Evaluations, tmp_path: Path) -> None:
    lines = (evaluations[1] / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "samples.jsonl").write_text("".join(lines[1:]))
    said = refused("compare", evaluations[0], tmp_path)
    assert "only in the base evaluation" in said
    assert "same data with the same limits" in said


def answered(evaluation: Path, into: Path, text: str) -> Path:
    """An evaluation in which 8 conversations answer each turn that should call with this text."""
    shutil.copytree(evaluation, into)
    rows = [
        row | {key: f"{row[key]}-{copy}" for key in ("sample_id", "example_id", "group")}
        for copy in range(8)
        for row in load_evaluation(evaluation)
    ]
    for row in rows:
        calls = row["gt_tool_calls"]
        row["text"] = text.replace("CALL", json.dumps(calls[0])) if calls else "Hello."
    (into / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    succeeds("eval", "--rescore", into)
    return into


def test_an_evaluation_is_held_to_an_earlier_one(evaluations: Evaluations, tmp_path: Path) -> None:
    good = answered(evaluations[0], tmp_path / "good", "<tool_call>CALL</tool_call>")
    bad = answered(evaluations[0], tmp_path / "bad", "Hello.")
    printed = tooltune("eval", "--rescore", bad, "--fail-if-worse-than", good)
    assert printed.code == 1
    assert printed.err.count("failed:") == 1
    assert f"is significantly worse than that of {good}: 0.000 against 1.000" in printed.err
    for run, earlier in ((good, bad), (good, good)):
        passed = succeeds("eval", "--rescore", run, "--fail-if-worse-than", earlier)
        assert "passed: accuracy of" in passed.err


def test_an_earlier_evaluation_that_is_none_or_of_other_samples_is_refused(
    evaluations: Evaluations, tmp_path: Path
) -> None:
    words = ["eval", "--rescore", evaluations[0], "--out", tmp_path / "out"]
    assert "no samples" in refused(*words, "--fail-if-worse-than", tmp_path / "none")
    assert not (tmp_path / "out").exists()
    other = answered(evaluations[0], tmp_path / "other", "Hello.")
    assert "only in the base" in refused(*words, "--fail-if-worse-than", other)
