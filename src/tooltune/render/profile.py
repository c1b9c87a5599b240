"""What varies between chat templates, found out once per template by rendering sentinels.

Nothing here knows a model family: a template is asked, with messages whose every field is
recognisable, and its answers are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tooltune.errors import UserError
from tooltune.render.completion import PrefixError, turn_texts
from tooltune.render.injection import ControlStrings, control_strings
from tooltune.render.messages import MessageShape, to_template
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.toolcalls.parse import FORMATS, parse_turn
from tooltune.traces.types import Message, Tool, ToolCall

_USER = Message("user", "zqquestion one")
_AGAIN = Message("user", "zqquestion two")
_CALL = ToolCall("zq_first", {"zq_key": "zq value", "zq_number": 7}, id="zqcall001")
_OTHER = ToolCall("zq_second", {"zq_key": "zq other"}, id="zqcall002")
_RESULT = Message("tool", '{"zq_result": "zq found"}', tool_call_id="zqcall001", name="zq_first")
_TEXT_TURN = Message("assistant", "zqanswer")
_CALL_TURN = Message("assistant", tool_calls=(_CALL,))
_TOOLS = tuple(
    Tool(
        {
            "name": call.name,
            "description": "zqdescription",
            "parameters": {
                "type": "object",
                "properties": {
                    "zq_key": {"type": "string", "description": "a key"},
                    "zq_number": {"type": "integer", "description": "a number"},
                },
                "required": ["zq_key"],
            },
        }
    )
    for call in (_CALL, _OTHER)
)
_ANCHOR = 40  # characters of a turn's end by which it is found again in a longer render
_TOOL_DICTS = [tool.to_openai() for tool in _TOOLS]


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


@dataclass(frozen=True, slots=True)
class TemplateProfile:
    """The probe's findings; see the fields' names. `call_format` names our parser, if any reads it.

    `stops` maps the kind of turn ("text", "tool_calls") to its stop; a kind that the template
    cannot render has none. `reasoning_opening` is what a completion holds before its reasoning.
    """

    template_hash: str
    shape: MessageShape
    system: bool
    injected_system: str
    tools: bool
    tool_calls: bool
    parallel_calls: bool
    content_beside_calls: bool
    tool_results: Literal["verbatim", "reencoded", "dropped"]
    reasoning: bool
    reasoning_opening: str
    history_reasoning: bool
    stops: dict[str, Stop]
    call_format: str | None
    controls: ControlStrings

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a turn, the text turn's first: the set that generation must stop at."""
        return tuple(dict.fromkeys(stop.id for stop in self.stops.values()))

    def to_dict(self) -> dict[str, Any]:
        """JSON form for reports and checkpoints."""
        plain = asdict(self)
        del plain["controls"]
        return plain


def probe_template(template: ChatTemplate, tokenizer: Any) -> TemplateProfile:
    """Render sentinels and note what the template does with each field.

    Raises: UserError when it cannot render a plain question, or no token ends a turn.
    """
    sources = template.sources(_TOOL_DICTS)
    try:
        question = template.render(
            to_template([_USER], MessageShape()), None, generation_prompt=True
        )
    except TemplateError as error:
        raise UserError(
            f"the chat template cannot render a single user message: {error}",
            fix="check `chat_template` and `chat_template_kwargs`",
        ) from error
    shape, call_text = _find_shape(template)
    probe = _Probe(template, shape)
    result_text = probe.prompt([_USER, _CALL_TURN, _RESULT]) or ""
    thought = Message("assistant", "zqanswer", reasoning="zqthought")
    thinking = probe.completion(thought) or ""
    stops = _find_stops(template, tokenizer, shape, calls=call_text is not None)
    return TemplateProfile(
        template_hash=hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16],
        shape=shape,
        system="zqsystem" in (probe.prompt([Message("system", "zqsystem"), _USER]) or ""),
        injected_system=question[: question.find("zqquestion")] if "zqquestion" in question else "",
        tools=_CALL.name in (probe.prompt([_USER]) or ""),
        tool_calls=call_text is not None,
        parallel_calls=probe.shows(
            Message("assistant", tool_calls=(_CALL, _OTHER)), _CALL.name, _OTHER.name
        ),
        content_beside_calls=probe.shows(
            Message("assistant", "zqbeside", tool_calls=(_CALL,)), "zqbeside", _CALL.name
        ),
        tool_results=_result_form(result_text),
        reasoning="zqthought" in thinking,
        reasoning_opening=thinking.partition("zqthought")[0] if "zqthought" in thinking else "",
        history_reasoning="zqthought" in (probe.prompt([_USER, thought, _AGAIN]) or ""),
        stops=stops,
        call_format=_find_format(call_text),
        controls=control_strings(tokenizer, [*sources, question, call_text or "", result_text]),
    )


@dataclass(frozen=True, slots=True)
class _Probe:
    template: ChatTemplate
    shape: MessageShape

    def prompt(self, messages: Sequence[Message]) -> str | None:
        """The render with tools and generation prompt; None where the template raises."""
        try:
            return self.template.render(
                to_template(messages, self.shape), _TOOL_DICTS, generation_prompt=True
            )
        except TemplateError:
            return None

    def completion(self, turn: Message) -> str | None:
        """What follows the prompt of a turn that comes last; None where there is no such thing."""
        try:
            return turn_texts(self.template, [_USER], turn, _TOOL_DICTS, self.shape)[1]
        except (TemplateError, PrefixError):
            return None

    def shows(self, turn: Message, *sentinels: str) -> bool:
        rest = self.completion(turn)
        return rest is not None and all(sentinel in rest for sentinel in sentinels)


def _find_shape(template: ChatTemplate) -> tuple[MessageShape, str | None]:
    """The first shape under which a call is rendered with its arguments encoded once (trap 1)."""
    shapes = [
        MessageShape(arguments, empty)
        for arguments in ("object", "string")
        for empty in ("empty", "absent")
    ]
    for shape in shapes:
        try:
            _, rest = turn_texts(template, [_USER], _CALL_TURN, _TOOL_DICTS, shape)
        except (TemplateError, PrefixError):
            continue
        once = "zq_key" in rest and '\\"zq_key' not in rest and "'zq_key'" not in rest
        if _CALL.name in rest and once:
            return shape, rest
    return MessageShape(), None


def _result_form(text: str) -> Literal["verbatim", "reencoded", "dropped"]:
    if _RESULT.content is not None and _RESULT.content in text:
        return "verbatim"
    return "reencoded" if "zq_result" in text else "dropped"


def _find_stops(
    template: ChatTemplate, tokenizer: Any, shape: MessageShape, *, calls: bool
) -> dict[str, Stop]:
    kinds = {"text": (_TEXT_TURN, "zqanswer", _AGAIN)}
    if calls:
        kinds["tool_calls"] = (_CALL_TURN, "zq", _RESULT)
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    specials = {token.content: index for index, token in added.items() if token.special}
    stops: dict[str, Stop] = {}
    for kind, (turn, sentinel, following) in kinds.items():
        try:
            stop = _find_stop(template, specials, shape, turn, sentinel, following)
        except (TemplateError, PrefixError) as error:
            switch = error.switch if isinstance(error, PrefixError) else None
            raise UserError(
                f"the chat template cannot render an assistant's answer: {error}",
                fix=f"set `model.{switch}`" if switch else "use another `model.chat_template`",
            ) from error
        if stop is None:
            raise UserError(
                "the chat template ends an assistant turn with no special token of this tokenizer, "
                "so a model trained on it could never stop",
                fix="use a chat template whose assistant turns end in a token such as <|im_end|> "
                "or </s>",
            )
        stops[kind] = stop
    return stops


def _find_stop(
    template: ChatTemplate,
    specials: dict[str, int],
    shape: MessageShape,
    turn: Message,
    sentinel: str,
    following: Message,
) -> Stop | None:
    _, rest = turn_texts(template, [_USER], turn, _TOOL_DICTS, shape)
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
    messages = to_template([_USER, turn, following], shape)
    try:
        longer = template.render(messages, _TOOL_DICTS, generation_prompt=False)
    except TemplateError:
        return None
    for length in range(_ANCHOR, _ANCHOR // 5, -1):  # history may lack the beginning (reasoning)
        place = longer.find(body[-length:])
        if place >= 0:
            return longer[place + len(body[-length:]) :]
    return None


def _find_format(call_text: str | None) -> str | None:
    """The name of the parser that reads the sentinel call back, most specific first."""
    if call_text is None:
        return None
    for name in FORMATS:
        calls = parse_turn(call_text, format=name).calls
        if [(c.name, c.arguments, c.status) for c in calls] == [
            (_CALL.name, dict(_CALL.arguments), "ok")
        ]:
            return name
    return None
