"""Traces are hostile: whatever their text, the page must run and request nothing of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.report.fabricate import Run, fabricate_run, write_rows
from tests.report.page import Page, read_page
from tooltune.report.build import write_comparison_report, write_report

PAYLOADS = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "-->",
    "]]>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "javascript:alert(1)",
    "https://example.org/leak?x=1",
    '<link rel=stylesheet href="//example.org/x.css">',
    "</style><style>@import 'http://example.org/x'</style>",
    "</title><base href=http://example.org/>",
    "{{ 7 * 7 }}{% raw %}${alert(1)}",
    "&lt;script&gt;alert(1)&lt;/script&gt; &amp;",
    "\u2028alert(1)\u2029//",
    "\\u003c/script\\u003e \\",
    "<iframe srcdoc='<script>alert(1)</script>'>",
]
ALL = "".join(PAYLOADS)
KEPT = ("kind", "correct", "role", "status")


def poison(value: Any, text: str, path: str = "") -> Any:
    """`value` with `text` put into every string and every key that the report shows as data."""
    if isinstance(value, str):
        return value if path in KEPT else value + text
    if isinstance(value, list):
        return [poison(item, text, path) for item in value]
    if isinstance(value, dict):
        inside = path in ("arguments", "properties")
        return {
            (f"{key}{text}" if inside else key): poison(item, text, key)
            for key, item in value.items()
        }
    return value


def poisoned_run(folder: Path, text: str) -> Run:
    run = fabricate_run(folder, 8, lambda row: poison(row, text))
    comparison = poison(run.comparison, text)
    comparison[f"tool_call/x{text.replace('/', '')}"] = {"base": 0.1, "tuned": 0.2}
    comparison["datasets"] = {f"extra{text}": comparison["datasets"]["unseen_tools"]}
    (folder / "comparison.json").write_text(json.dumps(comparison))
    (folder / "config.yaml").write_text(f"model: {text}\n", encoding="utf-8")
    (folder / "config.history.yaml").write_text(f"- changed: {text}\n", encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps({f"key{text}": {"a": [text]}}))
    (folder / "split.json").write_text(json.dumps({f"part{text}": ["t"]}))
    write_rows(folder / "ledger.jsonl", [dict.fromkeys(("file", "row", "code", "reason"), text)])
    rows = [{"step": s, "kind": "tool_call", f"t/{text}/accuracy": 0.5} for s in (0, 1)]
    write_rows(folder / "metrics.jsonl", rows)
    return run


def skeleton(page: Page) -> set[tuple[str, str]]:
    """Which elements carry which attributes."""
    return {(tag, name) for tag, attributes in page.elements for name in ("", *attributes)}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return read_page(write_report(fabricate_run(tmp_path_factory.mktemp("clean")).folder))


@pytest.mark.parametrize("text", [*PAYLOADS, ALL])
def test_no_text_of_a_run_becomes_markup(tmp_path: Path, clean: Page, text: str) -> None:
    run = poisoned_run(tmp_path, text)
    page = read_page(write_report(run.folder))
    assert skeleton(page) <= skeleton(clean)
    assert len(page.all("script")) == 2
    assert len(page.all("style")) == 1
    assert page.data["rows"][0]["sides"][1]["text"] == run.tuned[0]["text"]
    assert " ".join(text.split())[:60] in page.data["rows"][0]["question"]


def test_names_of_compared_models_become_no_markup(tmp_path: Path, clean: Page) -> None:
    run = fabricate_run(tmp_path, 4)
    names = {"base_name": ALL, "tuned_name": ALL}
    path = write_comparison_report(
        run.folder / "eval/step_0",
        run.folder / "eval/final",
        {**run.comparison, **names},
        tmp_path / "out",
    )
    assert skeleton(read_page(path)) <= skeleton(clean)


def test_the_name_of_the_run_folder_becomes_no_markup(tmp_path: Path, clean: Page) -> None:
    run = fabricate_run(tmp_path / "<img src=x onerror=alert(1)>", 2)
    assert skeleton(read_page(write_report(run.folder))) <= skeleton(clean)


def test_nothing_on_the_page_is_requested_from_anywhere(tmp_path: Path) -> None:
    page = read_page(write_report(poisoned_run(tmp_path, ALL).folder))
    loading = ("src", "href", "xlink:href", "action", "formaction", "data", "poster", "srcset")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", (tag, value)
            if name in loading:
                assert (value or "").startswith("#"), (tag, name, value)
    (style,) = [text for tag, _, text in page.raw if tag == "style"]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_this_pages_style_and_script_by_hash_and_nothing_else(
    clean: Page,
) -> None:
    (style,) = [text for tag, _, text in clean.raw if tag == "style"]
    (script,) = [t for tag, a, t in clean.raw if tag == "script" and "type" not in a]
    rules = dict(rule.strip().split(" ", 1) for rule in clean.policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'{digest(script)}'",
        "style-src": f"'{digest(style)}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    tags = [tag for tag, _ in clean.elements]
    policy_at = next(i for i, (_, a) in enumerate(clean.elements) if "http-equiv" in a)
    assert policy_at < tags.index("style") < tags.index("script")


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_embedded_data_holds_no_character_that_html_or_script_could_mistake(
    tmp_path: Path,
) -> None:
    path = write_report(poisoned_run(tmp_path, ALL).folder)
    page = path.read_text(encoding="utf-8")
    start = page.index('id="data">') + len('id="data">')
    data = page[start : page.index("</script>", start)]
    assert not set(data) & set("<>&\u2028\u2029")


def test_the_pages_script_makes_no_markup_from_text_and_runs_no_text(clean: Page) -> None:
    (script,) = [t for tag, a, t in clean.raw if tag == "script" and "type" not in a]
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bFunction\(|"
    forbidden += r"DOMParser|createContextualFragment|\bfetch\b|XMLHttpRequest|import\(|\.src\b"
    assert re.findall(forbidden, script) == []
    attributes = set(re.findall(r'setAttribute\("([\w-]+)"', script))
    assert attributes == {"href", "aria-pressed", "aria-sort"}
    assert re.findall(r'setAttribute\("href", (.*?)\);', script) == ["address(row)"]
    assert "</" not in script


@pytest.mark.parametrize("secret", ["hf_" + "aB3d" * 8, "https://me:hunter2hunter2@host/x"])
def test_secrets_are_taken_out_before_the_data_are_packed(tmp_path: Path, secret: str) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "text": f"{secret} {row['sample_id'] * 20}", "gt_text": "x" * 3000}

    path = write_report(fabricate_run(tmp_path, 400, change).folder)
    assert " data-packed>" in path.read_text(encoding="utf-8")
    texts = json.dumps(read_page(path).data)
    assert "***" in texts
    assert "hunter2" not in texts
    assert "aB3daB3d" not in texts


def test_hostile_text_comes_out_of_packed_data_as_it_went_in(tmp_path: Path) -> None:
    text = ALL + "\x1b[31m\x00\u202e" + "x" * 3000
    path = write_report(fabricate_run(tmp_path, 400, lambda row: {**row, "text": text}).folder)
    page = read_page(path)
    assert " data-packed>" in path.read_text(encoding="utf-8")
    assert {row["sides"][1]["text"] for row in page.data["rows"]} == {text}
