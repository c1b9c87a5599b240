"""Which family wrote a text, where nobody said so: by the markers it shows and what reads well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tooltune.toolcalls.scan import Format, Schemas
from tooltune.toolcalls.types import ParsedTurn

_CHANNEL = "<|channel|>"  # harmony's; other families have messages, too


def detect(text: str, schemas: Schemas, formats: Mapping[str, Format]) -> ParsedTurn:
    """Take `text` apart by the family that reads it best; `format` of the turn names it.

    Families whose markers stand in the text come first, and markers inside the strings of calls
    that bear none show nothing. A text that begins as harmony messages is harmony; else the
    family wins that reads the greater share of its attempts as calls, then the one that finds names
    in more of them, then the one whose first call stands first, then the one that comes first in
    `formats`. Where no marked call is found the families without markers are tried in the same
    way. Without any call `format` is None.

    Families share ways of writing, and then one of them is named for the other, with equal calls:
    `bare_json` for Llama-3's and Gemma-3's JSON without a marker; `hermes` for a list in
    `<tool_call>` tags (SmolLM's, and one of xLAM's), `granite3` where no closer follows;
    `pythonic` for Gemma-3's list without a fence. Values that Qwen3-Coder's XML and GLM's write
    as bare text have their types from the tools alone, whoever is named.
    """
    bare = {name: known for name, known in formats.items() if not known.markers}
    if not any(marker in text for known in formats.values() for marker in known.markers):
        return _best(text, schemas, bare)
    outside = _outside_calls(text, [known.parse(text, schemas) for known in bare.values()])
    first_marks = {
        known.name: min(outside.find(marker) for marker in known.markers if marker in outside)
        for known in formats.values()
        if any(marker in outside for marker in known.markers)
    }
    others = [place for name, place in first_marks.items() if name != "harmony"]
    if 0 <= outside.find(_CHANNEL) < min(others, default=len(text)):
        return formats["harmony"].parse(text, schemas)
    turn = _best(text, schemas, {name: formats[name] for name in formats if name in first_marks})
    return turn if turn.calls else _best(text, schemas, bare)


def _best(text: str, schemas: Schemas, formats: Mapping[str, Format]) -> ParsedTurn:
    turns = [known.parse(text, schemas) for known in formats.values()]
    calling = [turn for turn in turns if turn.calls]
    if calling:
        return min(
            calling,
            key=lambda turn: (-_share_of_calls(turn), -_share_named(turn), turn.calls[0].span[0]),
        )
    return replace(turns[0], format=None) if turns else ParsedTurn(None, text.strip())


def _share_of_calls(turn: ParsedTurn) -> float:
    return sum(call.status == "ok" for call in turn.calls) / len(turn.calls)


def _share_named(turn: ParsedTurn) -> float:
    return sum(call.name is not None for call in turn.calls) / len(turn.calls)


def _outside_calls(text: str, turns: list[ParsedTurn]) -> str:
    """`text` without the well-formed calls of `turns`: where markers mean something."""
    spans = sorted(call.span for turn in turns for call in turn.calls if call.status == "ok")
    kept, pos = [], 0
    for start, end in spans:
        kept.append(text[pos : max(start, pos)])
        pos = max(pos, end)
    return "".join([*kept, text[pos:]])
