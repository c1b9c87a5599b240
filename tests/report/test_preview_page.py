"""The preview page: its counts, its forest, hostile rows, and no request."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.browser import browser
from tests.report.page import read_page
from tests.report.test_security import ALL
from tooltune.render.branches import Branch, Spoken
from tooltune.render.explain import ExplainedToken
from tooltune.report import page as page_module
from tooltune.report.histogram import HEIGHT, WIDTH, histogram
from tooltune.report.preview import PreviewPage, PreviewRow, write_preview
from tooltune.traces import Message, Tool, ToolCall, Trace

CALLS = (ToolCall("get_time", {"city": "Rome"}), ToolCall("get_time", {"city": "Oslo"}))
PARALLEL = Trace(
    (
        Message("user", "Rome and Oslo?"),
        Message("assistant", tool_calls=CALLS),
        Message("tool", '{"error": "no such city"}'),
        Message("tool", "12:30"),
        Message("assistant", "Only Oslo."),
    ),
    (Tool({"name": "get_time"}),),
)
PLAIN = Trace((Message("user", "Hello."), Message("assistant", "Hi.")))


def branch(parent: int | None, *texts: str, turn: int | None = None) -> Branch:
    weight, reason = (0.0, "context") if turn is None else (1.0, "trained")
    role = "user" if turn is None else "assistant"
    tokens = [
        Spoken(ExplainedToken(zlib.crc32(t.encode()) % 50_000, t, turn, weight, reason), role)
        for t in texts
    ]
    return Branch(parent, tokens)


def rows(text: str = "") -> list[PreviewRow]:
    forked = [branch(None, "a", "b"), branch(0, "c", turn=1), branch(0, "d", "e", turn=4)]
    return [
        PreviewRow("f.jsonl:0", PARALLEL, forked),
        PreviewRow("f.jsonl:1", PLAIN, [branch(None, f"x{text}", turn=1)], truncated="2 turns"),
        PreviewRow(f"f.jsonl:2{text}", PLAIN, None, f"no_targets{text}", f"nothing{text}"),
        PreviewRow("f.jsonl:3", None, None, "invalid_json", "line 3"),
    ]


def page(text: str = "") -> PreviewPage:
    return PreviewPage(
        name=f"f.jsonl{text}",
        model=f"m{text}",
        rows_read=9,
        rows_shown=4,
        facts=[(f"Format{text}", f"openai{text}")],
        rejected=[(f"no_targets{text}", 1, f"f.jsonl:2{text}")],
        findings=[("warning", f"unanswered{text}", 2, f"said{text}", f"where{text}")],
        lengths=[5, 1],
        targets=[3, 1],
    )


def test_rows_carry_their_kind_their_tools_and_their_counts(tmp_path: Path) -> None:
    made = read_page(write_preview(page(), rows(), tmp_path / "p.html"))
    first, second, third, fourth = made.data["rows"]
    assert first["flags"] == ["accepted", "parallel", "error", "branched"]
    assert first["tools"] == ["get_time"]
    assert (first["tokens"], first["targets"]) == (5, 3)
    assert second["flags"] == ["accepted", "truncated"]
    assert third["flags"] == fourth["flags"] == ["rejected"]
    assert "9 rows read" in made.text
    assert "shows 4 of the rows" in made.text
    assert "4 of 6 tokens carry loss (67%)" in made.text


def test_branches_refer_to_token_texts_and_explanations_by_number(tmp_path: Path) -> None:
    data = read_page(write_preview(page(), rows(), tmp_path / "p.html")).data
    branches = data["rows"][0]["branches"]
    assert [b["parent"] for b in branches] == [None, 0, 0]
    for b in branches:
        assert sum(length for length, _ in b["runs"]) == len(b["ids"])
    told = ["".join(data["texts"][str(i)] for i in b["ids"]) for b in branches]
    assert told == ["ab", "c", "de"]
    role, _, turn, weight, reason = data["kinds"][branches[2]["runs"][0][1]]
    assert (role, turn, weight, reason) == ("assistant", 4, 1.0, "trained")


def test_hostile_text_adds_no_element_and_no_request(tmp_path: Path) -> None:
    calm = read_page(write_preview(page(), rows(), tmp_path / "calm.html"))
    wild = read_page(write_preview(page(ALL), rows(ALL), tmp_path / "wild.html"))
    assert [name for name, _ in wild.elements] == [name for name, _ in calm.elements]
    assert wild.policy == calm.policy
    assert "default-src 'none'" in calm.policy
    for _, attributes in wild.elements:
        assert not {"src", "srcset", "onload", "onerror"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")


@given(st.lists(st.integers(0, 300_000), min_size=1, max_size=200))
def test_histogram_bars_count_every_value_inside_the_box(values: list[int]) -> None:
    chart = histogram("t", values)
    counted = [int(bar.text.split(": ")[1].replace(",", "")) for bar in chart.bars]
    assert sum(counted) == len(values)
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH + 1
        assert 0 <= bar.y < bar.y + bar.height <= HEIGHT


DRIVER = """
(() => {
  const told = {};
  const seen = () => document.querySelectorAll("#list > li").length;
  const press = (flag) => document.querySelector(`button[data-flag="${flag}"]`).click();
  told.all = seen();
  for (const flag of ["rejected", "parallel", "error", "truncated", "branched"]) {
    press(flag); told[flag] = seen();
  }
  press("");
  const set = (id, value) => {
    const node = document.getElementById(id);
    node.value = value;
    node.dispatchEvent(new Event(id === "tool" ? "change" : "input"));
  };
  set("tool", "get_time"); told.tool = seen(); set("tool", "");
  set("least", "2"); told.long = seen(); set("least", "");
  set("search", "INVALID_json"); told.search = seen(); set("search", "");
  const row = document.querySelector("details.row");
  row.open = true;
  setTimeout(() => {
    const about = () => document.getElementById("about");
    told.forks = row.querySelectorAll(".fork").length;
    row.querySelector('.t[tabindex="0"]').focus();
    told.first = about().textContent.includes("context");
    for (let i = 0; i < 2; i += 1) {
      document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    }
    told.walked = document.activeElement.textContent;
    told.explained = about().textContent.includes("trained") && !about().hidden;
    document.activeElement.dispatchEvent(
      new KeyboardEvent("keydown", { key: "End", bubbles: true }));
    told.end = document.activeElement.textContent;
    told.stops = row.querySelectorAll('.t[tabindex="0"]').length;
    told.requests = performance.getEntriesByType("resource").length;
    document.title = Object.entries(told).map(([k, v]) => `${k}=${v}`).join(" ");
  }, 200);
})();
"""


@pytest.mark.slow
def test_filters_forks_and_keyboard_work_in_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: Any = page_module.asset
    monkeypatch.setattr(
        page_module, "asset", lambda n: own(n) + (DRIVER if n == "preview.js" else "")
    )
    path = write_preview(page(), rows(ALL), tmp_path / "p.html")
    with browser(tmp_path / "profile") as tab:
        tab.open(path)
        tab.until("document.title.includes('=')")
        told = dict(part.split("=") for part in tab.js("document.title").split())
        complaints = tab.complaints
    assert told == {
        "all": "4",
        "rejected": "2",
        "parallel": "1",
        "error": "1",
        "truncated": "1",
        "branched": "1",
        "tool": "1",
        "long": "1",
        "search": "1",
        "forks": "2",
        "first": "true",
        "walked": "c",
        "explained": "true",
        "end": "e",
        "stops": "1",
        "requests": "0",
    }
    assert complaints == []
