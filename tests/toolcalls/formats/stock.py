"""Turns with calls, as the stock templates write them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUESTION = {"role": "user", "content": "zq?"}


def template_text(name: str) -> str:
    """A template of trl's wheel, by its file name without the ending."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text("utf-8")


def completion(
    tokenizer: Any,
    template: str,
    calls: Sequence[tuple[str, Any]],
    **kwargs: Any,
) -> str:
    """What stands behind the question in a conversation whose last turn makes `calls`.

    `template` is `npm` for the tokenizer's own, else a name in trl's wheel.
    """
    source = {} if template == "npm" else {"chat_template": template_text(template)}
    turn: dict[str, Any] = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": f"call{index:05d}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for index, (name, arguments) in enumerate(calls)
        ],
    }
    texts = [
        tokenizer.apply_chat_template(messages, tokenize=False, **source, **kwargs)
        for messages in ([QUESTION], [QUESTION, turn])
    ]
    assert texts[1].startswith(texts[0])
    return str(texts[1][len(texts[0]) :])
