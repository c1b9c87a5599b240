"""Secrets and personal data: found wherever they stand, never repeated, and redacted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.lint.build import call, calls, codes, result, says, trace, user
from tests.traces.strategies import traces
from tooltune.traces import Trace
from tooltune.traces.lint import findings_of
from tooltune.traces.lint.redact import redact_trace
from tooltune.traces.lint.secrets import find_personal, find_secrets
from tooltune.traces.texts import map_texts, trace_texts

# Put together here so that no file of the repository holds the likeness of a secret.
SECRETS = {
    "huggingface_token": "hf_" + "a1B2" * 8,
    "sk_key": "sk-" + "proj-" + "x9" * 16,
    "stripe_key": "sk_" + "live_" + "Ab3" * 8,
    "github_token": "ghp_" + "C4d" * 12,
    "gitlab_token": "glpat-" + "Z3y4" * 5,
    "npm_token": "npm_" + "a1B2c3" * 6,
    "pypi_token": "pypi-" + "AgE" + "a1B2" * 12,
    "aws_access_key_id": "AKIA" + "Q7R2" * 4,
    "slack_token": "xoxb-" + "9876543210-abcdef",
    "google_api_key": "AIza" + "B7c" * 11 + "d1",
    "nvidia_key": "nvapi-" + "q8" * 16,
    "sendgrid_key": "SG." + "a1" * 11 + "." + "b2c" * 14 + "d",
    "telegram_token": "123456789:" + "AA" + "b7c" * 11,
    "jwt": "eyJ" + "hbGciOiJI" * 2 + ".eyJ" + "zdWIiOiI0" * 2 + "." + "c2lnbmF0" * 4,
    "private_key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow+/aB3=\nx9Yz\n-----END RSA "
    "PRIVATE KEY-----",
    "aws_secret_access_key": "aws_secret_access_" + "key = " + "wJalrXUt" * 5,
    "password_in_url": "postgres://admin:" + "s3cr3t-w0rd" + "@db.internal:5432/x",
    "bearer_token": "Authorization: " + "Bearer " + "a7f3" * 8,
}


@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_is_found_in_every_field(kind: str) -> None:
    said = f"use {SECRETS[kind]} please"
    everywhere = [
        trace(user(said), says()),
        trace(user(), says(reasoning=said)),
        trace(user(), calls(call(city=[{"of": said}]))),
        trace(user(), calls(call(**{said: {"of": said}}))),
        trace(user(), calls(), result(json.dumps({"env": said})), says()),
        trace(user(), says(), tools=[{"name": "f", "description": said}]),
        trace(user(), calls(call(id=said)), result(id=said), says()),
        trace(user(), says(), metadata=said),
    ]
    for made in everywhere:
        found = [f for f in findings_of(made) if f.code == "secret"]
        assert found
        assert all(kind in f.message for f in found)
        assert SECRETS[kind] not in repr(found)
        clean, changes = redact_trace(made)
        assert f"[REDACTED:{kind}]" in json.dumps(clean.to_openai())
        assert len(changes) == len(found)
        assert SECRETS[kind] not in repr(changes)
        assert not [f for f in findings_of(clean) if f.code == "secret"]


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",  # of the vendor's documentation
        "sk-" + "x" * 40,
        "sk-" + "your-api-key-goes-here-please",
        "Authorization: Bearer <your token here>",
        "bearer of good news that everyone awaits",
        "postgres://user:password@localhost/db",
        "ssh://git@github.com/a/b",
        "https://host:8080/path@x",
        "http://user@host",
        "the key is AIza",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "https://admin:[REDACTED:password_in_url]@host",
    ],
)
def test_what_only_resembles_a_secret_is_none(text: str) -> None:
    assert list(find_secrets(text)) == []


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to ann.lee@firma.de", ["an e-mail address"]),
        ("write to ann@example.com, b@mail.example.org or me@localhost", []),
        ("call +49 30 1234567 today", ["a phone number"]),
        ("call (212) 867-5309", ["a phone number"]),
        ("call (212) 555-0123 or +1 555 0100 200", []),
        ("order 4930123456789, 2024-01-31, 3.14159, 1+2", []),
        ("@ann said a@b", []),
    ],
)
def test_personal_data_are_told_from_examples(text: str, kinds: list[str]) -> None:
    assert list(find_personal(text)) == kinds


def test_personal_data_are_a_note_for_each_text_and_stay() -> None:
    made = trace(user("I am ann.lee@firma.de, bob@firma.de knows me"), says("Hello!"))
    assert codes(made) == [("personal_data", 0)]
    assert redact_trace(made) == (made, [])


def test_no_other_finding_repeats_an_access_key() -> None:
    key = SECRETS["sk_key"]
    made = trace(user(), calls(call(key)), tools=[{"name": key}, {"name": key, "strict": True}])
    found = list(findings_of(made))
    assert {"conflicting_tools", "secret"} <= {finding.code for finding in found}
    assert key not in repr(found)


def test_two_secrets_of_one_text_are_two_replacements() -> None:
    made = trace(user(f"{SECRETS['sk_key']} or {SECRETS['jwt']}?"), says())
    clean, changes = redact_trace(made)
    assert clean.messages[0].content == "[REDACTED:sk_key] or [REDACTED:jwt]?"
    assert [c.what for c in changes] == [
        "messages[0].content: a sk_key",
        "messages[0].content: a jwt",
    ]


def test_labels_that_differed_still_differ() -> None:
    one, other = "hf_" + "a1" * 12, "hf_" + "b2" * 12
    made = trace(
        user(),
        calls(call(id=one, **{one: 1, other: 2}), call("get_time", id=other)),
        result(id=one),
        result(name="get_time", id=other),
        says(),
    )
    clean, _ = redact_trace(made)
    ids = [c.id for c in clean.messages[1].tool_calls]
    assert len(set(ids)) == 2
    assert [m.tool_call_id for m in clean.messages[2:4]] == ids
    assert list(clean.messages[1].tool_calls[0].arguments.values()) == [1, 2]
    assert one not in json.dumps(clean.to_openai())


def _spiked(made: Trace, spikes: list[str]) -> Trace:
    """`made` with a secret behind every n-th text that is no label."""
    count = 0

    def spike(text: Any) -> str:
        nonlocal count
        count += 1
        return text.text if text.label else f"{text.text} {spikes[count % len(spikes)]}"

    return map_texts(made, spike)


@settings(max_examples=60, deadline=None)
@given(traces(), st.lists(st.sampled_from([*SECRETS.values(), ""]), min_size=1, max_size=4))
def test_redaction_leaves_no_secret_and_everything_else(made: Trace, spikes: list[str]) -> None:
    spiked = _spiked(made, spikes)
    clean, changes = redact_trace(spiked)
    secrets = [s for text in trace_texts(spiked) for s in find_secrets(text.text)]
    assert len(changes) == len(secrets)
    assert not any(list(find_secrets(text.text)) for text in trace_texts(clean))
    assert (clean == spiked) == (not changes)
    for before, after in zip(trace_texts(spiked), trace_texts(clean), strict=True):
        assert before.path == after.path
        if not list(find_secrets(before.text)):
            assert before.text == after.text
    assert redact_trace(clean) == (clean, [])
