"""Read a report page the way a browser's parser would, for tests."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

Attributes = dict[str, str | None]


@dataclass
class Page:
    """`elements` in order, the text of each element that holds raw text, and the visible text."""

    elements: list[tuple[str, Attributes]] = field(default_factory=list)
    raw: list[tuple[str, Attributes, str]] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> Any:
        """The embedded object, unpacked where it is packed."""
        ((attributes, text),) = [(a, text) for _, a, text in self.raw if a.get("id") == "data"]
        if "data-packed" in attributes:
            return json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        return json.loads(text)

    @property
    def policy(self) -> str:
        (content,) = [
            meta["content"] or ""
            for meta in self.all("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        return content


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._raw: tuple[str, Attributes] | None = None
        self._words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._raw = (tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.page.raw.append((*self._raw, data))
        else:
            self._words.extend(data.split())

    def close(self) -> None:
        super().close()
        self.page.text = " ".join(self._words)


def read_page(path: Path) -> Page:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.page
