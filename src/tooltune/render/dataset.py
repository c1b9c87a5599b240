"""`make_agent_chat_dataset`: traces as a map-style data set that any Hugging Face trainer takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tooltune.errors import UserError
from tooltune.render.account import RenderCounts
from tooltune.render.sequences import IGNORED, FlatSequence, flatten_turns
from tooltune.render.spec import ControlTokens, LossWeights, RenderSpec
from tooltune.render.template import template_text
from tooltune.render.truncate import without_effect
from tooltune.render.turns import Renderer, render_traces
from tooltune.traces.ledger import Ledger
from tooltune.traces.load import load_traces, require_rows

logger = logging.getLogger(__name__)

Item = dict[str, Any]


class AgentChatDataset(Sequence[Item]):
    """Rendered training sequences.

    Items are dictionaries of `input_ids`, `labels` (unshifted, -100 = not a target),
    `attention_mask` (lists of int, equal lengths) and `___PAD_TOKEN_IDS___` (the value that pads
    each of the three). `ledger` holds the rejected rows; `rows_read`, `truncated` (rows that lost
    something to `seq_length`) and `counts` (what they lost, and what other flags did) complete the
    account.
    """

    def __init__(
        self, items: list[Item], ledger: Ledger, rows_read: int, counts: RenderCounts
    ) -> None:
        self._items = items
        self.ledger = ledger
        self.rows_read = rows_read
        self.counts = counts

    @property
    def truncated(self) -> int:
        return self.counts.truncated_rows

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
    chat_template: str | Path | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    seq_length: int | None = None,
    padding: bool | Literal["max_length"] = False,
    truncation: bool = False,
    limit_dataset_samples: int | None = None,
    train_on_last_turn_only: bool = False,
    mask_reasoning_content: bool = False,
    drop_history_reasoning_content: bool = False,
    truncate_history: bool = False,
    filter_no_assistant: bool = False,
    filter_overlong: bool = False,
    trim_incomplete_last_turn: bool = False,
    skip_failed_calls: bool = False,
    control_tokens: ControlTokens = "reject",
    loss_weights: LossWeights | Mapping[str, float] | None = None,
) -> AgentChatDataset:
    """Load traces, render each turn as inference will see it, and label the assistant's tokens.

    One item per trace; a trace whose template rewrites history gives several, so that every turn
    is trained exactly once. `chat_template` is Jinja text or a file. The other flags are those of
    `RenderSpec`. `seq_length` counts the tokens of an item and takes effect with

    - `truncate_history`: whole oldest exchanges go until the row fits; the system text, the tools
      and the last exchange stay;
    - `filter_overlong`: a row that is still longer is rejected (`overlong` in the ledger);
    - `truncation`: it loses the turns that do not fit, whole (`overlong` where none does);
    - `padding="max_length"`: shorter items are filled up.

    Labels can only say 0 or 1: a weight (of a message, a row, or in `loss_weights`) takes effect
    here where it is 0; `tooltune train` and `Renderer` heed all of them.

    Raises: UserError for a source that cannot be read, a template that cannot be used, or when no
    row is accepted.
    """
    if padding and seq_length is None:
        raise UserError("`padding` needs a length", fix="give `seq_length` (tokens)")
    renderer = Renderer(
        tokenizer,
        RenderSpec(
            chat_template=None if chat_template is None else template_text(chat_template),
            chat_template_kwargs=dict(chat_template_kwargs or {}),
            train_on_last_turn_only=train_on_last_turn_only,
            mask_reasoning_content=mask_reasoning_content,
            drop_history_reasoning_content=drop_history_reasoning_content,
            seq_length=seq_length,
            truncate_history=truncate_history,
            filter_overlong=filter_overlong,
            truncation=truncation,
            filter_no_assistant=filter_no_assistant,
            trim_incomplete_last_turn=trim_incomplete_last_turn,
            skip_failed_calls=skip_failed_calls,
            control_tokens=control_tokens,
            loss_weights=LossWeights.of(loss_weights),
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
    warning = without_effect(renderer.spec, renderer.counts.longest)
    if warning and not padding:
        logger.warning(warning)
    pad = {"input_ids": _pad_id(tokenizer), "labels": IGNORED, "attention_mask": 0}
    width = seq_length if padding else None
    items = [_item(sequence, pad, width) for sequence in sequences]
    return AgentChatDataset(items, traces.ledger, traces.rows_read, renderer.counts)


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
