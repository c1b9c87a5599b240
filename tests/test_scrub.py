from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.scrub import MASK, scrub, scrub_shapes, scrub_text

# Put together here so that no file of the repository holds the likeness of a secret.
SHAPES = [
    "hf_" + "a1B2" * 8,
    "sk-" + "proj-" + "x9" * 16,
    "glpat-" + "Z3y4" * 9,
    "xoxb-" + "1234567890-abcdef",
    "AIza" + "B" * 35,
]


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HF_TOKEN": "plain-value-of-a-token",
        "WANDB_API_KEY": "0123456789abcdef",
        "AWS_SECRET_ACCESS_KEY": "0123456789abcdef-and-more",
        "MY_PASSWORD": "short",
        "HF_TOKEN_PATH": "/home/someone/token",
        "TOKENIZERS_PARALLELISM": "false-but-long",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("login with plain-value-of-a-token now", "login with *** now"),
        ("0123456789abcdef-and-more", "***"),
        ("postgres://user:pass@host:5432/db", "postgres://***@host:5432/db"),
        ("https://user:p@ss:w@rd@host/x", "https://***@host/x"),
        ("https://token123456@github.com/a/b", "https://***@github.com/a/b"),
        ("https://h/x?a=1&api_key=abcdef&b=2", "https://h/x?a=1&api_key=***&b=2"),
        ("https://h/x?X-Amz-Signature=0f0f#y", "https://h/x?X-Amz-Signature=***#y"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***"),
        ("key hf_" + "a" * 34 + ".", "key ***."),
        ("sk-" + "b" * 40, "***"),
        ("ghp_" + "C" * 36, "***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
    ],
)
def test_secrets_are_cut_out_of_text(text: str, expected: str) -> None:
    assert scrub_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the passwords are short, the path is /home/someone/token, false-but-long",
        "https://huggingface.co/datasets/a/b?split=train mail me@example.com",
        "http://localhost:8000/v1 for a@b.c",
        "<|im_end|> task-sk-1 bearer of news",
    ],
)
def test_innocent_text_is_left_alone(text: str) -> None:
    assert scrub_text(text) == text


def test_values_under_secret_keys_are_masked_whatever_they_look_like() -> None:
    config = {
        "model": {"name": "m", "hf_token": "x", "token": "y"},
        "engine": [{"api_key": "z", "password": ""}],
        "OPENAI-API-KEY": "w",
    }
    assert scrub(config) == {
        "model": {"name": "m", "hf_token": MASK, "token": MASK},
        "engine": [{"api_key": MASK, "password": ""}],
        "OPENAI-API-KEY": MASK,
    }


def test_keys_that_only_sound_secret_keep_their_values() -> None:
    config = {
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "tokens": 12,
        "max_new_tokens": 96,
        "tokenizer": "Qwen",
        "keyword": "k",
        "token": 5,
    }
    assert scrub(config) == config


@settings(max_examples=40, deadline=None)
@given(
    before=st.text(max_size=20),
    after=st.text(max_size=20),
    depth=st.integers(0, 3),
    key=st.booleans(),
)
def test_a_known_secret_is_found_wherever_it_stands(
    before: str, after: str, depth: int, key: bool
) -> None:
    value: object = before + "plain-value-of-a-token" + after
    if key:
        value = {str(value): 1}
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    assert "plain-value-of-a-token" not in json.dumps(scrub(value))


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=30) | st.sampled_from(SHAPES)))
def test_scrubbed_json_is_still_json_with_every_key(data: dict[str, str]) -> None:
    read = json.loads(scrub_shapes(json.dumps(data, ensure_ascii=False)))
    assert len(read) == len(data)
    assert not set(SHAPES) & set(read.values())
