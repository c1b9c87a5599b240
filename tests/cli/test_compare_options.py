"""`tooltune compare` of more than two evaluations, of unequal ones, as Markdown, and as a gate."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import files_below, next_commands, refused, succeeds, tooltune, write_rows
from tests.evaluate.records import RIGHT, WRONG, record

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write an evaluation of call turns, right (`1`) or wrong (`0`), and return its folder."""

    def made(name: str, rights: str, **options: Any) -> Path:
        (tmp_path / name).mkdir()
        said = {"1": (RIGHT,), "0": (WRONG,)}
        records = [record(f"t{i}", 1, said[right], **options) for i, right in enumerate(rights)]
        write_rows(tmp_path / name / "samples.jsonl", *records)
        return tmp_path / name

    return made


def test_several_are_compared_with_the_first(make: Make, tmp_path: Path) -> None:
    folders = [make("base", "0" * 12), make("b", "1" * 12), make("c", "0" * 12)]
    printed = succeeds("compare", *folders, "--out", tmp_path / "out")
    assert "p (Holm)" in printed.out
    assert files_below(tmp_path / "out") == ["comparison.json", "report.html"]
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert json.loads(succeeds("compare", *folders, "--json").out) == written
    assert [c["tuned_name"] for c in written["comparisons"]] == [str(f) for f in folders[1:]]
    for folder in folders:
        assert str(folder) in printed.out


def test_one_evaluation_is_nothing_to_compare(make: Make) -> None:
    assert "nothing to compare" in refused("compare", make("base", "01"))


def test_unequal_evaluations_are_compared_on_request_and_it_is_said(make: Make) -> None:
    base, tuned = make("base", "0101"), make("tuned", "011")
    assert "--common to compare only the 3 samples" in refused("compare", base, tuned)
    printed = succeeds("compare", base, tuned, "--common")
    assert "1 of base and 0 of tuned are left out" in printed.out
    again = next_commands(printed)[0]
    assert again == f"tooltune compare {base} {tuned} --common --out comparison"
    found = json.loads(succeeds("compare", base, tuned, "--common", "--json").out)
    assert (found["n_samples"], found["n_only_base"], found["n_only_tuned"]) == (3, 1, 0)


def test_the_command_that_comes_next_works(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = succeeds("compare", make("a", "0101"), make("b", "011"), "--common")
    succeeds(*shlex.split(next_commands(printed)[0])[1:])


def test_markdown_goes_to_a_file_or_to_the_screen_instead_of_the_table(
    make: Make, tmp_path: Path
) -> None:
    words = ["compare", make("base", "0101"), make("tuned", "0111")]
    shown = succeeds(*words, "--markdown", "-").out
    printed = succeeds(*words, "--markdown", tmp_path / "pr.md")
    assert shown == (tmp_path / "pr.md").read_text()
    assert shown.startswith("### Tool calls: `")
    assert "metric" in printed.out
    assert "###" not in printed.out
    assert f"Markdown: {tmp_path / 'pr.md'}" in printed.out
    assert "both want the output" in refused(*words, "--markdown", "-", "--json")
    assert "cannot be written" in refused(*words, "--markdown", tmp_path)


def test_a_significant_fall_fails_and_any_other_passes_with_a_line(make: Make) -> None:
    good, bad, fair = make("good", "1" * 12), make("bad", "0" * 12), make("fair", "1" * 10 + "00")
    printed = tooltune("compare", good, bad, "--fail-if-worse")
    assert printed.code == 1
    assert printed.err.count("failed:") == 1
    assert f"accuracy of {bad} is significantly worse than that of {good}" in printed.err
    assert "metric" in printed.out
    for base, tuned in ((good, fair), (bad, good)):
        passed = succeeds("compare", base, tuned, "--fail-if-worse")
        assert "passed: accuracy of" in passed.err
    assert tooltune("compare", good, fair, bad, "--fail-if-worse").code == 1
    succeeds("compare", good, bad)


def test_the_tuned_side_is_held_to_a_threshold(make: Make) -> None:
    base, tuned, third = make("base", "0000"), make("tuned", "0011"), make("third", "0001")
    succeeds("compare", base, tuned, "--fail-under", "accuracy=0.5")
    printed = tooltune("compare", base, tuned, "--fail-under", "accuracy=0.6")
    assert printed.code == 1
    assert "failed: tool_call/accuracy is 0.5000, under 0.6" in printed.err
    printed = tooltune("compare", base, tuned, third, "--fail-under", "accuracy=0.5")
    assert printed.code == 1
    assert f"failed: {third}: tool_call/accuracy is 0.2500, under 0.5" in printed.err
    refused("compare", base, tuned, "--fail-under", "acuracy=0.5")


def test_all_that_failed_is_said_before_the_command_ends(make: Make) -> None:
    words = ["compare", make("good", "1" * 12), make("bad", "0" * 12)]
    printed = tooltune(*words, "--fail-if-worse", "--fail-under", "accuracy=0.5", "--json")
    assert (printed.code, printed.err.count("failed:")) == (1, 2)
    assert json.loads(printed.out)["tool_call/accuracy"]["broken"] == [f"t{i}/1" for i in range(12)]


def test_names_from_outside_cannot_write_to_the_terminal(make: Make, tmp_path: Path) -> None:
    base, tuned = make("base", "01", dataset="x\x1b[31m\nmetric"), tmp_path / "e\x1b[2Jvil"
    tuned.mkdir()
    (tuned / "samples.jsonl").write_bytes((base / "samples.jsonl").read_bytes())
    for words in ([], ["--markdown", "-"]):
        assert "\x1b" not in succeeds("compare", base, tuned, *words).out
