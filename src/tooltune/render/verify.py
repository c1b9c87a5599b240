"""What is checked on every row that is rendered: ids are the tokenizer's own, and spell the text.

Invariant 1 is about whole prompts, and tokenizing the 2,000 tokens of tool schemas again for every
row of a data set that shares them would cost more than all else. The check is made in two windows
that overlap in one added token: the head of the prompt through its first long segment and the
added token behind it, and the rest from that token on. Our ids are compared with the tokenizer's
own call for both: made for the head once for each distinct text, for the rest on every row. Each
segment is thereby seen between its two neighbours; and since a tokenizer cuts a text at its added
tokens before anything else, what stands beyond a neighbour cannot change the ids of a segment. A
tokenizer for which that were not so (a mismatch anywhere) encodes whole texts from then on.

The calls are not made twice: what the encoder remembers of segments comes from these very calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.render.encode import SegmentEncoder
from tooltune.render.representable import RowRejected
from tooltune.render.types import Turn

_LONG = 1000  # characters of a segment whose head is checked once for each distinct text
_HEADS_CHARACTERS = 64_000_000  # bound of the remembered heads


@dataclass(frozen=True, slots=True)
class OwnIds:
    """The tokenizer's ids of a prompt: `head`, and `rest`, which begins at character `start`."""

    start: int
    head: tuple[int, ...]
    rest: tuple[int, ...]


class RowCheck:
    """Checks turns of one tokenizer and remembers the heads of prompts that it saw to be right."""

    def __init__(self, tokenizer: Any, encoder: SegmentEncoder) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self._normalizer = getattr(self._backend, "normalizer", None)
        self._heads: dict[str, tuple[int, ...]] = {}
        self._heads_characters = 0

    def learn(self, prompt: str) -> OwnIds | None:
        """What the tokenizer's own call gives for a prompt; the encoder remembers its segments.

        None where it contradicts what they were elsewhere, or texts are encoded whole anyway.
        """
        if not self._encoder.cuts:
            return None
        start, end = self._encoder.long_head(prompt, _LONG)
        head = self._own_head(prompt[:end]) if end else ()
        rest = self._own(prompt[start:])
        return None if head is None or rest is None else OwnIds(start, head[:-1], rest)

    def _own_head(self, head: str) -> tuple[int, ...] | None:
        known = self._heads.get(head)
        if known is None and (known := self._own(head)) is not None:
            self.spelled(known, head, 0)
            self._remember(head, known)
        return known

    def agrees(self, turn: Turn, own: OwnIds | None) -> bool:
        """Invariant 1: the ids of a turn's prompt are the `own` ones, and spell its text.

        Texts with hidden strings have no ids of the tokenizer's own to compare with, nor have
        texts that are encoded whole, by just that call: for both `own` is None.

        Raises: RowRejected where the ids of prompt and completion spell another text.
        """
        start, tokens = (own.start, len(own.head)) if own else (0, 0)
        rest_ids = turn.prompt_ids[tokens:]
        if own and (own.rest != rest_ids or own.head != turn.prompt_ids[:tokens]):
            return False
        text = turn.prompt_text[start:] + turn.completion_text
        self.spelled([*rest_ids, *turn.completion_ids], text, turn.index)
        return True

    def spelled(self, ids: Sequence[int], text: str, index: int) -> str:
        """The text that `ids` spell, which is `text` but for the tokenizer's normaliser.

        Raises: RowRejected where it is another.
        """
        decoded = self._decode(ids)
        if decoded != text and self._folded(decoded) != self._folded(text):
            raise RowRejected(
                "text_not_reversible",
                f"messages[{index}]: the tokenizer cannot spell this row's text (decoding its ids "
                "gives another text)",
            )
        return decoded

    def _own(self, text: str) -> tuple[int, ...] | None:
        """The ids that the tokenizer's own call gives, or None where its segments contradict."""
        self._encoder.encoder_calls += 1
        (encoding,) = self._tokenizer(text, add_special_tokens=False).encodings
        return tuple(encoding.ids) if self._encoder.learn(text, encoding) else None

    def _decode(self, ids: Sequence[int]) -> str:
        if self._backend is not None:  # what `tokenizer.decode` calls, without its copies of ids
            return str(self._backend.decode(list(ids), skip_special_tokens=False))
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def _folded(self, text: str) -> str:
        folded = text if self._normalizer is None else str(self._normalizer.normalize_str(text))
        return folded.strip()

    def _remember(self, head: str, ids: tuple[int, ...]) -> None:
        if self._heads_characters > _HEADS_CHARACTERS:
            self._heads.clear()
            self._heads_characters = 0
        self._heads[head] = ids
        self._heads_characters += len(head)
