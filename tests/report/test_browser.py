"""The page in a real browser: filters, links, keys, packed data, and text that must not run."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.report.browser import Browser, browser
from tests.report.fabricate import Run, correct, fabricate_run
from tooltune.report import page
from tooltune.report.build import (
    write_comparison_report,
    write_evaluation_report,
    write_report,
)
from tooltune.toolcalls.failures import failure_class

pytestmark = pytest.mark.slow

LISTED = "document.querySelectorAll('#list > li').length"
ATTACK = "document.documentElement.dataset.owned=1"
MARKUP = f"</script><script>{ATTACK}</script><img src=x onerror={ATTACK}>"
HOSTILE = f"{MARKUP}\u2028{ATTACK}\u2029\x1b[31m\u202e"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.size(1280)
        yield opened


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fabricate_run(tmp_path / "demo", 240)


def show(tab: Browser, path: Path, fragment: str = "") -> None:
    tab.open(path, fragment)
    tab.until(f"{LISTED} > 0")


def found(tab: Browser) -> int:
    """How many samples are listed, all pages of the list shown."""
    tab.js(
        "while (!document.querySelector('#more').hidden) document.querySelector('#more').click()"
    )
    number: int = tab.js(LISTED)
    return number


def click(tab: Browser, selector: str) -> None:
    tab.js(f"document.querySelector({selector!r}).click()")


def choose(tab: Browser, select: str, value: str) -> None:
    tab.js(
        f"(() => {{ const s = document.querySelector('#{select}'); s.value = {value!r};"
        " s.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )


def shown_count(tab: Browser, name: str, value: str) -> int:
    selector = f'[data-filter="{name}"][data-value="{value}"] .count'
    return int(tab.js(f"document.querySelector({selector!r}).textContent").replace(",", ""))


def quiet(tab: Browser, path: Path) -> bool:
    """Nothing was asked for but the page, and nothing complained."""
    assert tab.complaints == []
    return {address.split("#")[0] for address in tab.requests} == {path.as_uri()}


def test_only_the_rows_in_view_are_in_the_page_and_what_changed_is_first(
    tab: Browser, run: Run
) -> None:
    path = write_report(run.folder)
    show(tab, path)
    assert tab.js(LISTED) == 100
    assert found(tab) == 240
    states = tab.js("[...document.querySelectorAll('#list .mark')].map((m) => m.className)")
    changed = run.count(False, True) + run.count(True, False)
    assert {state.split()[1] for state in states[:changed]} == {"fixed", "broken"}
    assert not {"mark fixed", "mark broken"} & set(states[changed:])
    assert quiet(tab, path)


def test_every_filter_lists_the_samples_that_it_counts(tab: Browser, run: Run) -> None:
    show(tab, write_report(run.folder))
    pairs = list(zip(run.base, run.tuned, strict=True))
    for state, (before, after) in {"fixed": (False, True), "broken": (True, False)}.items():
        click(tab, f'[data-filter="state"][data-value="{state}"]')
        assert found(tab) == shown_count(tab, "state", state) == run.count(before, after)
    click(tab, '[data-filter="state"][data-value="fixed"]')
    fixed = [t for b, t in pairs if not correct(b) and correct(t)]
    for kind in ("call", "abstain"):
        click(tab, f'[data-filter="kind"][data-value="{kind}"]')
        assert found(tab) == sum(t["kind"] == kind for t in fixed) == shown_count(tab, "kind", kind)
    click(tab, "#clear")
    choose(tab, "dataset", "unseen_tools")
    assert found(tab) == sum(t["dataset"] == "unseen_tools" for t in run.tuned)
    click(tab, "#clear")
    choose(tab, "failure", "truncated")
    assert found(tab) == sum(failure_of(b) == "truncated" for b in run.base) > 0
    choose(tab, "only", "1")
    assert found(tab) == 0
    choose(tab, "failure", "missing_argument")
    assert found(tab) == sum(failure_of(t) == "missing_argument" for t in run.tuned) > 0
    click(tab, "#clear")
    choose(tab, "only", "0")
    choose(tab, "status", "ok")
    assert found(tab) == sum(bool(b["calls"]) for b in run.base)
    option = tab.js("document.querySelector('#status').selectedOptions[0].textContent")
    assert option == f"ok ({found(tab)})"
    click(tab, "#clear")
    choose(tab, "tool", "get_weather")
    assert found(tab) == sum(bool(b["gt_tool_calls"] or b["calls"] or t["calls"]) for b, t in pairs)


def failure_of(sample: dict[str, Any]) -> str | None:
    return failure_class(sample["verdict"], sample["finish_reason"])


def test_words_are_looked_for_in_questions_outputs_prompts_and_ids(tab: Browser, run: Run) -> None:
    show(tab, write_report(run.folder))
    for words, number in (
        ("TRACE-3/5 weather", 1),
        ("plan a trip helpful", 240),
        ("no such words", 0),
    ):
        tab.js(
            f"document.querySelector('#search').value = {words!r};"
            "document.querySelector('#search').dispatchEvent(new Event('input'))"
        )
        told = "" if number == 240 else f"{number} sample{'' if number == 1 else 's'} found"
        tab.until(f"document.querySelector('#told').textContent === {told!r}")
        assert found(tab) == number


def test_a_link_opens_its_sample_alone_and_survives_a_reload(tab: Browser, run: Run) -> None:
    path = write_report(run.folder)
    show(tab, path, "#sample=" + quote("held_out/trace-3/3", safe=""))
    for reload in (False, True):
        if reload:
            tab.reload()
            tab.until(f"{LISTED} > 0")
        assert found(tab) == 1
        assert tab.js("document.querySelectorAll('.side').length") == 2
        assert "trace-3/3" in tab.js("document.querySelector('.meta').textContent")
        for seen in ("#samples", ".side"):  # both in the window, 900 pixels high
            top = tab.js(f"document.querySelector({seen!r}).getBoundingClientRect().top")
            assert 0 <= top < 900, seen
        assert tab.js("document.querySelector('#filters').hidden")
    click(tab, "#leave")
    tab.until(f"{LISTED} === 100")
    assert not tab.js("document.querySelector('#filters').hidden")
    assert quiet(tab, path)


def test_the_link_on_a_sample_is_the_one_that_opens_it(tab: Browser, run: Run) -> None:
    path = write_report(run.folder)
    show(tab, path)
    tab.js("document.querySelector('#list details').open = true")
    tab.until("document.querySelector('#list .meta a') !== null")
    name = tab.js("document.querySelector('.meta bdi').textContent")
    link = tab.js("document.querySelector('#list .meta a').getAttribute('href')")
    show(tab, path, link)
    assert found(tab) == 1
    assert tab.js("document.querySelector('.meta bdi').textContent") == name


def test_the_link_of_a_sample_is_copied_or_put_into_the_address_bar(tab: Browser, run: Run) -> None:
    path = write_report(run.folder)
    works = "{ writeText: (url) => { window.copied = url; return Promise.resolve(); } }"
    for clipboard in ("undefined", works):
        show(tab, path)
        tab.js(f"Object.defineProperty(navigator, 'clipboard', {{ value: {clipboard} }})")
        tab.js("document.querySelector('#list details').open = true")
        tab.until("document.querySelector('#list .meta button') !== null")
        link = tab.js("document.querySelector('#list .meta a').href")
        click(tab, "#list .meta button")
        tab.until(f"(window.copied ?? location.href) === {link!r}")


def test_a_link_to_a_sample_that_is_not_there_says_so(tab: Browser, run: Run) -> None:
    tab.open(write_report(run.folder), "#sample=held_out%2Fnowhere%2F%zz")
    tab.until("!document.querySelector('#alone').hidden")
    assert "No sample" in tab.js("document.querySelector('#which').textContent")
    assert found(tab) == 0


def test_samples_open_and_are_walked_by_keys_alone(tab: Browser, run: Run) -> None:
    show(tab, write_report(run.folder))
    tab.js("document.querySelector('#list summary').focus()")
    tab.press("ArrowDown")
    tab.press("ArrowDown")
    tab.press("ArrowUp")
    place = (
        "[...document.querySelectorAll('#list > li')].indexOf(document.activeElement.closest('li'))"
    )
    assert tab.js(place) == 1
    tab.press("Enter")
    tab.until("document.querySelectorAll('.side').length === 2")
    tab.press("Tab")
    assert tab.js("document.activeElement.textContent") == "link to this sample"
    tab.js("document.querySelectorAll('#list summary')[99].scrollIntoView()")
    tab.js("document.querySelector('#list > li:nth-child(100) > details > summary').focus()")
    tab.press("ArrowDown")
    assert tab.js(place) == 100
    assert tab.js(LISTED) == 200


def test_a_count_in_the_tables_leads_to_the_samples_that_it_counts(tab: Browser, run: Run) -> None:
    show(tab, write_report(run.folder))
    button = '[data-leads="failure"][data-value="wrong_value"][data-column="1"]'
    fallback = '[data-leads="failure"][data-value="missing_argument"][data-column="1"]'
    chosen = button if tab.js(f"Boolean(document.querySelector({button!r}))") else fallback
    told = tab.js(f"document.querySelector({chosen!r}).textContent")
    click(tab, chosen)
    assert f"{found(tab)} turn" in told
    assert found(tab) > 0


def test_tables_are_sorted_by_their_heads_and_say_so(tab: Browser, run: Run) -> None:
    show(tab, write_report(run.folder))
    cells = "[...document.querySelectorAll('table[data-sortable] tbody th')]"
    rows = f"{cells}.map((head) => head.dataset.value)"
    heads = "document.querySelectorAll('table[data-sortable] thead th')"
    tab.js(
        "(() => { const body = document.querySelector('table[data-sortable] tbody');"
        " const copy = body.rows[0].cloneNode(true); copy.cells[0].dataset.value = 'a_tool';"
        " copy.cells[1].dataset.value = '7'; body.append(copy); })()"
    )
    assert tab.js(rows) == ["get_weather", "a_tool"]
    tab.js(f"{heads}[0].querySelector('button').click()")
    assert tab.js(rows) == ["a_tool", "get_weather"]
    assert tab.js(f"{heads}[0].getAttribute('aria-sort')") == "ascending"
    tab.js(f"{heads}[1].querySelector('button').click()")
    assert tab.js(rows) == ["get_weather", "a_tool"]


def test_packed_data_are_unpacked_without_a_request(
    tab: Browser, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "_LARGE", 1_000)
    path = write_report(run.folder)
    assert " data-packed>" in path.read_text(encoding="utf-8")
    show(tab, path, "#sample=" + quote("held_out/trace-3/3", safe=""))
    assert found(tab) == 1
    assert quiet(tab, path)


def test_a_browser_that_cannot_unpack_says_so(
    tab: Browser, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "_LARGE", 1_000)
    own = page.asset
    gone = "delete window.DecompressionStream;\n"
    monkeypatch.setattr(page, "asset", lambda n: (gone if n == "base.js" else "") + own(n))
    tab.open(write_report(run.folder))
    tab.until("!document.querySelector('#unpackable').hidden")


def test_three_evaluations_stand_side_by_side_and_any_two_make_the_change(
    tab: Browser, run: Run, tmp_path: Path
) -> None:
    base, tuned = run.folder / "eval/step_0", run.folder / "eval/final"
    path = write_comparison_report(base, tuned, run.comparison, tmp_path / "out", others=[base])
    show(tab, path)
    assert shown_count(tab, "state", "fixed") == run.count(False, True)
    tab.js(
        "(() => { const s = document.querySelector('[data-pair=to]'); s.value = '2';"
        " s.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )
    assert shown_count(tab, "state", "fixed") == shown_count(tab, "state", "broken") == 0
    tab.js("document.querySelector('#list details').open = true")
    tab.until("document.querySelectorAll('.side').length === 3")
    assert quiet(tab, path)


def test_one_evaluation_alone_has_its_own_page(tab: Browser, run: Run) -> None:
    path = write_evaluation_report(run.folder / "eval/final")
    show(tab, path)
    click(tab, '[data-filter="state"][data-value="wrong"]')
    assert found(tab) == sum(not correct(t) for t in run.tuned)
    tab.js("document.querySelector('#list details').open = true")
    tab.until("document.querySelectorAll('.side').length === 1")
    assert quiet(tab, path)


@pytest.mark.parametrize("large", [1_000, 1_000_000])
def test_hostile_text_does_not_run_and_control_characters_are_seen(
    tab: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(page, "_LARGE", large)

    def change(row: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": HOSTILE, "content": HOSTILE, "name": HOSTILE}]
        call = {"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}
        said = {"text": HOSTILE, "gt_text": HOSTILE, "parsed_as": HOSTILE, "reasoning": HOSTILE}
        return {
            **row,
            **said,
            "prompt_messages": messages,
            "gt_tool_calls": [call] if row["kind"] == "call" else [],
            "calls": [{**call, "status": HOSTILE, "raw": HOSTILE, "span": [0, len(HOSTILE)]}],
        }

    run = fabricate_run(tmp_path / "demo", 12, change)
    (run.folder / "config.yaml").write_text(HOSTILE, encoding="utf-8")
    path = write_report(run.folder)
    show(tab, path)
    for _ in range(2):  # the second time for what was inside
        tab.js("for (const fold of document.querySelectorAll('details')) fold.open = true")
        tab.until("document.querySelectorAll('.side').length === 24")
    assert tab.js("document.documentElement.dataset.owned === undefined")
    assert tab.js("document.querySelectorAll('img, #list script').length") == 0
    output = tab.js("document.querySelector('.output').textContent")
    assert "\u241b[31m" in output
    assert "[U+202E]" in output
    assert "[U+2028]" in output
    assert quiet(tab, path)


TIMED = """
(async () => {
  const start = performance.now();
  ACTION;
  const worked = performance.now() - start;
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  return [worked, performance.now() - start];
})()
"""


def test_five_thousand_samples_stay_quick(
    tab: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints what it measures. The limits leave room for a busy machine."""
    words = Path(__file__).read_text(encoding="utf-8").split()
    rng = random.Random(0)

    def change(row: dict[str, Any]) -> dict[str, Any]:
        rng.seed(row["sample_id"])  # both models are asked the same
        prompt = " ".join(rng.choices(words, k=230))  # some 2 kB
        *before, last = row["prompt_messages"]
        return {**row, "prompt_messages": [*before, {**last, "content": prompt}]}

    path = write_report(fabricate_run(tmp_path / "demo", 5_000, change).folder)
    start = time.monotonic()
    show(tab, path)
    opened = time.monotonic() - start
    time.sleep(3)  # the texts of a search are made ready meanwhile
    times = {
        "a change": """document.querySelector('[data-filter=state][data-value=fixed]').click()""",
        "all again": "document.querySelector('#clear').click()",
        "a tool": "const s = document.querySelector('#tool'); s.selectedIndex = 1;"
        " s.dispatchEvent(new Event('change', { bubbles: true }))",
        "open one": "document.querySelector('#list details').open = true",
    }
    with capsys.disabled():
        print(f"\n{path.stat().st_size / 1e6:.1f} MB, list after {opened:.2f} s", end="")
        for name, action in times.items():
            worked, painted = tab.js(TIMED.replace("ACTION", action))
            print(f"; {name} {worked:.0f} ms, painted after {painted:.0f} ms", end="")
            assert painted < 1_000
        print()
    assert opened < 15
    assert path.stat().st_size < 8_000_000
    assert tab.js(LISTED) == 100
    assert tab.js("document.querySelectorAll('*').length") < 6_000


def test_the_page_fits_narrow_and_wide_windows(tab: Browser, run: Run) -> None:
    show(tab, write_report(run.folder))
    first = "[...document.querySelectorAll('details')].slice(0, 12)"
    tab.js(f"for (const fold of {first}) fold.open = true")
    for width in (500, 1280):
        tab.size(width)
        assert tab.js("document.documentElement.scrollWidth") <= width
    tab.size(1280)
