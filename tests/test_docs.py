"""What the documentation says of the code is what the code says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.findings import OUT, page
from tests.cli.test_help import VERBS
from tooltune.config.schema import Dataset
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


@pytest.mark.parametrize("name", ["README.md", "docs/data.md", "CONTRIBUTING.md"])
def test_every_command_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)tooltune ([a-z]+)\b", text, re.MULTILINE))
    assert named <= set(VERBS)


@pytest.mark.parametrize("name", ["README.md", "docs/data.md"])
def test_links_lead_to_files(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    for link in links:
        assert (path.parent / link).exists(), link
