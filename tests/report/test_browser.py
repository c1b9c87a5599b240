"""The page in a real browser: filters, search, links, and hostile text that must not run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.report.fabricate import Run, fabricate_run
from tooltune.report import build, page

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
DRIVER = """
(() => {
  const seen = () => document.querySelectorAll("#list > li").length;
  const press = (name, value) =>
    document.querySelector(`[data-filter="${name}"][data-value="${value}"]`).click();
  const told = { all: seen() };
  press("state", "fixed"); told.fixed = seen();
  told.callsAmongFixed =
    document.querySelector('[data-filter="kind"][data-value="call"] .count').textContent;
  press("kind", "abstain"); told.fixedAbstain = seen();
  press("state", ""); press("kind", "");
  document.querySelector("#dataset").value = "unseen_tools";
  document.querySelector("#dataset").dispatchEvent(new Event("change")); told.unseen = seen();
  document.querySelector("#dataset").value = "";
  document.querySelector("#dataset").dispatchEvent(new Event("change"));
  document.querySelector("#search").value = "TRACE-3/5 weather";
  document.querySelector("#search").dispatchEvent(new Event("input"));
  setTimeout(() => {
    told.search = seen();
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    document.title = Object.entries(told).map(([k, v]) => `${k}=${v}`).join(" ");
  }, 300);
})();
"""


def browse(page: Path, fragment: str = "") -> tuple[str, str]:
    """The page's DOM after its scripts ran, and what the console said."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs Chromium or Chrome on PATH")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=4000"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    console = [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]
    return done.stdout.decode(), "\n".join(console)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fabricate_run(tmp_path / "demo", 40)


def test_filters_and_search_list_the_samples_that_they_count(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = page.asset
    monkeypatch.setattr(page, "asset", lambda n: own(n) + (DRIVER if n == "report.js" else ""))
    dom, console = browse(build.write_report(run.folder))
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title, dom[:500]
    told = dict(part.split("=") for part in title[1].split())
    pairs = list(zip(run.base, run.tuned, strict=True))
    fixed = [t for b, t in pairs if not b["verdict"]["correct"] and t["verdict"]["correct"]]
    assert told == {
        "all": "40",
        "fixed": str(len(fixed)),
        "callsAmongFixed": str(sum(t["kind"] == "call" for t in fixed)),
        "fixedAbstain": str(sum(t["kind"] == "abstain" for t in fixed)),
        "unseen": "4",
        "search": "1",
    }
    assert console == ""


def test_a_link_opens_its_sample_alone(run: Run) -> None:
    fragment = "#sample=" + quote("held_out/trace-3/3", safe="")
    dom, console = browse(build.write_report(run.folder), fragment)
    assert dom.count('class="sample"') == 1
    assert dom.count('class="side"') == 2
    assert "Quito" not in dom.split('id="list"')[1].split("</ol>")[0]
    assert console == ""


def test_hostile_text_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = "document.documentElement.dataset.owned=1"
    text = f"</script><script>{attack}</script><img src=x onerror={attack}>"

    def change(row: dict[str, object]) -> dict[str, object]:
        messages = [{"role": text, "content": text, "name": text}]
        return {**row, "text": text, "gt_text": text, "prompt_messages": messages}

    run = fabricate_run(tmp_path / "demo", 12, change)
    (run.folder / "config.yaml").write_text(text)
    own = page.asset
    monkeypatch.setattr(page, "asset", lambda n: own(n) + (DRIVER if n == "report.js" else ""))
    dom, console = browse(build.write_report(run.folder))
    assert "data-owned" not in dom.split(">", 2)[1]
    assert "all=12" in dom
    assert "<img" not in dom
    assert console == ""
