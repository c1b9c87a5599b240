"""The account of a renderer: what it did to the rows that it accepted."""

from __future__ import annotations

from dataclasses import dataclass

from tooltune.render.truncate import NO_CUT, Cut


@dataclass(slots=True)
class RenderCounts:
    """What a renderer did to the rows that it accepted.

    `escaped_strings`: special tokens in data that were encoded as plain text. `truncated_rows`
    lost `cut`; `trimmed_messages` were cut off the ends of rows; `skipped_failed_calls` messages
    carry no loss. `longest` is the length of the longest row, in tokens.
    """

    rows: int = 0
    escaped_strings: int = 0
    truncated_rows: int = 0
    cut: Cut = NO_CUT
    trimmed_messages: int = 0
    skipped_failed_calls: int = 0
    longest: int = 0

    def to_dict(self) -> dict[str, int]:
        """What adds up over renderers, for the account of a run."""
        return {
            "escaped_strings": self.escaped_strings,
            "truncated_rows": self.truncated_rows,
            "truncated_exchanges": self.cut.exchanges,
            "truncated_turns": self.cut.turns,
            "truncated_tokens": self.cut.tokens,
            "trimmed_messages": self.trimmed_messages,
            "skipped_failed_calls": self.skipped_failed_calls,
        }
