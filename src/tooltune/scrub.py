"""Removes secrets *by value* from whatever is written: configs, logs, environment files, reports.

Known are the values of environment variables that are named like secrets, the shapes of common
access keys, passwords in URLs, and mapping keys that are named like secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

MASK = "***"
_SHORTEST = 8  # a shorter value ("true", "1234") would be cut out of innocent text

_SECRET_VARIABLE = re.compile(
    r"(^|_)(TOKEN|API_?KEY|SECRET|SECRET_KEY|ACCESS_KEY|PRIVATE_KEY|PASSWORD|PASSWD|CREDENTIALS?)$"
)
_SECRET_KEY = re.compile(
    r"^(.*[_-])?(api[_-]?key|secret|secret[_-]key|access[_-]key|private[_-]key|password|passwd|"
    r"credentials?|authorization|(auth|access|api|hf|bearer|refresh)[_-]?token|token)$",
    re.IGNORECASE,
)
_NOT_SECRET_KEY = re.compile(r"^(.*_)?(bos|eos|pad|unk|sep|cls|mask|stop|image)_token$", re.I)
KEY_SHAPES: dict[str, re.Pattern[str]] = {
    kind: re.compile(rf"\b(?:{shape})")
    for kind, shape in {
        "huggingface_token": r"hf_[A-Za-z0-9]{20,}",
        "sk_key": r"sk-[\w-]{20,}",
        "stripe_key": r"[sr]k_live_[A-Za-z0-9]{16,}",
        "github_token": r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}",
        "gitlab_token": r"glpat-[\w-]{20,}",
        "npm_token": r"npm_[A-Za-z0-9]{36}",
        "pypi_token": r"pypi-AgE[\w-]{40,}",
        "aws_access_key_id": r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        "slack_token": r"xox[abposr]-[\w-]{10,}",
        "google_api_key": r"AIza[\w-]{35}",
        "nvidia_key": r"nvapi-[\w-]{20,}",
        "sendgrid_key": r"SG\.[\w-]{22}\.[\w-]{43}",
        "telegram_token": r"\d{8,10}:AA[\w-]{33}",
        "jwt": r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    }.items()
}
"""Shapes of access keys by kind, as their vendors document or print them."""

_SHAPES = (
    (re.compile(r"(?<=://)[^/?#\s\"'<>\\]+(?=@)"), MASK),
    (
        re.compile(
            r"(?i)([?&](?:api_?key|key|token|access_token|auth|signature|sig|"
            r"x-amz-signature|password)=)[^&\s#\"'\\<>]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    *((shape, MASK) for shape in KEY_SHAPES.values()),
)


def scrub(value: Any) -> Any:
    """A copy of a JSON-like value in which every known secret is replaced by `***`.

    Strings inside mappings, lists and tuples are scrubbed; other values pass unchanged.
    """
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, Mapping):
        return {
            scrub_text(key) if isinstance(key, str) else key: (
                MASK if _is_secret_key(key) and isinstance(item, str) and item else scrub(item)
            )
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [scrub(item) for item in value]
    return value


def scrub_text(text: str) -> str:
    """`text` with every known secret replaced by `***`."""
    for secret in environment_secrets():
        text = text.replace(secret, MASK)
    return scrub_shapes(text)


def scrub_shapes(text: str) -> str:
    """`text` with whatever looks like a secret replaced by `***`.

    No shape holds a quote or a backslash: scrubbed JSON is still JSON.
    """
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def environment_secrets() -> tuple[str, ...]:
    """Values of this process's secret-looking variables, longest first (one may hold another)."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST and _is_secret_variable(name)
    }
    return tuple(sorted(found, key=len, reverse=True))


@cache
def _is_secret_variable(name: str) -> bool:
    return _SECRET_VARIABLE.search(name.upper()) is not None


def _is_secret_key(key: object) -> bool:
    return (
        isinstance(key, str)
        and _SECRET_KEY.match(key) is not None
        and _NOT_SECRET_KEY.match(key) is None
    )
