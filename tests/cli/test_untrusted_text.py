"""Text of traces and models cannot colour, move, hide or break what a terminal shows (trap 31)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.cli.command import Printed, refused, succeeds, write_rows
from tooltune.cli import output
from tooltune.cli.output import printable

# Colour, cursor, title, hyperlink, C1 CSI, backspaces, a line rewritten, right-to-left override.
HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H \x1b]0;title\x07 \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ "
    "\x9b31m back\x08\x08\x08 over\rwritten \u202egnihton\u2066 [bold]loud[/bold] [/] [link=x]"
)
ESCAPED = r"\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H"
ROW = {
    "messages": [
        {"role": "system", "content": f"Be kind. {HOSTILE}"},
        {"role": "user", "content": f"Weather? {HOSTILE}"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "function": {"name": "weather", "arguments": {"city": HOSTILE}}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": HOSTILE},
        {"role": "assistant", "content": f"Sunny. {HOSTILE}"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "weather", "description": HOSTILE, "parameters": {}},
        }
    ],
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("hostile") / "traces.jsonl", ROW)


def assert_harmless(printed: Printed) -> None:
    text = printed.out + printed.err
    assert not [c for c in text if c != "\n" and c != "\t" and not c.isprintable()]


def assert_as_it_is(text: str) -> None:
    assert ESCAPED in text
    assert "[bold]loud[/bold] [/] [link=x]" in text
    assert r"\u202egnihton" in text
    assert r"\x9b31m" in text


@pytest.mark.parametrize("how", [[], ["--raw"], ["--json"]])
def test_a_preview_shows_it_as_it_is(hostile: Path, model: Path, how: list[str]) -> None:
    printed = succeeds("preview", hostile, "--model", model, *how)
    assert_harmless(printed)
    if not how:
        assert_as_it_is(printed.out)
    if how == ["--json"]:
        (tokens,) = json.loads(printed.out)["sequences"]
        assert "\x1b[31mred" in "".join(token["text"] for token in tokens)


@pytest.mark.usefixtures("in_colour")
def test_a_coloured_preview_holds_no_colour_but_its_own(hostile: Path, model: Path) -> None:
    printed = succeeds("preview", hostile, "--model", model)
    assert "\x1b[1;32m" in printed.out
    assert ESCAPED in printed.out
    assert "\x1b[31m" not in printed.out
    assert "\x1b]" not in printed.out


def test_a_printed_turn_shows_it_as_it_is(
    hostile: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tooltune.evaluate import model_source
    from tooltune.evaluate.engines.types import Generation

    def hostile_model(model: Any, requests: Any, *, on_output: Any, **options: Any) -> None:
        for i, request in enumerate(requests):
            on_output(i, Generation(request.draft_ids, "stop", True))

    monkeypatch.setattr(model_source, "pick_engine", lambda model: hostile_model)
    words = ["eval", "--model", model, "--data", hostile, "--print"]
    printed = succeeds(*words)
    assert_harmless(printed)
    for part in printed.out.split("output\n"):
        assert_as_it_is(part)
    assert "verdict right" in printed.out


def test_an_error_shows_it_as_it_is(model: Path, tmp_path: Path) -> None:
    messages = [{"role": f"wizard {HOSTILE}", "content": "x"}]
    path = write_rows(tmp_path / "traces.jsonl", {"messages": messages})
    said = refused("check", path, "--model", model)
    assert "unknown_role" in said
    assert_harmless(Printed(2, "", said))


def test_a_file_name_is_text_too(model: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "a [bold]b[red] \x1b[31m.jsonl"
    path.write_bytes(data.read_bytes())
    for verb in ("check", "preview"):
        printed = succeeds(verb, path, "--model", model)
        assert_harmless(printed)
        assert r"a [bold]b[red] \x1b[31m.jsonl" in printed.out


@given(st.text(st.characters(codec=None)))
def test_printable_text_has_no_control_characters_and_keeps_the_rest(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert printable(shown) == shown
    if all(c.isprintable() or c in "\n\t" for c in text):
        assert shown == text


@given(st.text())
def test_any_text_can_be_printed_without_being_read_as_markup(text: str) -> None:
    stream = io.StringIO()
    console = Console(file=stream, soft_wrap=True, highlight=False, width=200)
    original, output.console = output.console, console
    try:
        output.print_text(text)
    finally:
        output.console = original
    assert stream.getvalue().expandtabs() == printable(text).expandtabs() + "\n"
