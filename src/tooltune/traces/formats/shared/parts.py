"""Content that is a list of typed parts instead of a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.traces.jsonio import RowError, show

TEXT_KEYS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of parts that are text, and the key that holds it (OpenAI chat and Responses)."""

_MEDIA = {"image_url", "input_image", "input_audio"}


def read_text(value: Any, where: str) -> str:
    """Text, or a list of text parts put together as they are, with nothing between them.

    Raises `RowError` (`content_not_text`, `unsupported_part`).
    """
    if isinstance(value, str):
        return value
    texts = _part_texts(value)
    if texts is None or None in texts:
        for i, part in enumerate(value if texts is not None else ()):
            if isinstance(part, Mapping) and part.get("type") not in (*TEXT_KEYS, None):
                raise unsupported_part(part, f"{where}[{i}]")
        reason = f"{where} is {show(value)}; write text (or a list of parts of type text)"
        raise RowError("content_not_text", reason)
    return "".join(text for text in texts if text is not None)


def result_text(value: Any, where: str) -> str:
    """A tool result as text: text and text parts as they are, other JSON values as JSON text.

    Raises `RowError` (`content_not_text` where there is none, `unsupported_part` for images).
    """
    if value is None:
        reason = f'{where} is missing; write "" for an empty result, "null" for a JSON null'
        raise RowError("content_not_text", reason)
    if isinstance(value, str):
        return value
    texts = _part_texts(value)
    if texts is not None and None not in texts:
        return "".join(text for text in texts if text is not None)
    for i, part in enumerate(value if texts is not None else ()):
        # Only what can be nothing but a content part: a result may be any list of objects.
        if isinstance(part, Mapping) and part.get("type") in tuple(_MEDIA):
            raise unsupported_part(part, f"{where}[{i}]")
    return json.dumps(value, ensure_ascii=False)


def unsupported_part(part: Mapping[str, Any], where: str) -> RowError:
    """The refusal of a part that is no text (an image, a file, a tool that the server runs)."""
    reason = (
        f"{where} is a part of type {show(part.get('type'), 30)}, which this format does not read "
        "as text; remove the row, or name another format"
    )
    return RowError("unsupported_part", reason)


def _part_texts(value: Any) -> Sequence[str | None] | None:
    """The text of each part (`None`: not a text part); `None` for what is no list of parts."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    return [_part_text(part) for part in value]


def _part_text(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get(TEXT_KEYS[kind]) if isinstance(kind, str) and kind in TEXT_KEYS else None
    return text if isinstance(text, str) else None
