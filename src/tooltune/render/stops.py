"""Where a turn ends: found by rendering it as the last one and with a message behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tooltune.errors import UserError
from tooltune.render.completion import PrefixError, turn_texts
from tooltune.render.messages import MessageShape, to_template
from tooltune.render.sentinels import TOOL_DICTS, USER
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.traces.types import Message

_ANCHOR = 40  # characters of a turn's end by which it is found again in a longer render


@dataclass(frozen=True, slots=True)
class Stop:
    """How a kind of turn ends. `written` is False where it is the next role's marker (GLM).

    `trailing` is what the template writes behind the stop of a conversation's last turn (Phi-3's
    end of text), edge white space aside: it is not the turn's and not learnt.
    """

    text: str
    id: int
    written: bool = True
    trailing: str = ""


def find_stop(
    template: ChatTemplate,
    tokenizer: Any,
    shape: MessageShape,
    turn: Message,
    sentinel: str,
    following: Message,
) -> Stop:
    """The stop of `turn`, whose last recognisable text is `sentinel`.

    Raises: UserError when the template cannot render the turn, or ends it in no special token.
    """
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    specials = {token.content: index for index, token in added.items() if token.special}
    try:
        stop = _find(template, specials, shape, turn, sentinel, following)
    except (TemplateError, PrefixError) as error:
        raise UserError(
            f"the chat template cannot render an assistant's answer: {error}", fix=_way_out(error)
        ) from error
    if stop is None:
        raise UserError(
            "the chat template ends an assistant turn with no special token of this tokenizer, "
            "so a model trained on it could never stop",
            fix="use a chat template whose assistant turns end in a token such as <|im_end|> "
            "or </s>",
        )
    return stop


def _way_out(error: TemplateError | PrefixError) -> str:
    if isinstance(error, TemplateError):
        return "use another `model.chat_template`"
    if error.switch:
        return f"set `model.{error.switch}`"
    if error.opening:
        return (
            "give a `model.chat_template` whose assistant turns begin with its generation prompt, "
            f"{error.opening!r}"
        )
    return "give a `model.chat_template` whose assistant turns begin as its generation prompt"


def _find(
    template: ChatTemplate,
    specials: dict[str, int],
    shape: MessageShape,
    turn: Message,
    sentinel: str,
    following: Message,
) -> Stop | None:
    _, rest = turn_texts(template, [USER], turn, TOOL_DICTS, shape)
    split = rest.rfind(sentinel) + len(sentinel)
    body, tail = rest[:split], rest[split:]
    after = _behind(body, template, shape, turn, following)
    # What a turn ends in both as the last one and inside a conversation is its own; gpt-oss ends
    # the two differently, and inference stops at the former.
    ends = {text: tail.rfind(text) + len(text) for text in specials if text in tail}
    both = [text for text, end in ends.items() if (after or "").startswith(tail[:end])]
    if ends:
        last = max(both or ends, key=lambda text: (ends[text], len(text)))
        return Stop(last, specials[last], trailing=tail[ends[last] :].strip())
    if after is None or not after.startswith(tail.rstrip()):
        return None
    after = after[len(tail.rstrip()) :]
    places = {text: after.find(text) for text in specials if text in after}
    if not places:
        return None
    first = min(places, key=lambda text: (places[text], -len(text)))
    return Stop(first, specials[first], written=False)


def _behind(
    body: str, template: ChatTemplate, shape: MessageShape, turn: Message, following: Message
) -> str | None:
    """What a render writes behind `body`, the text of a turn, when another message follows it."""
    messages = to_template([USER, turn, following], shape)
    try:
        longer = template.render(messages, TOOL_DICTS, generation_prompt=False)
    except TemplateError:
        return None
    for length in range(_ANCHOR, _ANCHOR // 5, -1):  # history may lack the beginning (reasoning)
        place = longer.find(body[-length:])
        if place >= 0:
            return longer[place + len(body[-length:]) :]
    return None
