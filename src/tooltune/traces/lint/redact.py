"""Secrets in traces, replaced by `[REDACTED:kind]` wherever they stand."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from tooltune.traces.lint.rewrite import Change
from tooltune.traces.lint.secrets import find_secrets, redact_text
from tooltune.traces.texts import Text, map_texts
from tooltune.traces.types import Trace


def redact_trace(trace: Trace) -> tuple[Trace, list[Change]]:
    """A copy without secrets, and what was replaced: places and kinds, never the secret.

    Calls and results still pair: ids, names and keys that differed still differ. Personal data
    stay, since most of them are invented, and a tool that sends mail needs an address.
    """
    changes: list[Change] = []
    labels: dict[str, str] = {}  # what a label became, by what it was

    def redact(text: Text) -> str:
        for secret in find_secrets(text.text):
            changes.append(Change("redacted", f"{redact_text(text.path)}: a {secret.kind}"))
        clean = redact_text(text.text)
        if not text.label or clean == text.text:
            return clean
        if text.text not in labels:
            taken, base = set(labels.values()), clean
            numbers = (f"{base}#{number}" for number in count(2))
            labels[text.text] = (
                clean if clean not in taken else next(n for n in numbers if n not in taken)
            )
        return labels[text.text]

    clean = map_texts(trace, redact)
    return (replace(clean, id="") if changes else trace), changes
