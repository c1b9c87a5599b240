"""`make_agent_chat_dataset`: traces as a map-style data set that any Hugging Face trainer takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tooltune.errors import UserError
from tooltune.render.sequences import IGNORED, FlatSequence, flatten_turns
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer, render_traces
from tooltune.traces.ledger import Ledger
from tooltune.traces.load import load_traces, require_rows

logger = logging.getLogger(__name__)

Item = dict[str, Any]


class AgentChatDataset(Sequence[Item]):
    """Rendered training sequences.

    Items are dictionaries of `input_ids`, `labels` (unshifted, -100 = not a target),
    `attention_mask` (lists of int, equal lengths) and `___PAD_TOKEN_IDS___` (the value that pads
    each of the three). `ledger` holds the rejected rows; `rows_read` and `truncated` (sequences
    that lost tokens to `seq_length`) complete the account.
    """

    def __init__(self, items: list[Item], ledger: Ledger, rows_read: int, truncated: int) -> None:
        self._items = items
        self.ledger = ledger
        self.rows_read = rows_read
        self.truncated = truncated

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


def make_agent_chat_dataset(
    tokenizer: Any,
    *,
    dataset_name: str | None = None,
    path: str | Path | Sequence[str | Path] | None = None,
    split: str = "train",
    revision: str | None = None,
    format: str | None = None,
    chat_template: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    seq_length: int | None = None,
    padding: bool | Literal["max_length"] = False,
    truncation: bool = False,
    limit_dataset_samples: int | None = None,
    train_on_last_turn_only: bool = False,
    mask_reasoning_content: bool = False,
    drop_history_reasoning_content: bool = False,
) -> AgentChatDataset:
    """Load traces, render each turn as inference will see it, and label the assistant's tokens.

    One item per trace; a trace whose template rewrites history gives several, so that every turn
    is trained exactly once. `seq_length` counts tokens and takes effect with `truncation=True`
    (items are cut on the right; one left without a target is dropped and counted in `truncated`)
    or `padding="max_length"`.

    Raises: UserError for a source that cannot be read, a template that cannot be used, or when no
    row is accepted.
    """
    if (truncation or padding) and seq_length is None:
        raise UserError(
            "`truncation` and `padding` need a length", fix="give `seq_length` (tokens)"
        )
    renderer = Renderer(
        tokenizer,
        RenderSpec(
            chat_template=chat_template,
            chat_template_kwargs=dict(chat_template_kwargs or {}),
            train_on_last_turn_only=train_on_last_turn_only,
            mask_reasoning_content=mask_reasoning_content,
            drop_history_reasoning_content=drop_history_reasoning_content,
        ),
    )
    traces = load_traces(
        path,
        dataset_name=dataset_name,
        split=split,
        revision=revision,
        limit=limit_dataset_samples,
        format=format,
    )
    require_rows(traces)
    rendered = render_traces(renderer, traces, traces.ledger)
    if not rendered:
        require_rendered(traces.ledger)
    sequences = [s for row in rendered for s in flatten_turns(row.turns)]
    if seq_length is not None and not (truncation or padding):
        longest = max(len(sequence.input_ids) for sequence in sequences)
        logger.warning(
            "seq_length=%d has no effect without truncation=True or padding='max_length'; the "
            "longest item has %d tokens",
            seq_length,
            longest,
        )
    truncated = 0
    if truncation and seq_length is not None:
        truncated = sum(len(sequence.input_ids) > seq_length for sequence in sequences)
        sequences = [_truncate(sequence, seq_length) for sequence in sequences]
        sequences = [sequence for sequence in sequences if sequence.n_targets]
    pad = {"input_ids": _pad_id(tokenizer), "labels": IGNORED, "attention_mask": 0}
    width = seq_length if padding else None
    items = [_item(sequence, pad, width) for sequence in sequences]
    return AgentChatDataset(items, traces.ledger, traces.rows_read, truncated)


def require_rendered(ledger: Ledger) -> None:
    """Raise the error for a data set of which no row could be rendered.

    Raises: UserError that names the commonest codes and one example reason of each.
    """
    examples = {r.code: r for r in reversed(ledger.rejections)}
    lines = [
        f"  {code}: {count} rows, such as {examples[code].file}:{examples[code].row} "
        f"({examples[code].reason})"
        for code, count in sorted(ledger.counts.items(), key=lambda pair: -pair[1])[:5]
    ]
    raise UserError(
        "no row could be rendered, so there is nothing to train on:\n" + "\n".join(lines),
        fix="mend the data, or choose a chat template that can express it (`model.chat_template`)",
    )


def _truncate(sequence: FlatSequence, length: int) -> FlatSequence:
    return FlatSequence(sequence.input_ids[:length], sequence.labels[:length])


def _item(sequence: FlatSequence, pad: dict[str, int], width: int | None) -> Item:
    columns = {
        "input_ids": list(sequence.input_ids),
        "labels": list(sequence.labels),
        "attention_mask": [1] * len(sequence.input_ids),
    }
    if width is not None:
        for key, column in columns.items():
            column += [pad[key]] * (width - len(column))
    return {**columns, "___PAD_TOKEN_IDS___": dict(pad)}


def _pad_id(tokenizer: Any) -> int:
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if value is not None:
            return int(value)
    return 0
