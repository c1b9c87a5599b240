"""Guess what a row says next, from what was said before in like places.

Prompt lookup (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding): the last tokens of an
answer are looked for in its ground truth, in its prompt and what it has said so far, and in the
answers that other rows have given; what followed there is the guess. After a wrong value the
ground truth's rest often fits again. A guess is verified token for token, so a bad one costs time
and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tooltune.evaluate.engines.rows import Row
from tooltune.evaluate.engines.types import Rules

MOST_GUESSES = 12

# How many of the last tokens must match, by source and in the order in which they are tried.
_SOURCES = (("truth", 4), ("said", 5), ("others", 5), ("truth", 2), ("said", 3), ("others", 3))
# What a forward costs beside its tokens, in tokens: it reads all weights for a single one.
_FORWARD_COST = {True: 20.0, False: 400.0}


@dataclass(slots=True)
class _Guess:
    kind: tuple[str, int]
    count: int


class Guesser:
    """The guesses of one evaluation, and how often each kind of guess was right."""

    def __init__(self, rows_cost_time: bool) -> None:
        self._forward_cost = _FORWARD_COST[rows_cost_time]
        self._right = dict.fromkeys(_SOURCES, 3.0)
        self._tried = dict.fromkeys(_SOURCES, 4.0)
        self._others: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._texts: dict[int, bytearray] = {}
        self._open: dict[int, _Guess] = {}

    def guess(self, rows: Sequence[Row], rules: Rules) -> list[list[int]]:
        """Tokens that may follow each row's last one, none where a guess is not worth its cost.

        A guessed token that comes true saves a row's share of a later forward; it costs one token
        whether or not.
        """
        worth = len(rows) / (len(rows) + self._forward_cost)
        return [self._one(row, worth, rules) for row in rows]

    def _one(self, row: Row, worth: float, rules: Rules) -> list[int]:
        text = self._text(row)
        room = rules.max_new_tokens - len(row.tokens) - 1
        for kind in _SOURCES:
            chance = self._right[kind] / self._tried[kind]
            if chance <= worth:
                continue
            most = min(MOST_GUESSES, room, int(np.log(worth) / np.log(chance)))
            found = self._look(kind, row, text)[:most] if most > 0 else ()
            if found:
                self._open[row.index] = _Guess(kind, len(found))
                return list(found)
        return []

    def _look(self, kind: tuple[str, int], row: Row, text: bytearray) -> Sequence[int]:
        source, length = kind
        if length > len(row.tokens):
            return ()
        last = tuple(row.tokens[-length:])
        if source == "others":
            return self._others.get(last, ())
        if source == "truth":
            return _followed(_bytes(row.labels), _bytes(last))
        return _followed(text, _bytes(last), before=len(text) - 4)

    def _text(self, row: Row) -> bytearray:
        """Prompt and answer so far, four bytes a token."""
        text = self._texts.get(row.index)
        if text is None:
            text = self._texts[row.index] = bytearray(_bytes((*row.prompt_ids, *row.tokens)))
        said = len(text) // 4 - len(row.prompt_ids)
        text += _bytes(row.tokens[said:])
        return text

    def judge(self, row: Row, right: int) -> None:
        """Learn how many tokens of the row's last guess came true."""
        guess = self._open.pop(row.index, None)
        if guess is not None:
            self._right[guess.kind] += right
            self._tried[guess.kind] += min(right + 1, guess.count)

    def over(self, row: Row) -> None:
        """The row has ended: let its text go, and learn what it said."""
        self._texts.pop(row.index, None)
        tokens = tuple(row.tokens)
        for length in (3, 5):
            for end in range(length, len(tokens)):
                self._others[tokens[end - length : end]] = tokens[end : end + MOST_GUESSES]


def _bytes(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, dtype="<u4").tobytes()


def _followed(text: bytes | bytearray, last: bytes, before: int | None = None) -> Sequence[int]:
    """What followed the latest place of `last` in `text` that ends by byte `before`."""
    end = len(text) if before is None else before
    while (place := text.rfind(last, 0, end)) >= 0:
        if place % 4 == 0:
            start = place + len(last)
            found = bytes(text[start : start + 4 * MOST_GUESSES])
            return tuple(int(token) for token in np.frombuffer(found, "<u4"))
        end = place + len(last) - 1
    return ()
