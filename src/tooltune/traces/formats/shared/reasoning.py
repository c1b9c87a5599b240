"""The thinking of an assistant message, under the names that servers give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.shared.parts import read_text
from tooltune.traces.jsonio import RowError, show

_TEXT_KEYS = ("reasoning_content", "reasoning", "thinking")
# DeepSeek, vLLM and SGLang; OpenRouter and newer vLLM; Ollama and gpt-oss' chat template.

_LIST_KEYS = {
    "reasoning_details": {"reasoning.text": "text", "reasoning.summary": "summary"},  # OpenRouter
    "thinking_blocks": {"thinking": "thinking"},  # LiteLLM, as Anthropic's blocks
}
_UNREADABLE = ("reasoning.encrypted", "redacted_thinking")


def read_reasoning(turn: Mapping[str, Any], where: str) -> str | None:
    """The reasoning of a turn, or `None`.

    The text keys are names of one thing: two that differ are refused (`conflicting_turns`). The
    lists repeat in pieces what a text key says, so they count only where no text key is there.
    Encrypted reasoning is nothing that can be read: such a turn has none.
    """
    keys = [key for key in _TEXT_KEYS if turn.get(key) is not None]
    texts = [read_text(turn[key], f"{where}.{key}") for key in keys]
    if len(set(texts)) > 1:
        reason = f"{where}: {' and '.join(keys)} differ; keep one"
        raise RowError("conflicting_turns", reason)
    if texts:
        return texts[0]
    for key, types in _LIST_KEYS.items():
        if turn.get(key):
            return _joined(turn[key], f"{where}.{key}", types)
    return None


def _joined(value: Any, where: str, types: Mapping[str, str]) -> str | None:
    if not isinstance(value, (list, tuple)):
        raise RowError("reasoning_not_a_list", f"{where} is {show(value)}; write a list of details")
    texts: list[str] = []
    for i, detail in enumerate(value):
        kind = detail.get("type") if isinstance(detail, Mapping) else None
        if kind in _UNREADABLE:
            continue
        text = detail.get(types[kind]) if isinstance(kind, str) and kind in types else None
        if not isinstance(text, str):
            reason = f"{where}[{i}] is {show(detail)}; write one of {', '.join(types)} with a text"
            raise RowError("unknown_reasoning", reason)
        texts.append(text)
    return "".join(texts) if texts else None
