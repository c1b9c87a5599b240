"""Text to token ids, exactly as `tokenizer(text, add_special_tokens=False)`, memoised by segment.

A tokenizer cuts text at its added tokens before normalisation and BPE run, so the ids of a text
are the ids of its segments between added tokens, one after another; only the very first segment
may be treated otherwise (a prefix space). The system-and-tools segment of a data set is therefore
encoded once, however many turns hold it.
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tooltune.render.injection import Placeholders
from tooltune.render.strings import any_of

_MEMO_CHARACTERS = 8_000_000  # bound of the memo, in characters of its segments: about 100 MB


class SegmentEncoder:
    """Encodes text for one tokenizer; `encoder_calls` counts real tokenizer calls.

    `controls` are the tokens that hidden text may spell out, by default all special ones: there
    they are encoded as ordinary characters.
    """

    def __init__(self, tokenizer: Any, controls: Iterable[str] | None = None) -> None:
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
        self._cut = any_of(self._ids)
        named = None if controls is None else frozenset(controls)
        self._controls = {
            token.content: index
            for index, token in added.items()
            if (token.special if named is None else token.content in named)
        }
        # A token behind which a text is encoded where it is the continuation of another.
        self._anchor = next(
            (t.content for t in added.values() if not (t.normalized or t.rstrip or t.single_word)),
            None,
        )
        if self._backend is not None:  # what an earlier call left set must not cut segments
            self._backend.no_truncation()
            self._backend.no_padding()
        self._literal: tuple[Any, str] | None = None  # the backend of `_encode_literal`, its anchor

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

    def learn(self, text: str, encoding: Any) -> bool:
        """Remember the segments of `text` from the backend's `encoding` of it as a whole.

        False where one is not what it was elsewhere, or an added token is not where `text` has it.
        """
        ids = encoding.ids
        position = token = 0
        for match in self._cut.finditer(text):
            start, place = match.start(), encoding.char_to_token(match.start())
            if place is None or ids[place] != self._ids[match.group()]:
                return False
            if not self._learn_segment(text[position:start], position == 0, ids[token:place]):
                return False
            position, token = match.end(), place + 1
        return self._learn_segment(text[position:], position == 0, ids[token:])

    def _learn_segment(self, segment: str, first: bool, ids: Sequence[int]) -> bool:
        if not segment:
            return not ids
        known = self._memo.get((segment, first))
        if known is None:
            self._remember((segment, first), tuple(ids))
        return known is None or list(known) == ids

    def use_whole_texts(self) -> None:
        """Stop cutting at added tokens: for a tokenizer whose segments turned out to interact."""
        self._ids, self._cut = {}, any_of(())
        self._memo.clear()

    @property
    def cuts(self) -> bool:
        """Whether texts are cut at added tokens (and segments memoised)."""
        return bool(self._ids)

    def long_head(self, text: str, shortest: int) -> tuple[int, int]:
        """Where the first segment of `shortest` characters ends that an added token follows.

        As (start, end) of that token in characters; (0, 0) where there is none.
        """
        position = 0
        for match in self._cut.finditer(text):
            if match.start() - position >= shortest:
                return match.span()
            position = match.end()
        return 0, 0

    @property
    def reads_controls_as_text(self) -> bool:
        """Whether text that spells out control strings can be encoded as ordinary characters."""
        return bool(self._ids) and self._literal_backend() is not None

    def _encode_literal(self, text: str, first: bool) -> list[int]:
        literal = self._literal_backend()
        assert literal is not None
        backend, anchor = literal
        self.encoder_calls += 1
        if first:
            return list(backend.encode(text, add_special_tokens=False).ids)
        return list(backend.encode(anchor + text, add_special_tokens=False).ids[1:])

    def _literal_backend(self) -> tuple[Any, str] | None:
        if self._literal is None and self._backend is not None:
            self._literal = _literal_copy(self._backend, self._controls)
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
                shown, literal = hidden.restore(piece), self._literal_backend()
                assert literal is not None
                backend, anchor = literal
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
        self._remember(key, ids)
        return ids

    def _remember(self, key: tuple[str, bool], ids: tuple[int, ...]) -> None:
        self._memo[key] = ids
        self._memo_characters += len(key[0])
        while self._memo_characters > _MEMO_CHARACTERS:
            (old, _), _ = self._memo.popitem(last=False)
            self._memo_characters -= len(old)

    def _encode_whole(self, text: str, first: bool) -> list[int]:
        self.encoder_calls += 1
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        if first or self._anchor is None:
            return ids
        return list(self._tokenizer(self._anchor + text, add_special_tokens=False)["input_ids"])[1:]


def _literal_copy(backend: Any, controls: Mapping[str, int]) -> tuple[Any, str] | None:
    """A copy of the backend that reads the `controls` as text, and an anchor behind which it does.

    Their entries in the table of added tokens (tokenizer.json of huggingface.co/docs/tokenizers)
    get contents that no text can guess, so that all other tokens keep their ids. None where they
    do not keep them, or where the model still makes a control's id of its characters.
    """
    from tokenizers import AddedToken, Tokenizer

    table, nonce = json.loads(backend.to_str()), secrets.token_hex(8)
    kept = {e["content"]: e["id"] for e in table["added_tokens"] if e["content"] not in controls}
    for entry in table["added_tokens"]:
        if entry["content"] in controls:
            entry["content"] = f"\ue000{nonce}{entry['id']}\ue001"
    copy = Tokenizer.from_str(json.dumps(table, ensure_ascii=False))
    anchor = f"\ue000{nonce}anchor\ue001"
    copy.add_tokens([AddedToken(anchor, normalized=False, special=False)])
    moved = [content for content, index in kept.items() if copy.token_to_id(content) != index]
    ids = set(controls.values())
    made = [c for c in controls if ids & set(copy.encode(anchor + c, add_special_tokens=False).ids)]
    return None if moved or made else (copy, anchor)
