from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.report.scrub import REMOVED, scrub

# Put together here so that no file of the repository holds the likeness of a secret.
SECRETS = [
    "hf_" + "a1B2" * 8,
    "sk-" + "proj-" + "x9" * 16,
    "ghp_" + "Z3y4" * 9,
    "AKIA" + "ABCDEFGH12345678",
    "xoxb-" + "1234567890-abcdef",
    "AIza" + "B" * 35,
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_token_is_removed_wherever_it_stands(secret: str) -> None:
    assert scrub(f"key: {secret}, then more") == f"key: {REMOVED}, then more"


def test_a_password_in_a_url_is_removed_and_the_url_stays() -> None:
    assert scrub("see https://ann:hunter2@example.org/x") == f"see https://{REMOVED}@example.org/x"
    assert scrub("see https://example.org:8000/x?a=b@c") == "see https://example.org:8000/x?a=b@c"


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=30) | st.sampled_from(SECRETS)))
def test_scrubbed_json_is_still_json_with_every_key_that_is_no_secret(data: dict[str, str]) -> None:
    read = json.loads(scrub(json.dumps(data, ensure_ascii=False)))
    assert len(read) == len(data)
    assert not set(SECRETS) & set(read.values())


@pytest.mark.parametrize(
    "text", ["task-force-of-twenty-people-at-work", "risk-adjusted-return-on-capital-x", "shf_abc"]
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text) == text
