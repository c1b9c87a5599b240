"""Separate a Hermes system text into the tools it holds and what it tells the model.

The rest of such a text explains the notation (`<tool_call>` and so on). The trained model's own
template explains its own notation, so these sentences go, by rule: the `<tools>` block, examples
of blocks, every sentence that names one of the tags, the sentence with a colon that leads in to
something removed, and the JSON schema of a call. All other sentences stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

from tooltune.traces.formats.hermes_text import CALL, RESULT, TOOLS, read_values
from tooltune.traces.jsonio import skip_value

_TAG = re.compile(rf"</?(?:{TOOLS}|{CALL}|{RESULT})>")
_TOOLS_START = re.compile(rf"<{TOOLS}>(?=\s*[\[{{])")
_EXAMPLE_START = {tag: re.compile(rf"<{tag}>(?=\s*[\[{{<])(?!\s*</)") for tag in (CALL, RESULT)}
_CALL_SCHEMA = re.compile(
    r"Use the following (?:pydantic model )?json schema[^{\0]{0,80}(?=\{)", re.IGNORECASE
)
_SENTENCE = re.compile(r"\0\s*|[^\0]+?(?:[.!?:](?=[\s\0]|\Z)\s*|\n\s*|(?=\0)|\Z)")
_HEADING = re.compile(r"#+\s*tools?:?\s*", re.IGNORECASE)
_HOLE = "\0"  # stands for what was cut out; no row holds this character


def split_system(text: str, where: str) -> tuple[str | None, list[Any] | None]:
    """What remains of a system text (`None`: nothing), and its tools (`None`: it names no tag).

    Raises `RowError` (`unclosed_block`, or as `read_values`).
    """
    if not _TAG.search(text):
        return text, None
    tools: list[Any] = []
    pieces: list[str] = []
    at = 0
    while match := _TOOLS_START.search(text, at):
        pieces.append(text[at : match.start()])
        values, at = read_values(text, match.end(), TOOLS, where)
        for value in values:
            tools.extend(value if isinstance(value, list) else [value])
    text = _without_call_schema(_HOLE.join([*pieces, text[at:]]))
    for tag in (CALL, RESULT):
        text = _without_examples(text, tag)
    return _plain_sentences(text) or None, tools


def _without_examples(text: str, tag: str) -> str:
    """The text with a hole for every block of `tag` that holds more than prose."""
    pieces: list[str] = []
    at, closer = 0, f"</{tag}>"
    while match := _EXAMPLE_START[tag].search(text, at):
        end = text.find(closer, match.end())
        if end < 0:
            break
        pieces.append(text[at : match.start()])
        at = end + len(closer)
    return _HOLE.join([*pieces, text[at:]])


def _without_call_schema(text: str) -> str:
    match = _CALL_SCHEMA.search(text)
    end = skip_value(text, match.end()) if match else None
    return text if match is None or end is None else text[: match.start()] + text[end:]


def _plain_sentences(text: str) -> str:
    """The sentences and lines that neither explain a tag nor lead in to a hole."""
    sentences = _SENTENCE.findall(text)
    kept = []
    for sentence, after in zip(sentences, [*sentences[1:], ""], strict=True):
        leads_in = sentence.rstrip().endswith(":") and after.startswith(_HOLE)
        explains = _TAG.search(sentence) or _HEADING.fullmatch(sentence)
        if not (leads_in or explains or sentence.startswith(_HOLE)):
            kept.append(sentence)
    return "".join(kept).strip()
