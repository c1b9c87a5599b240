"""Data that cannot be used: a message with place, reason and fix, exit code 2, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import refused, succeeds, tooltune, write_rows

USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "4"}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def calling(**call: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": call}]}
    return {"messages": [USER, message], "tools": TOOLS}


GOOD = calling(name="add", arguments={"a": 2, "b": 2})

BAD_ROWS: dict[str, tuple[Any, str, str]] = {
    "an unknown role": (
        {"messages": [USER, {"role": "wizard", "content": "4"}]},
        "unknown_role",
        "messages[1].role is 'wizard'",
    ),
    "tools that are no list": (
        {"messages": [USER, ANSWER], "tools": 5},
        "tools_not_a_list",
        "tools",
    ),
    "a call with no name": (calling(arguments={}), "call_without_name", "messages[1].tool_calls"),
    "arguments that are no object": (
        calling(name="add", arguments=[2, 2]),
        "arguments_not_an_object",
        "messages[1].tool_calls[0].arguments",
    ),
    "no assistant turn": ({"messages": [USER]}, "no_assistant_turn", "messages"),
    "no targets": (
        {"messages": [USER, {**ANSWER, "weight": 0}]},
        "no_targets",
        "every weight is 0",
    ),
}


@pytest.fixture(params=["check", "preview", "eval", "train"])
def on_data(request: pytest.FixtureRequest, model: Path, tmp_path: Path) -> Any:
    """Each verb that reads data, as a function of the file: what it says when it refuses it."""

    def run(data: Path) -> str:
        if request.param == "train":
            config = tmp_path / "my.yaml"
            out = tmp_path / "run"
            config.write_text(f"model: {model}\ndataset: {{path: {data}}}\noutput_dir: {out}\n")
            said = refused("train", config)
            assert not out.exists(), "a run that cannot start leaves no folder"
            return said
        if request.param == "eval":
            said = refused("eval", "--model", model, "--data", data)
        else:
            said = refused(request.param, data, "--model", model)
        return said

    return run


FILES: dict[str, tuple[bytes | None, str]] = {
    "no file": (None, "no such file"),
    "an empty file": (b"", "is empty"),
    "only blank lines": (b"\n \n", "is empty"),
    "not JSON": (b"name,age\nAnn,3\n", "is not JSON"),
    "a broken array": (b'[{"messages": []}, {', "is not JSON"),
    "not text": (b"\x80\x81\xff", "is not JSON"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    model: Path, tmp_path: Path, case: str
) -> None:
    content, message = FILES[case]
    path = tmp_path / "traces.json"
    if content is not None:
        path.write_bytes(content)
    said = refused("check", path, "--model", model)
    assert message in said
    assert str(path) in said


def test_every_verb_refuses_a_file_that_is_not_there_or_is_no_json(
    on_data: Any, tmp_path: Path
) -> None:
    path = tmp_path / "traces.json"
    assert f"{path}: no such file" in on_data(path)
    path.write_text("name,age\n")
    assert f"{path} is not JSON" in on_data(path)


def test_a_folder_is_refused_and_its_files_are_proposed(on_data: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "good.jsonl", GOOD)
    said = on_data(folder)
    assert "is a folder, not a file" in said
    assert "good.jsonl" in said


@pytest.mark.parametrize("case", BAD_ROWS)
def test_when_all_rows_are_rejected_the_codes_and_an_example_of_each_are_shown(
    model: Path, tmp_path: Path, case: str
) -> None:
    row, code, where = BAD_ROWS[case]
    path = write_rows(tmp_path / "traces.jsonl", row, row)
    said = refused("check", path, "--model", model)
    assert code in said
    assert "2" in said
    assert f"{path}:0" in said
    assert where in said


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_rejected_row_beside_good_ones_is_counted_and_named(
    model: Path, tmp_path: Path, case: str
) -> None:
    row, code, where = BAD_ROWS[case]
    path = write_rows(tmp_path / "traces.jsonl", GOOD, row)
    printed = succeeds("check", path, "--model", model)
    assert "2 read, 1 accepted, 1 rejected" in printed.out
    assert f"{code}: 1" in printed.out
    assert f"{path}:1" in printed.out
    assert where in printed.out
    said = refused("preview", path, "--model", model, "--row", "1")
    assert code in said
    assert where in said


def test_a_line_that_is_no_json_costs_that_line_alone(model: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", GOOD, '{"messages": [', GOOD)
    printed = succeeds("check", path, "--model", model)
    assert "3 read, 2 accepted, 1 rejected" in printed.out
    assert "line 2" in printed.out


def test_an_evaluation_names_rejected_rows_and_keeps_them_in_its_ledger(
    model: Path, tmp_path: Path
) -> None:
    row, code, _ = BAD_ROWS["an unknown role"]
    path = write_rows(tmp_path / "traces.jsonl", GOOD, row)
    words = ["--model", model, "--data", path, "--max-new-tokens", "2", "--out", tmp_path / "e"]
    printed = succeeds("eval", *words)
    assert "2 rows read, 1 accepted, 1 rejected" in printed.err
    assert f"1 x {code}" in printed.err
    (line,) = (tmp_path / "e" / "ledger.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == 1


def test_a_hub_data_set_while_offline_says_what_to_do_instead(model: Path, tmp_path: Path) -> None:
    for words in (
        ["check", "nobody/traces", "--model", model],
        ["preview", "nobody/traces", "--model", model],
        ["eval", "--data", "nobody/traces", "--model", model],
    ):
        said = refused(*words)
        assert "nobody/traces" in said
        assert "offline" in said
    config = tmp_path / "my.yaml"
    config.write_text(f"model: {model}\ndataset: {{dataset_name: nobody/traces}}\n")
    assert "nobody/traces" in refused("train", config, f"--output_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_row_that_is_not_there_says_which_are(model: Path, data: Path) -> None:
    for words in (["preview", data], ["eval", "--data", data]):
        said = refused(*words, "--model", model, "--row", "8")
        assert "no row 8" in said
        assert "--row 7" in said


def test_rows_that_no_template_can_say_are_explained_before_the_model_is_loaded(
    model: Path, tmp_path: Path
) -> None:
    text = {"messages": [{**USER, "content": "see <|im_end|>"}, ANSWER], "tools": TOOLS}
    path = write_rows(tmp_path / "traces.jsonl", text)
    said = refused("eval", "--model", model, "--data", path)
    assert "control_token_in_text" in said
    assert "messages[0].content" in said


def test_traces_without_tools_have_nothing_to_score(model: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", {"messages": [USER, ANSWER]})
    assert "no turn to score" in refused("eval", "--model", model, "--data", path)


def test_an_unknown_format_lists_those_there_are(model: Path, data: Path) -> None:
    said = refused("eval", "--model", model, "--data", data, "--format", "sharegtp")
    assert "did you mean sharegpt" in said


def test_held_out_rows_that_are_trained_on_stop_the_run(config: Path, data: Path) -> None:
    said = refused("train", config, f"--validation_dataset.path={data}")
    assert "shares rows with the training split" in said


def test_a_held_out_file_without_usable_rows_is_the_one_that_is_named(
    config: Path, tmp_path: Path
) -> None:
    row, code, _ = BAD_ROWS["an unknown role"]
    empty = write_rows(tmp_path / "held_out.jsonl", row)
    said = refused("train", config, f"--validation_dataset.path={empty}")
    assert f"1 x {code}, first {empty}:0" in said


def test_missing_options_are_a_users_mistake_too() -> None:
    printed = tooltune("eval", "--model", "x")
    assert printed.code == 2
    assert "--data" in printed.err
