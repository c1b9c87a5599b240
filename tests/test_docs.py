"""What the documentation says of the code is what the code says of itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from scripts.findings import OUT, page
from tests.cli.test_help import VERBS
from tooltune.config.schema import Dataset
from tooltune.export.parsers import PARSERS as SERVER_PARSERS
from tooltune.toolcalls.failures import FAILURE_CLASSES
from tooltune.toolcalls.parse import FORMATS as CALL_FORMATS
from tooltune.toolcalls.recover import NOT_CLOSED, OTHER_FAMILY, TEXT_AROUND
from tooltune.toolcalls.tolerant_json import REPAIRS
from tooltune.toolcalls.types import Status
from tooltune.traces import FORMATS

ROOT = Path(__file__).parents[1]
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_page_of_findings_is_that_of_the_codes() -> None:
    assert OUT.read_text(encoding="utf-8") == page(), "run: python -m scripts.findings"


def test_every_format_is_in_the_table_and_no_other() -> None:
    table = DATA.split("## Formats")[1].split("### ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(FORMATS)


def test_every_key_that_decides_what_becomes_of_a_row_is_one_of_the_config() -> None:
    table = DATA.split("## What becomes of a row")[1].split("## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert named
    assert named <= set(Dataset.model_fields)


def test_the_failure_classes_are_listed_in_their_order() -> None:
    text = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")
    listed = text.split("the first that applies of")[1].split(".\n")[0]
    assert re.findall(r"`(\w+)`", listed) == list(FAILURE_CLASSES)


PARSERS = (ROOT / "docs" / "parsers.md").read_text(encoding="utf-8")


def test_every_call_format_is_in_the_table_of_families_in_order() -> None:
    table = PARSERS.split("## Which family")[1].split("### ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(CALL_FORMATS)


def test_the_templates_of_a_family_are_those_that_the_probe_found() -> None:
    page = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8").split("## Rows")[0]
    found: dict[str, dict[str, None]] = {}
    for line in page.splitlines():
        cells = [cell.strip(" |") for cell in line.split(" | ")]
        if line.startswith("| ") and cells[-1] in CALL_FORMATS:
            found.setdefault(cells[-1], {})[cells[1]] = None
    table = PARSERS.split("### Stock templates")[1].split("## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)
    assert dict(listed) == {name: ", ".join(files) for name, files in found.items()}


def test_every_status_and_repair_is_explained_and_no_other() -> None:
    table = PARSERS.split("## Status")[1].split("## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(get_args(Status))
    modes = PARSERS.split("## Modes")[1].split("## ")[0]
    repairs = {NOT_CLOSED, TEXT_AROUND, OTHER_FAMILY, *REPAIRS}
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", modes)) == repairs - {"comment"}


def test_the_parsers_of_servers_are_listed_as_exports_name_them() -> None:
    text = (ROOT / "docs" / "exporting.md").read_text(encoding="utf-8")
    table = text.split("## Serving")[1].split("## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", table, re.MULTILINE)

    def cell(name: str | None) -> str:
        return "none known" if name is None else f"`{name}`"

    expected = [(name, cell(p.vllm), cell(p.sglang)) for name, p in SERVER_PARSERS.items()]
    assert listed == expected


PAGES = [
    "README.md",
    "docs/data.md",
    "docs/evaluating.md",
    "docs/exporting.md",
    "docs/guide.md",
    "docs/launching.md",
    "docs/parsers.md",
    "docs/scaling.md",
    "docs/scoring.md",
    "docs/servers.md",
    "docs/trainer.md",
    "docs/training.md",
    "CONTRIBUTING.md",
]


@pytest.mark.parametrize("name", PAGES)
def test_every_command_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)tooltune ([a-z]+)\b", text, re.MULTILINE))
    assert named <= set(VERBS)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("https://") or (path.parent / link).exists(), link
