"""Secrets and personal data in texts: found by shape, never repeated in what is said of them.

The shapes of access keys are `scrub.KEY_SHAPES`. A finding names kind and place only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tooltune.scrub import KEY_SHAPES
from tooltune.traces.lint.types import Finding, found
from tooltune.traces.texts import trace_texts
from tooltune.traces.types import Trace


class Secret(NamedTuple):
    """A secret at `text[start:end]`, and its kind."""

    kind: str
    start: int
    end: int


# The group `secret` is what must go where it is not the whole match.
_SHAPES: dict[str, re.Pattern[str]] = {
    **KEY_SHAPES,
    "private_key": re.compile(
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[\w+/=\s:,.-]|\\[nr]){0,20000}?"
        r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    ),
    "aws_secret_access_key": re.compile(
        r"(?i:aws_?secret_?access_?key|secretaccesskey)[\"'\\]{0,3}\s{0,3}[:=]\s{0,3}[\"'\\]{0,3}"
        r"(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
    ),
    "password_in_url": re.compile(
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/?#\"'<>\\:@]{0,100}:"
        r"(?P<secret>[^\s/?#\"'<>\\]{1,200})@(?=[\w\[])"
    ),
    "bearer_token": re.compile(
        r"(?i:\bauthorization[\"'\\]{0,3}\s{0,3}[:=]\s{0,3}[\"'\\]{0,3}bearer\s)\s{0,3}"
        r"(?P<secret>[\w.~+/=-]{16,4000})"
    ),
}
# What a text must hold for a search to be worth its time; a kind that is not here is searched for.
_ANCHORS: dict[str, tuple[str, ...]] = {
    "huggingface_token": ("hf_",),
    "sk_key": ("sk-",),
    "stripe_key": ("k_live_",),
    "github_token": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    "gitlab_token": ("glpat-",),
    "npm_token": ("npm_",),
    "pypi_token": ("pypi-AgE",),
    "aws_access_key_id": ("AKIA", "ASIA"),
    "slack_token": ("xox",),
    "google_api_key": ("AIza",),
    "nvidia_key": ("nvapi-",),
    "sendgrid_key": ("SG.",),
    "telegram_token": (":AA",),
    "jwt": ("eyJ",),
    "private_key": ("PRIVATE KEY",),
    "aws_secret_access_key": ("ecret", "ECRET"),
    "password_in_url": ("://",),
    "bearer_token": ("earer", "EARER"),
}
_PLACEHOLDER = re.compile(
    r"\[REDACTED:|example|x{4}|\*{3}|\.{3}|your|1234567890?$|changeme|<|\{|^pass(word)?$|^pwd$",
    re.IGNORECASE,
)

# Addresses of RFC 2606's domains are made for examples. A phone number needs a country code or
# brackets: bare digits are as often an order number. 555 numbers are fictitious.
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?!(?:[\w-]+\.)*(?:example|test|localhost|invalid|your[\w-]*)\b)"
    r"(?:[\w-]{1,63}\.){1,4}[a-zA-Z]{2,12}(?![\w-])"
)
_PHONE = re.compile(
    r"(?<![\w+.-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|\(\d{3}\) ?\d{3}-\d{4})(?![\w-])"
)


def possible_kinds(text: str) -> list[str]:
    """The kinds of secrets that a text, or a part of it, may hold: a quick look."""
    return [kind for kind in _SHAPES if any(anchor in text for anchor in _ANCHORS.get(kind, ("",)))]


def find_secrets(text: str, kinds: Sequence[str] | None = None) -> Iterator[Secret]:
    """The secrets of a text in order, none overlapping; documentation's placeholders are none.

    `kinds`: those to look for, if others were ruled out before.
    """
    spans: list[Secret] = []
    for kind in possible_kinds(text) if kinds is None else kinds:
        shape = _SHAPES[kind]
        for match in shape.finditer(text):
            group = "secret" if "secret" in shape.groupindex else 0
            if not _PLACEHOLDER.search(match.group(group)):
                spans.append(Secret(kind, *match.span(group)))
    end = 0
    for secret in sorted(spans, key=lambda s: (s.start, -s.end)):
        if secret.start >= end:
            yield secret
            end = secret.end


def redact_text(text: str) -> str:
    """`text` with each secret replaced by `[REDACTED:kind]`."""
    clean, end = "", 0
    for secret in find_secrets(text):
        clean += text[end : secret.start] + f"[REDACTED:{secret.kind}]"
        end = secret.end
    return clean + text[end:]


def find_personal(text: str) -> Iterator[str]:
    """The kinds of personal data in a text: "an e-mail address", "a phone number"."""
    if "@" in text and _EMAIL.search(text):
        yield "an e-mail address"
    may = "+" in text or "(" in text
    if may and any("555" not in match.group() for match in _PHONE.finditer(text)):
        yield "a phone number"


def check_secrets(trace: Trace) -> Iterator[Finding]:
    """Texts that hold secrets (one finding for each), or personal data (one for each text)."""
    texts = list(trace_texts(trace))
    kinds = possible_kinds("\n".join(text.text for text in texts))
    for text in texts:
        for secret in find_secrets(text.text, kinds) if kinds else ():
            what = f"{redact_text(text.within)} holds a {secret.kind}"
            yield found(trace, "secret", text.turn, what)
        for kind in find_personal(text.text):
            yield found(
                trace, "personal_data", text.turn, f"{redact_text(text.within)} holds {kind}"
            )
