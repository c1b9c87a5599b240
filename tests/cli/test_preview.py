"""`tooltune preview`: every token with its turn and reason, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import next_commands, refused, succeeds, tooltune, write_rows
from tests.report.page import read_page

ROW = {
    "messages": [
        {"role": "user", "content": "Say héllo 👋🏽 twice."},
        {"role": "assistant", "content": "héllo 👋🏽"},
        {"role": "user", "content": "Again."},
        {"role": "assistant", "content": "héllo 👋🏽, héllo", "reasoning_content": "They insist."},
    ]
}


def test_trained_text_stands_between_marks_without_colours(model: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", ROW)
    out = succeeds("preview", path, "--model", model).out
    assert "2 assistant turns in 1 sequence" in out
    assert "⟦turn 1: trained⟧héllo 👋🏽<|im_end|>⟦context⟧" in out
    assert "\x1b" not in out


@pytest.mark.usefixtures("in_colour")
def test_trained_text_is_green_in_a_terminal(model: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", ROW)
    out = succeeds("preview", path, "--model", model).out
    assert "\x1b[1;32mhéllo 👋🏽<|im_end|>" in out
    assert "⟦context⟧" not in out


def test_each_token_is_a_tab_separated_line_in_raw(model: Path, data: Path) -> None:
    head, *lines = succeeds("preview", data, "--model", model, "--raw").out.splitlines()
    assert head.split("\t") == ["sequence", "index", "id", "text", "turn", "weight", "reason"]
    rows = [line.split("\t") for line in lines]
    assert {len(row) for row in rows} == {7}
    assert [int(row[1]) for row in rows] == list(range(len(rows)))
    assert {row[6] for row in rows} == {"context", "trained"}
    assert all((row[4] == "") == (row[5] == "0") for row in rows)


def test_json_and_raw_say_the_same(model: Path, data: Path) -> None:
    words = ["preview", data, "--model", model, "--row", "2"]
    (sequence,) = json.loads(succeeds(*words, "--json").out)["sequences"]
    raw = succeeds(*words, "--raw").out.splitlines()[1:]
    assert [str(token["id"]) for token in sequence] == [line.split("\t")[2] for line in raw]
    assert [token["weight"] for token in sequence] == [float(line.split("\t")[5]) for line in raw]


def test_flags_change_what_is_trained_and_the_reason_is_shown(model: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "traces.jsonl", ROW)
    out = succeeds("preview", path, "--model", model, "--train-on-last-turn-only").out
    assert "⟦turn 1: not the last turn (train_on_last_turn_only)⟧" in out
    out = succeeds("preview", path, "--model", model, "--mask-reasoning-content").out
    assert "⟦turn 3: reasoning is masked (mask_reasoning_content)⟧They insist." in out


def test_the_rows_of_a_config_are_shown_with_its_flags(config: Path) -> None:
    printed = succeeds("preview", config, "--dataset.train_on_last_turn_only=true", "--row", "1")
    assert "not the last turn (train_on_last_turn_only)" in printed.out
    again, _ = next_commands(printed)
    raw = succeeds(*again.split()[1:]).out
    assert "not the last turn (train_on_last_turn_only)" in raw


def test_two_ways_to_print_at_once_are_refused(model: Path, data: Path) -> None:
    assert tooltune("preview", data, "--model", model, "--raw", "--json").code == 2


def test_the_page_says_what_was_cut_and_shows_parts(model: Path, tmp_path: Path) -> None:
    long = {
        "messages": [
            {"role": role, "content": f"{text} " * 30}
            for text in ("one", "two", "three")
            for role in ("user", "assistant")
        ]
    }
    path = write_rows(tmp_path / "traces.jsonl", ROW, long)
    out = tmp_path / "page.html"
    flags = ["--dataset.seq_length=120", "--dataset.truncate_history=true"]
    succeeds("preview", path, "--model", model, "--html", out, *flags)
    first, second = read_page(out).data["rows"]
    assert first["truncated"] == ""
    assert "exchange" in second["truncated"]
    assert "truncated" in second["flags"]
    parts = {kind[1] for kind in read_page(out).data["kinds"]}
    assert {"text", "reasoning"} <= parts


def test_a_log_is_previewed_by_the_first_request_that_is_a_trace(
    model: Path, tmp_path: Path
) -> None:
    rows = [
        {"request": {"messages": ROW["messages"][:end]}, "response": ROW["messages"][end]}
        for end in (1, 3)
    ]
    path = write_rows(tmp_path / "log.jsonl", *rows)
    shown = json.loads(succeeds("preview", path, "--model", model, "--json").out)
    assert shown["row"] == 1
    said = refused("preview", path, "--model", model, "--row", "0")
    assert "another request repeats it" in said
    assert "--row 1" in said
