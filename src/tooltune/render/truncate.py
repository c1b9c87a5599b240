"""Traces that are too long: whole oldest exchanges go, then whole turns; what went is counted.

An *exchange* is a user message and all that follows up to the next one. System messages, the tools
and the last exchange with a turn to learn always stay, as does what follows it. A turn is never cut
in its middle: an answer without its stop would teach the model never to stop.

The length of a trace is that of its longest turn, prompt and completion, in tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.types import Turn
from tooltune.traces.types import Message, Trace


@dataclass(frozen=True, slots=True)
class Cut:
    """What a trace lost to `seq_length`: whole exchanges, turns (theirs too), tokens of length."""

    exchanges: int = 0
    turns: int = 0
    tokens: int = 0

    def __bool__(self) -> bool:
        return self != NO_CUT

    def __add__(self, other: Cut) -> Cut:
        return Cut(
            self.exchanges + other.exchanges, self.turns + other.turns, self.tokens + other.tokens
        )


NO_CUT = Cut()

Render = Callable[[Sequence[int]], Sequence[Turn]]
"""Renders the messages of these indices, as if the trace had no others."""


def length_of(turns: Sequence[Turn]) -> int:
    """Tokens of the longest turn, prompt and completion."""
    return max((turn.length for turn in turns), default=0)


def fit(
    trace: Trace, turns: Sequence[Turn], spec: RenderSpec, render: Render
) -> tuple[tuple[Turn, ...], Cut]:
    """The turns of a trace that are short enough, as `spec` says, and what went for it.

    Raises: RowRejected (`overlong`), or with what `render` finds wrong with the rest.
    """
    limit, length = spec.max_length, length_of(turns)
    assert limit is not None
    kept, exchanges = turns, 0
    if length > limit and spec.truncate_history:
        kept, exchanges = _without_oldest(trace, turns, limit, render)
    if length_of(kept) > limit and spec.truncation and not spec.filter_overlong:
        kept = [turn for turn in kept if turn.length <= limit]
    if length_of(kept) > limit or not any(turn.n_targets for turn in kept):
        tried = " even without its older exchanges" if exchanges else ""
        raise RowRejected(
            "overlong",
            f"its longest turn has {length} tokens and does not fit into seq_length={limit}"
            f"{tried}; raise seq_length, or shorten the trace",
        )
    lost = Cut(exchanges, len(turns) - len(kept), length - length_of(kept))
    return tuple(kept), lost


def _without_oldest(
    trace: Trace, turns: Sequence[Turn], limit: int, render: Render
) -> tuple[Sequence[Turn], int]:
    """The turns after as few oldest exchanges went as make it fit (at most all but the last).

    Found by bisection: fewer messages render shorter, and what is returned was rendered.
    """
    starts = exchange_starts(trace.messages)
    if len(starts) < 2:
        return turns, 0
    fewest, most = 1, len(starts) - 1
    kept = render(_kept(trace.messages, starts[most]))
    if length_of(kept) > limit:
        return kept, most
    while fewest < most:
        middle = (fewest + most) // 2
        longer = render(_kept(trace.messages, starts[middle]))
        if length_of(longer) <= limit:
            kept, most = longer, middle
        else:
            fewest = middle + 1
    return kept, most


def exchange_starts(messages: Sequence[Message]) -> list[int]:
    """Indices at which exchanges begin, up to the last one with a turn to learn in it.

    What stands before the first user message, system messages aside, belongs to the first.
    """
    learnt = (i for i, m in enumerate(messages) if m.role == "assistant" and m.weight > 0)
    last_turn = max(learnt, default=-1)
    users = [i for i, m in enumerate(messages[:last_turn]) if m.role == "user"]
    return [0, *users[1:]] if users else []


def _kept(messages: Sequence[Message], start: int) -> list[int]:
    return [i for i, m in enumerate(messages) if i >= start or m.role == "system"]


def without_unanswered_end(messages: Sequence[Message]) -> int:
    """How many messages remain when what no assistant message answers is cut off the end.

    An assistant message that says, thinks and calls nothing answers nothing. A call whose result
    is missing is an answer: the log ends there, but the model's turn is whole.
    """
    length = len(messages)
    while length and not _answers(messages[length - 1]):
        length -= 1
    return length


def _answers(message: Message) -> bool:
    said = (message.content or "").strip() or (message.reasoning or "").strip()
    return message.role == "assistant" and bool(said or message.tool_calls)


def without_effect(spec: RenderSpec, longest: int) -> str | None:
    """What to warn of where `seq_length` is set and nothing says what happens to longer rows."""
    if spec.seq_length is None or spec.max_length is not None:
        return None
    return (
        f"seq_length={spec.seq_length} has no effect without truncation, truncate_history or "
        f"filter_overlong; the longest row has {longest} tokens"
    )
