"""Text to token ids, exactly as `tokenizer(text, add_special_tokens=False)`, memoised by segment.

A tokenizer cuts text at its added tokens before normalisation and BPE run, so the ids of a text
are the ids of its segments between added tokens, one after another; only the very first segment
may be treated otherwise (a prefix space). The system-and-tools segment of a data set is therefore
encoded once, however many turns hold it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tooltune.render.injection import Placeholders

_MEMO_CHARACTERS = 64_000_000  # bound of the memo, in characters of remembered segments


class SegmentEncoder:
    """Encodes text for one tokenizer; `encoder_calls` counts real tokenizer calls."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._memo: OrderedDict[tuple[str, bool], tuple[int, ...]] = OrderedDict()
        self._memo_characters = 0
        self.encoder_calls = 0
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        # A token that strips its neighbours' spaces, or is matched in normalised text only, makes
        # a segment depend on more than itself: such tokenizers encode whole texts.
        cuttable = all(
            not (token.lstrip or token.rstrip or token.single_word) for token in added.values()
        )
        ids = {token.content: index for index, token in added.items() if not token.normalized}
        self._ids = ids if self._backend is not None and cuttable else {}
        self._cut = _alternation(self._ids)
        # A token behind which a text is encoded where it is the continuation of another.
        self._anchor = next(
            (t.content for t in added.values() if not (t.normalized or t.rstrip or t.single_word)),
            None,
        )
        if self._backend is not None:  # what an earlier call left set must not cut segments
            self._backend.no_truncation()
            self._backend.no_padding()
        self._literal: tuple[Any, str] | None = None

    def encode(
        self, text: str, *, first: bool = True, hidden: Placeholders | None = None
    ) -> list[int]:
        """Ids of `text`; `first=False` encodes it as a text that follows a control token.

        `hidden` strings stand for special tokens that the data spelled out: they are encoded as
        ordinary characters (trap 14).
        """
        if not self._ids:
            return self._encode_whole(text, first)
        out: list[int] = []
        for piece, is_first in self._pieces(text, first):
            token = self._ids.get(piece)
            out += self._segment(piece, is_first, hidden) if token is None else [token]
        return out

    def _pieces(self, text: str, first: bool) -> Iterator[tuple[str, bool]]:
        """Added tokens and the segments between them, in order; whether each starts a text."""
        position = 0
        for match in self._cut.finditer(text):
            if match.start() > position:
                yield text[position : match.start()], first and position == 0
            yield match.group(), False
            position = match.end()
        if position < len(text):
            yield text[position:], first and position == 0

    def use_whole_texts(self) -> None:
        """Stop cutting at added tokens: for a tokenizer whose segments turned out to interact."""
        self._ids, self._cut = {}, _alternation(())
        self._memo.clear()

    @property
    def cuts(self) -> bool:
        """Whether texts are cut at added tokens (and segments memoised)."""
        return bool(self._ids)

    def _encode_literal(self, text: str, first: bool) -> list[int]:
        backend, anchor = self._literal_backend()
        self.encoder_calls += 1
        if first:
            return list(backend.encode(text, add_special_tokens=False).ids)
        return list(backend.encode(anchor + text, add_special_tokens=False).ids[1:])

    def _literal_backend(self) -> tuple[Any, str]:
        assert self._backend is not None
        if self._literal is None:
            self._literal = _literal_copy(self._backend)
        return self._literal

    @property
    def knows_spans(self) -> bool:
        """Whether `token_spans` can be asked: a slow tokenizer does not know them."""
        return self._backend is not None and self._anchor is not None

    def token_spans(
        self, text: str, *, hidden: Placeholders | None = None
    ) -> list[tuple[int, int]]:
        """Character span (start, end) of each id of `encode(text, first=False, hidden=hidden)`.

        Spans count in the text with the `hidden` strings put back.
        """
        assert self._backend is not None and self._anchor is not None
        spans: list[tuple[int, int]] = []
        position = 0
        for piece, _ in self._pieces(text, first=False):
            shown, backend, anchor = piece, self._backend, self._anchor
            if hidden is not None and hidden.holds(piece):
                shown = hidden.restore(piece)
                backend, anchor = self._literal_backend()
            offsets = backend.encode(anchor + shown, add_special_tokens=False).offsets[1:]
            shift = position - len(anchor)
            spans += [(start + shift, end + shift) for start, end in offsets]
            position += len(shown)
        return spans

    def _segment(self, segment: str, first: bool, hidden: Placeholders | None) -> Sequence[int]:
        if hidden is not None and hidden.holds(segment):
            return self._encode_literal(hidden.restore(segment), first)
        key = (segment, first)
        found = self._memo.get(key)
        if found is not None:
            self._memo.move_to_end(key)
            return found
        self.encoder_calls += 1
        assert self._backend is not None and self._anchor is not None
        if first:
            ids = tuple(self._backend.encode(segment, add_special_tokens=False).ids)
        else:
            ids = tuple(
                self._backend.encode(self._anchor + segment, add_special_tokens=False).ids[1:]
            )
        self._memo[key] = ids
        self._memo_characters += len(segment)
        while self._memo_characters > _MEMO_CHARACTERS:
            (old, _), _ = self._memo.popitem(last=False)
            self._memo_characters -= len(old)
        return ids

    def _encode_whole(self, text: str, first: bool) -> list[int]:
        self.encoder_calls += 1
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        if first or self._anchor is None:
            return ids
        return list(self._tokenizer(self._anchor + text, add_special_tokens=False)["input_ids"])[1:]


def _alternation(strings: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(strings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _literal_copy(backend: Any) -> tuple[Any, str]:
    """A copy of the backend that reads special tokens as text, and an anchor it does not."""
    from tokenizers import AddedToken, Tokenizer

    copy = Tokenizer.from_str(backend.to_str())
    anchor = "\ue000\ue001anchor\ue001\ue000"
    copy.add_tokens([AddedToken(anchor, normalized=False, special=False)])
    copy.encode_special_tokens = True
    return copy, anchor
