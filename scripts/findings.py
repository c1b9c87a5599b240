"""Write docs/findings.md: every code of `tooltune check`, what it means and what to do.

python -m scripts.findings
"""

from __future__ import annotations

from pathlib import Path

from tooltune.traces.lint.codes import CODES, SEVERITIES

OUT = Path(__file__).parents[1] / "docs" / "findings.md"


def page() -> str:
    """The page as Markdown: worst first, then in the order of the code."""
    lines = [
        "# Findings of `tooltune check`",
        "",
        "Made by `python -m scripts.findings`; do not edit. Codes are stable: `--json` prints "
        "them, `--fail-on SEVERITY` makes the exit code 1 for findings at least that bad. Rows "
        "that cannot be used stand among the errors too, under the codes of the ledger.",
    ]
    for severity in SEVERITIES:
        rows = [(name, code) for name, code in CODES.items() if code.severity == severity]
        lines += ["", f"## {severity.capitalize()}", "", "| code | what | fix |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {_cell(code.meaning)} | {_cell(code.fix)} |" for name, code in rows
        ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
    print(f"wrote {OUT}")
