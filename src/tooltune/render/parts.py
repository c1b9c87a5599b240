"""Which part of a turn each of its tokens is, and what it therefore weighs in the loss.

reasoning: the tokens that touch a character of the reasoning, edge white space aside.
text: those of the content; in a turn without calls also all else: markers, the stop.
tool_call: in a turn with calls all that is neither of the two: calls, markers, the stop. What a
    model must write to get a call across belongs to the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tooltune.render.completion import PrefixError, turn_texts
from tooltune.render.profile import TemplateProfile
from tooltune.render.representable import RowRejected
from tooltune.render.sentinels import BESIDE, CALL, THOUGHT, TOOL_DICTS, USER
from tooltune.render.spec import Part, RenderSpec
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.traces.types import Message

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Gaps:
    """What a template writes before the text beside a call: first in a turn, behind reasoning.

    Texts are looked for behind them: "think" stands in "<think>" too. Where `text_last`, the
    template writes the text behind the calls (Gemma-4), and it is looked for from the end.
    """

    first: str
    behind_reasoning: str
    text_last: bool = False


def find_gaps(template: ChatTemplate, profile: TemplateProfile) -> Gaps:
    """Ask the template, with sentinels. Empty where it has no such turn."""
    turn = Message("assistant", BESIDE, (CALL,))
    first = _completion(template, profile, turn)
    behind = _completion(template, profile, replace(turn, reasoning=THOUGHT)).partition(THOUGHT)[2]
    first, behind = (text[: max(text.find(BESIDE), 0)] for text in (first, behind))
    return Gaps(first, behind, text_last=CALL.name in first + behind)


def _completion(template: ChatTemplate, profile: TemplateProfile, turn: Message) -> str:
    try:
        return turn_texts(template, [USER], turn, TOOL_DICTS, profile.shape)[1]
    except (TemplateError, PrefixError):
        return ""


def parts_differ(message: Message, spec: RenderSpec) -> bool:
    """Whether tokens of this turn weigh differently, so that parts must be told apart."""
    weights = spec.part_weights
    held = {"tool_call" if message.tool_calls else "text"}
    held |= {"text"} if (message.content or "").strip() else set()
    held |= {"reasoning"} if (message.reasoning or "").strip() else set()
    return len({weight for part, weight in weights.items() if part in held}) > 1


def token_parts(
    message: Message,
    completion: str,
    spans: Sequence[Span],
    profile: TemplateProfile,
    gaps: Gaps,
    where: str,
) -> list[Part]:
    """The part of each token of `completion`, whose characters `spans` gives.

    Raises: RowRejected where the completion does not show a text as the message has it.
    """
    rest: Part = "tool_call" if message.tool_calls else "text"
    parts = [rest] * len(spans)
    behind = 0
    reasoning, content = (message.reasoning or "").strip(), (message.content or "").strip()
    if reasoning:
        opening = profile.reasoning_opening.strip()  # not always first: a role may stand before it
        opened = completion.find(opening) + len(opening) if opening in completion else 0
        start = completion.find(reasoning, opened)
        if start < 0:
            raise _not_found("reasoning_not_found", f"{where}.reasoning_content")
        behind = start + len(reasoning)
        _mark(parts, spans, (start, behind), "reasoning")
    if content and message.tool_calls:
        gap = gaps.behind_reasoning if reasoning else gaps.first
        if completion.startswith(gap, behind):
            behind += len(gap)
        if gaps.text_last:
            stop = len(profile.stops["tool_calls"].text)
            start = completion.rfind(content, behind, len(completion) - stop)
        else:
            start = completion.find(content, behind)
        if start < 0:
            raise _not_found("content_not_found", f"{where}.content")
        _mark(parts, spans, (start, start + len(content)), "text")
    return parts


def _mark(parts: list[Part], spans: Sequence[Span], where: Span, part: Part) -> None:
    for i, (start, end) in enumerate(spans):
        if start < where[1] and end > where[0]:
            parts[i] = part


def _not_found(code: str, field: str) -> RowRejected:
    return RowRejected(
        code,
        f"{field}: the rendered turn does not show it as it is, so it cannot be weighted apart; "
        "give `loss_weights` one value for all parts (and leave out `mask_reasoning_content`)",
    )
