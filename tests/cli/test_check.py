"""`tooltune check`: findings for people and for programs, and what to do next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import next_commands, refused, succeeds, tooltune, write_rows
from tests.report.page import read_page


def test_the_findings_of_a_config_are_counted(config: Path, tmp_path: Path) -> None:
    printed = succeeds("check", config)
    assert "rows      8 read, 8 accepted, 0 rejected" in printed.out
    assert "split     6 traces to train on, 2 held out, 3 turns to generate" in printed.out
    assert "turns end in <|im_end|>; calls are read as hermes" in printed.out
    assert "steps     3 of 2 traces (3 an epoch)" in printed.out
    assert not (tmp_path / "run").exists()


def test_the_same_findings_are_json_for_programs(config: Path) -> None:
    printed = succeeds("check", config, "--json")
    findings = json.loads(printed.out)
    assert findings["rows"]["accepted"] == 8
    assert findings["tokens"]["targets"] > 0
    assert findings["steps"]["total"] == 3


def test_what_it_proposes_works_as_it_stands(config: Path, model: Path, data: Path) -> None:
    preview, train = next_commands(succeeds("check", config))
    assert train == f"tooltune train {config}"
    assert "trained" in succeeds(*preview.split()[1:]).out
    (of_data,) = next_commands(succeeds("check", data, "--model", model))
    assert of_data == f"tooltune preview {data} --model {model}"
    assert "trained" in succeeds(*of_data.split()[1:]).out


def test_overrides_are_used_and_proposed_again(config: Path) -> None:
    printed = succeeds("check", config, "--step_scheduler.num_epochs=3")
    assert "steps     9 of 2 traces" in printed.out
    assert all(c.endswith("--step_scheduler.num_epochs=3") for c in next_commands(printed))


def test_a_path_with_spaces_is_quoted_in_what_it_proposes(
    model: Path, data: Path, tmp_path: Path
) -> None:
    spaced = tmp_path / "my traces.jsonl"
    spaced.write_bytes(data.read_bytes())
    (command,) = next_commands(succeeds("check", spaced, "--model", model))
    assert command == f"tooltune preview '{spaced}' --model {model}"


USER = {"role": "user", "content": "How is it in Rome?"}
ANSWER = {"role": "assistant", "content": "Sunny."}
SECRET = "sk-" + "proj-" + "x9" * 16
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "array"}},
            "required": ["city"],
        },
    },
}


def calling(tools: Any = (WEATHER,), **arguments: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
    return {"messages": [USER, message], "tools": list(tools)}


GOOD = calling(city="Rome")
WRONG = calling(city=3)
ODD = {"messages": [USER, USER, ANSWER], "tools": [WEATHER]}
BROKEN = {"messages": [USER, {"role": "wizard", "content": "4"}]}


def findings_in(path: Path, *words: str | Path) -> dict[str, Any]:
    found = json.loads(succeeds("check", path, "--json", *words).out)
    assert isinstance(found, dict)
    return found


def test_data_are_checked_without_a_model(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", GOOD, WRONG, ODD, BROKEN)
    printed = succeeds("check", path)
    assert "rows      4 read, 3 accepted, 1 rejected" in printed.out
    assert "formats   openai: 3 rows" in printed.out
    assert "findings  2 errors, 1 warning, 0 notes" in printed.out
    assert "wrong_argument_type: 1" in printed.out
    place = f"{path}:1 messages[1]: tool_calls[0].arguments.city of 'get_weather': 3 is no string"
    assert place in printed.out
    assert "fix: correct the call" in printed.out
    assert "template" not in printed.out.split("next:")[0]
    (command,) = next_commands(printed)
    assert command == f"tooltune check {path} --model builtin:smollm2-135m-instruct"


def test_findings_are_json_for_programs_with_and_without_a_model(
    model: Path, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "traces.jsonl", GOOD, WRONG, BROKEN)
    alone = findings_in(path)
    assert alone["rows"]["rejected"] == {"unknown_role": 1}
    assert alone["findings"]["counts"] == {"wrong_argument_type": 1, "unknown_role": 1}
    assert alone["formats"]["openai"]["rows"] == 2
    assert "messages" in alone["formats"]["openai"]["why"]
    wrong = next(c for c in alone["findings"]["codes"] if c["code"] == "wrong_argument_type")
    (example,) = wrong["examples"]
    assert (example["file"], example["row"], example["turn"]) == (str(path), 1, 1)
    assert (wrong["severity"], wrong["count"], wrong["rows"]) == ("error", 1, 1)
    rendered = findings_in(path, "--model", model)
    assert rendered["findings"] == alone["findings"]
    assert rendered["tokens"]["targets"] > 0


def test_what_the_template_cannot_say_is_a_finding_under_its_code(
    model: Path, tmp_path: Path
) -> None:
    said = {**ANSWER, "content": "<|im_end|>"}
    path = write_rows(tmp_path / "traces.jsonl", GOOD, {"messages": [USER, said]})
    assert findings_in(path)["findings"]["counts"] == {"control_string": 1}
    both = findings_in(path, "--model", model)["findings"]["counts"]
    assert both == {"control_token_in_text": 1, "control_string": 1}


@pytest.mark.parametrize(
    ("row", "codes"),
    [
        (GOOD, {"never": 0, "error": 0, "warning": 0, "info": 0}),
        (ODD, {"never": 0, "error": 0, "warning": 1, "info": 1}),
        (WRONG, {"never": 0, "error": 1, "warning": 1, "info": 1}),
        (BROKEN, {"never": 0, "error": 1, "warning": 1, "info": 1}),
    ],
)
def test_the_exit_code_says_whether_findings_are_as_bad_as_the_threshold(
    tmp_path: Path, row: Any, codes: dict[str, int]
) -> None:
    path = write_rows(tmp_path / "traces.jsonl", GOOD, row if row != GOOD else calling(city="Bern"))
    for threshold, code in codes.items():
        printed = tooltune("check", path, "--fail-on", threshold)
        assert printed.code == code, (threshold, printed.out)
        assert "rows      2 read" in printed.out, "findings are shown all the same"
    assert tooltune("check", path).code == 0
    assert "write one of error" in refused("check", path, "--fail-on", "fatal")


def test_a_format_can_be_asked_for(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", GOOD)
    assert findings_in(path, "--format", "openai")["formats"]["openai"]["why"] == "as asked for"
    assert "none of 1 rows can be used" in refused("check", path, "--format", "sharegpt")
    assert "did you mean sharegpt" in refused("check", path, "--format", "sharegtp")


def test_safe_findings_are_fixed_in_a_new_file_and_listed(tmp_path: Path) -> None:
    ending = {"messages": [*ODD["messages"], USER], "tools": [WEATHER, WEATHER]}
    rows = [GOOD, calling(city="Rome", days="[1, 2]"), GOOD, ending, BROKEN, ODD]
    path = write_rows(tmp_path / "traces.jsonl", *rows)
    out = tmp_path / "fixed.jsonl"
    printed = succeeds("check", path, "--fix", out)
    assert f"fixed     {out}: 3 rows, " in printed.out
    assert "2 duplicate_trace" in printed.out
    assert "1 rejected row left out" in printed.out
    assert f"tooltune check {out}" in next_commands(printed)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert written[1]["messages"][1]["tool_calls"][0]["function"]["arguments"]["days"] == [1, 2]
    assert findings_in(out)["findings"]["counts"] == {"repeated_role": 1}
    ledger = [json.loads(line) for line in Path(f"{out}.ledger.jsonl").read_text().splitlines()]
    assert [(entry["row"], entry["code"]) for entry in ledger] == [
        (1, "fixed_arguments_encoded_twice"),
        (2, "fixed_duplicate_trace"),
        (3, "fixed_trailing_message"),
        (3, "fixed_duplicate_tool"),
        (5, "fixed_duplicate_trace"),
        (4, "unknown_role"),
    ]
    assert {entry["file"] for entry in ledger} == {str(path)}


def test_secrets_are_redacted_in_a_new_file_and_never_shown(tmp_path: Path) -> None:
    leaked = {**USER, "content": f"my key is {SECRET}"}
    path = write_rows(tmp_path / "traces.jsonl", GOOD, {"messages": [leaked, ANSWER]}, GOOD)
    fixed, out = tmp_path / "fixed.jsonl", tmp_path / "clean.jsonl"
    printed = succeeds("check", path, "--redact", out)
    assert "secret: 1" in printed.out
    assert f"redacted  {out}: 3 rows, 1 redacted" in printed.out
    ledger = Path(f"{out}.ledger.jsonl").read_text()
    assert json.loads(ledger)["reason"] == "messages[0].content: a sk_key"
    for text in (printed.out, printed.err, out.read_text(), ledger):
        assert SECRET not in text
    assert "[REDACTED:sk_key]" in out.read_text()
    assert "secret" not in findings_in(out)["findings"]["counts"]
    again = tmp_path / "again.jsonl"
    written = findings_in(path, "--fix", fixed, "--redact", again)["written"]
    assert [written[name]["rows"] for name in ("fix", "redact")] == [2, 2]
    assert SECRET in fixed.read_text()
    assert SECRET not in again.read_text()


def test_no_file_is_ever_overwritten(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", GOOD)
    before = path.read_bytes()
    for option in ("--fix", "--redact"):
        assert "never overwritten" in refused("check", path, option, path)
        assert "mkdir -p" in refused("check", path, option, tmp_path / "no" / "out.jsonl")
    out = tmp_path / "out.jsonl"
    Path(f"{out}.ledger.jsonl").write_text("kept")
    assert "never overwritten" in refused("check", path, "--fix", out)
    other = tmp_path / "other.jsonl"
    assert "name two files" in refused("check", path, "--fix", other, "--redact", other)
    assert path.read_bytes() == before
    assert not other.exists()
    assert not out.exists()


def test_copies_that_the_reading_deals_with_are_no_findings(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", GOOD, GOOD)
    assert findings_in(path)["findings"]["counts"] == {"duplicate_trace": 1}
    weighed = findings_in(path, "--dataset.deduplicate=weight")
    assert weighed["findings"]["counts"] == {}


@pytest.mark.needs_data
def test_what_is_wrong_with_the_shared_data_is_found(shared_data: Path) -> None:
    found = findings_in(shared_data)["findings"]
    assert found["counts"]["wrong_argument_type"] == 1
    assert found["counts"]["duplicate_trace"] == 35
    assert found["counts"]["repetitive_text"] == 1
    rows = {c["code"]: [e["row"] for e in c["examples"]] for c in found["codes"]}
    assert rows["wrong_argument_type"] == [259]
    assert rows["repetitive_text"] == [243]
    assert 243 in rows["outlier_length"]
    assert found["by_severity"]["error"] == 1


TALK = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
PAGE_ROWS = [TALK, TALK, {"messages": [{"role": "user", "content": "Anyone?"}]}]


def test_the_page_shows_rows_findings_and_the_lengths_of_all_traces(
    model: Path, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "traces.jsonl", *PAGE_ROWS)
    out = tmp_path / "page.html"
    printed = succeeds("check", path, "--model", model, "--html", out)
    assert "openai: 2 rows" in printed.out
    page = read_page(out)
    assert [row["flags"][0] for row in page.data["rows"]] == ["accepted", "accepted", "rejected"]
    assert "duplicate_trace" in page.text
    assert "no_assistant_turn" in page.text
    assert "3 rows read, 2 traces" in page.text


def test_a_page_without_a_model_is_refused(data: Path, tmp_path: Path) -> None:
    assert "--model" in refused("check", data, "--html", tmp_path / "page.html")


def test_what_flags_did_to_rows_is_counted(model: Path, tmp_path: Path) -> None:
    long = {
        "messages": [
            {"role": role, "content": f"{text} " * 30}
            for text in ("one", "two", "three")
            for role in ("user", "assistant")
        ]
    }
    path = write_rows(tmp_path / "traces.jsonl", long)
    flags = ["--dataset.seq_length=120", "--dataset.truncate_history=true"]
    printed = succeeds("check", path, "--model", model, *flags)
    assert "1 truncated rows" in printed.out
    assert "truncated exchanges" in printed.out
