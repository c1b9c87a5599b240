from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.report.fabricate import Run, comparison_of, fabricate_run
from tests.report.page import Page, read_page
from tooltune.errors import UserError
from tooltune.evaluate.compare import compare_several, load_evaluation
from tooltune.evaluate.results import write_evaluation
from tooltune.report.build import (
    write_comparison_report,
    write_evaluation_report,
    write_report,
)

FILES = [
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "comparison.json",
    "ledger.jsonl",
    "split.json",
    "eval/step_0/samples.jsonl",
    "eval/step_0/metrics.json",
    "eval/final/samples.jsonl",
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "demo"
    return fabricate_run(folder)


def chips(path: Path) -> dict[str, int]:
    """The count on every filter button, by filter and value."""
    found = re.findall(
        r'data-filter="(\w+)" data-value="(\w*)"[^>]*>[^<]*<span class="count">(\d+)<',
        path.read_text(encoding="utf-8"),
    )
    return {f"{name}={value}": int(n) for name, value, n in found}


def test_the_report_lies_in_the_run_folder_and_holds_every_sample(run: Run) -> None:
    path = write_report(run.folder)
    assert path == run.folder / "report.html"
    rows = read_page(path).data["rows"]
    assert [row["id"] for row in rows] == [sample["sample_id"] for sample in run.tuned]
    assert [path.name for path in run.folder.glob("*.tmp")] == []


def test_the_counts_on_the_page_are_those_of_the_verdicts(run: Run) -> None:
    counts = chips(write_report(run.folder))
    assert counts == {
        "state=": 40,
        "state=fixed": run.count(False, True),
        "state=broken": run.count(True, False),
        "state=right": run.count(True, True),
        "state=wrong": run.count(False, False),
        "kind=": 40,
        "kind=call": sum(sample["kind"] == "call" for sample in run.tuned),
        "kind=abstain": sum(sample["kind"] == "abstain" for sample in run.tuned),
    }
    assert all(counts.values())


def test_the_page_shows_headline_metrics_curves_facts_and_extra_data_sets(run: Run) -> None:
    page = read_page(write_report(run.folder))
    accuracy = run.comparison["tool_call/accuracy"]
    for words in (
        f"{accuracy['base'] * 100:.1f}%",
        f"{accuracy['tuned'] * 100:.1f}%",
        f"fixed {accuracy['tuned_only']} and broke {accuracy['base_only']}",
        "Unseen tools",
        "44.0%",
        "Rows read 303",
        "Rows accepted 300",
        "Rows rejected 3",
        "unknown_role 2",
        "Tokens trained 60,000",
        "Time in training steps 4 min 24 s",
        "Traces held out 2",
        "packages.torch 2.13.0",
        "peft: {dim: 16}",
    ):
        assert words in page.text, words
    assert "What this page lacks" not in page.text
    figures = [svg["aria-label"] or "" for svg in page.all("svg") if svg.get("role") == "img"]
    assert [label.split(" ", 1)[0] for label in figures] == ["Loss", "Tool"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_on_the_page(run: Run, name: str) -> None:
    (run.folder / name).unlink()
    text = read_page(write_report(run.folder)).text
    assert f"{name} is not there" in text


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("yaml")])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b'"text"', b"null\n7\n"]
)
def test_a_damaged_file_never_stops_the_report(run: Run, name: str, content: bytes) -> None:
    (run.folder / name).write_bytes(content)
    assert write_report(run.folder).exists()


def test_lines_that_cannot_be_read_are_counted_and_the_others_are_shown(run: Run) -> None:
    with (run.folder / "eval/final/samples.jsonl").open("a") as file:
        file.write('{"half\n{"sample_id": 3}\n' + '{"a":' * 100_000 + "\n")
    page = read_page(write_report(run.folder))
    assert "eval/final/samples.jsonl: 3 lines could not be read." in page.text
    assert len(page.data["rows"]) == 40


def test_an_empty_run_folder_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    text = read_page(write_report(tmp_path)).text
    assert "there is no accuracy to show" in text
    assert "No samples could be read." in text
    assert "eval/final is not there: that model was not evaluated." in text


def test_without_a_comparison_the_metrics_of_the_evaluations_are_shown(run: Run) -> None:
    (run.folder / "comparison.json").unlink()
    text = read_page(write_report(run.folder)).text
    assert f"{run.comparison['tool_call/accuracy']['tuned'] * 100:.1f}%" in text
    assert "95% interval +" not in text
    assert "McNemar" not in text


def test_a_run_whose_tuned_model_was_not_evaluated_shows_the_base_alone(run: Run) -> None:
    shutil.rmtree(run.folder / "eval/final")
    path = write_report(run.folder)
    assert set(chips(path)) == {"state=", "state=right", "state=wrong"} | {
        f"kind={kind}" for kind in ("", "call", "abstain")
    }
    assert all(row["sides"][1] is None for row in read_page(path).data["rows"])


def test_other_evaluations_can_be_named(run: Run) -> None:
    (run.folder / "eval/final").rename(run.folder / "eval/step_60")
    page = read_page(write_report(run.folder, tuned_tag="step_60"))
    assert page.data["rows"][0]["sides"][1] is not None


def test_a_folder_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run folder"):
        write_report(tmp_path / "nowhere")


def test_a_page_that_cannot_be_written_is_the_users_mistake(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(run.folder, tmp_path / "file" / "report.html")


@pytest.mark.parametrize("out", ["compared", "compared/page.html"])
def test_two_evaluations_are_compared_without_a_run(run: Run, tmp_path: Path, out: str) -> None:
    path = write_comparison_report(
        run.folder / "eval/step_0", run.folder / "eval/final", run.comparison, tmp_path / out
    )
    assert path == tmp_path / "compared" / ("page.html" if out.endswith("html") else "report.html")
    page = read_page(path)
    assert len(page.data["rows"]) == 40
    assert "Training" not in page.text
    assert "What this page lacks" not in page.text
    assert "builtin:smollm2-135m-instruct against runs/demo" in page.text


def test_three_evaluations_are_compared_with_the_first(run: Run, tmp_path: Path) -> None:
    folders = []
    for name, records in (("base", run.base), ("tuned", run.tuned), ("later", run.base)):
        write_evaluation(tmp_path / name, records, model_name=name)
        folders.append(tmp_path / name)
    comparison = compare_several([(f.name, load_evaluation(f)) for f in folders])
    base, tuned, later = folders
    path = write_comparison_report(base, tuned, comparison, tmp_path, others=[later])
    page = read_page(path)
    assert [column["label"] for column in page.data["columns"]] == ["base", "tuned", "later"]
    assert [len(row["sides"]) for row in page.data["rows"]] == [3] * 40
    entry = comparison["comparisons"][0]["tool_call/accuracy"]
    before, after = (f"{entry[side] * 100:.1f}%" for side in ("base", "tuned"))
    change = f"+{entry['difference'] * 100:.1f}"
    assert f"no extra call {before} {after} {change}" in page.text
    assert "3 evaluations" in page.text
    first_only = write_comparison_report(
        base, tuned, comparison["comparisons"][0], tmp_path / "b", others=[later]
    )
    assert f"no extra call {before} {after} {change}" in read_page(first_only).text


def test_the_page_of_one_evaluation_lies_in_its_folder(run: Run) -> None:
    write_evaluation(run.folder / "eval/final", run.tuned, model_name="mine")
    path = write_evaluation_report(run.folder / "eval/final")
    assert path == run.folder / "eval/final/report.html"
    page = read_page(path)
    main = [t for t in run.tuned if t["dataset"] == "held_out" and t["kind"] == "call"]
    rate = sum(t["verdict"]["correct"] for t in main) / len(main)
    assert f"Tool-call accuracy {rate * 100:.1f}%" in page.text
    assert f"{len(main)} turns that should call a tool" in page.text
    assert "mine" in page.text
    assert "Tuned" not in page.text
    assert "McNemar" not in page.text
    assert set(chips(path)) == {"state=", "state=right", "state=wrong"} | {
        f"kind={kind}" for kind in ("", "call", "abstain")
    }


def test_one_evaluation_of_public_suites_has_its_accuracy_over_all(
    run: Run, tmp_path: Path
) -> None:
    records = [{**t, "dataset": f"suite_{i % 2}"} for i, t in enumerate(run.tuned)]
    write_evaluation(tmp_path / "suite", records, model_name="mine")
    text = read_page(write_evaluation_report(tmp_path / "suite")).text
    calls = [t for t in records if t["kind"] == "call"]
    rate = sum(t["verdict"]["correct"] for t in calls) / len(calls)
    assert f"Tool-call accuracy {rate * 100:.1f}%" in text
    assert "Suite 0 , accuracy" in text


def test_an_evaluation_folder_that_holds_nothing_gives_a_page_that_says_so(tmp_path: Path) -> None:
    text = read_page(write_evaluation_report(tmp_path)).text
    assert "there is no accuracy to show" in text
    assert "metrics.json is not there" in text


def test_the_tables_name_failures_outcomes_tools_and_parse_statuses(run: Run) -> None:
    text = read_page(write_report(run.folder)).text
    for words in (
        "What goes wrong",
        "Missing argument an argument that was due is not there",
        "Turns that should not call",
        "Called a well-formed call that nobody asked for",
        "Is it the parser or the model?",
        "Accuracy at most",
        "Accuracy by tool",
        "get_weather",
    ):
        assert words in text, words


def test_what_a_continued_run_changed_stands_below_its_configuration(tmp_path: Path) -> None:
    run = fabricate_run(tmp_path, 2)
    assert "changed when the run was continued" not in read_page(write_report(run.folder)).text
    (tmp_path / "config.history.yaml").write_text("- changed: {step_scheduler.max_steps: 9}\n")
    text = read_page(write_report(run.folder)).text
    assert "changed when the run was continued" in text
    assert "step_scheduler.max_steps: 9" in text


def test_lone_surrogates_and_control_characters_do_not_break_the_page(tmp_path: Path) -> None:
    odd = "a\ud800b\x00c\u202ed\x1b[31m\r\ne"
    run = fabricate_run(tmp_path, 2, lambda row: {**row, "text": odd})
    (tmp_path / "config.yaml").write_bytes(b"name: \xff\x00\n")
    page = read_page(write_report(run.folder))
    assert page.data["rows"][0]["sides"][1]["text"] == odd.replace("\ud800", "\ufffd")


def test_numbers_that_json_cannot_say_do_not_break_the_page(tmp_path: Path) -> None:
    def change(row: dict[str, object]) -> dict[str, object]:
        return {**row, "calls": [{"name": "f", "arguments": {"x": float("nan")}, "status": "ok"}]}

    run = fabricate_run(tmp_path, 2, change)
    comparison = comparison_of(run.base, run.tuned)
    comparison["tool_call/has_call"]["base"] = float("inf")
    (tmp_path / "comparison.json").write_text(json.dumps(comparison))
    page: Page = read_page(write_report(run.folder))
    arguments = page.data["rows"][0]["sides"][1]["calls"][0]["arguments"]
    assert {"key": "x", "state": "extra", "expected": None, "actual": "NaN"} in arguments


def test_secrets_in_configuration_and_outputs_are_removed(tmp_path: Path) -> None:
    secret = "hf_" + "aB3d" * 8
    run = fabricate_run(tmp_path, 2, lambda row: {**row, "text": f"my token is {secret}"})
    (tmp_path / "config.yaml").write_text(f"token: {secret}\nurl: http://me:pass@host/x\n")
    path = write_report(run.folder)
    html = path.read_text(encoding="utf-8")
    assert secret not in html
    assert "me:pass" not in html
    assert "my token is ***" in read_page(path).data["rows"][0]["sides"][1]["text"]


def test_five_thousand_samples_take_seconds(tmp_path: Path) -> None:
    run = fabricate_run(tmp_path, 5_000)
    start = time.process_time()
    path = write_report(run.folder)
    assert time.process_time() - start < 8
    assert path.stat().st_size < 30_000_000
