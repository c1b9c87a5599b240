"""What varies between chat templates, found out once per template by rendering sentinels.

Nothing here knows a model family: a template is asked, with messages whose every field is
recognisable, and its answers are kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tooltune.errors import UserError
from tooltune.render.completion import PrefixError, shared_prefix, turn_texts
from tooltune.render.guard import check_limits
from tooltune.render.injection import ControlStrings, control_strings
from tooltune.render.messages import MessageShape, to_template
from tooltune.render.remedies import find_remedies
from tooltune.render.sentinels import (
    AGAIN,
    ANSWER,
    BESIDE,
    CALL,
    OTHER,
    RESULT,
    SYSTEM,
    THOUGHT,
    TOOL_DICTS,
    USER,
)
from tooltune.render.stops import Stop, find_stop
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.toolcalls.parse import FORMATS, parse_turn
from tooltune.traces.types import Message, ToolCall

_QUESTION = "zqquestion"
_MARKER = re.compile(r"<[^<>\s]*>")


@dataclass(frozen=True, slots=True)
class TemplateProfile:
    """The probe's findings; see the fields' names. `call_format` names our parser, if any reads it.

    `injected_system` is what stands before the first message of a conversation without a system
    message, and `injected_date` whether a date of today is in it. `reasoning` and
    `reasoning_beside_calls` tell whether a turn's completion holds its reasoning, by kind of turn;
    where `reasoning_required`, a turn without any cannot follow the generation prompt.
    `reasoning_opening` is what a completion holds before its reasoning. `thinking_switch` is the
    template argument under which turns of the other kind (with reasoning, or without) work.
    `beside_calls` is what becomes of a text beside calls: where the template writes it as
    reasoning, or moves it behind the results, it is not shown as it was said.
    `stops` maps the kind of turn ("text", "tool_calls") to its stop; a kind that the template
    cannot render has none. `remedies` says, for a code of a refusal, what to change.
    """

    template_hash: str
    shape: MessageShape
    system: bool
    injected_system: str
    injected_date: bool
    tools: bool
    tool_calls: bool
    parallel_calls: bool
    content_beside_calls: bool
    beside_calls: Literal["shown", "reasoning", "moved", "dropped"]
    tool_results: Literal["verbatim", "reencoded", "dropped"]
    reasoning: bool
    reasoning_beside_calls: bool
    reasoning_required: bool
    reasoning_opening: str
    history_reasoning: bool
    thinking_switch: str
    stops: dict[str, Stop]
    call_format: str | None
    controls: ControlStrings
    remedies: dict[str, str]

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

    Raises: UserError when the template takes too much memory or time, cannot render a plain
    question, or ends a turn in no token.
    """
    sources = template.sources(TOOL_DICTS)
    check_limits(sources)
    probe, question = _start(template)
    probe, call_text = _find_call_shape(probe)
    called = call_text is not None
    answer = probe.turn(ANSWER)
    stops = {"text": find_stop(template, tokenizer, probe.shape, answer, ANSWER, AGAIN)}
    if called:
        call_turn = probe.turn(None, CALL)
        stops["tool_calls"] = find_stop(template, tokenizer, probe.shape, call_turn, "zq", RESULT)
    result_text = probe.prompt([USER, probe.turn(None, CALL), RESULT]) or ""
    thought = Message("assistant", ANSWER, reasoning=THOUGHT)
    thinking = probe.completion(thought) or ""
    call_format = _find_format(call_text)
    beside = _beside_calls(probe, call_format)
    injected = _injected(probe, question)
    findings = TemplateProfile(
        template_hash=hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16],
        shape=probe.shape,
        system="zqsystem" in (probe.prompt([SYSTEM, USER]) or ""),
        injected_system=injected,
        injected_date=any(date in injected for date in template.dates),
        tools=CALL.name in (probe.prompt([USER]) or ""),
        tool_calls=called,
        parallel_calls=called and probe.shows(probe.turn(None, CALL, OTHER), CALL.name, OTHER.name),
        content_beside_calls=beside == "shown",
        beside_calls=beside,
        tool_results=_result_form(result_text),
        reasoning=THOUGHT in thinking,
        reasoning_beside_calls=called
        and probe.shows(replace(probe.turn(None, CALL), reasoning=THOUGHT), THOUGHT, CALL.name),
        reasoning_required=probe.thinks,
        reasoning_opening=thinking.partition(THOUGHT)[0] if THOUGHT in thinking else "",
        history_reasoning=THOUGHT in (probe.prompt([USER, thought, AGAIN]) or ""),
        thinking_switch=probe.switch_for(Message("assistant", ANSWER) if probe.thinks else thought),
        stops=stops,
        call_format=call_format,
        controls=control_strings(tokenizer, [*sources, question, call_text or "", result_text]),
        remedies={},
    )
    return replace(findings, remedies=find_remedies(findings.to_dict(), sources))


@dataclass(frozen=True, slots=True)
class _Probe:
    """A template under one shape; `thinks`: its answers need reasoning to follow their prompt."""

    template: ChatTemplate
    shape: MessageShape
    thinks: bool = False

    def turn(self, content: str | None, *calls: ToolCall) -> Message:
        return Message("assistant", content, calls, reasoning=THOUGHT if self.thinks else None)

    def prompt(self, messages: Sequence[Message], *, tools: bool = True) -> str | None:
        """The render with generation prompt; None where the template raises."""
        given = TOOL_DICTS if tools else None
        try:
            return self.template.render(
                to_template(messages, self.shape), given, generation_prompt=True
            )
        except TemplateError:
            return None

    def completion(self, turn: Message, *before: Message) -> str | None:
        """What follows the prompt of a turn that comes last; None where there is no such thing."""
        try:
            return turn_texts(self.template, [USER, *before], turn, TOOL_DICTS, self.shape)[1]
        except (TemplateError, PrefixError):
            return None

    def shows(self, turn: Message, *sentinels: str) -> bool:
        rest = self.completion(turn)
        return rest is not None and all(sentinel in rest for sentinel in sentinels)

    def switch_for(self, turn: Message) -> str:
        """The template argument under which `turn` can follow its prompt, if it needs one."""
        try:
            turn_texts(self.template, [USER], turn, TOOL_DICTS, self.shape)
        except PrefixError as error:
            return error.switch or ""
        except TemplateError:
            pass
        return ""


def _start(template: ChatTemplate) -> tuple[_Probe, str]:
    """The probe under the shape in which text is rendered, and the render of a question.

    Raises: UserError when the template raises for a question, or shows no shape of it.
    """
    failure: TemplateError | None = None
    for content in ("text", "parts"):
        shape = MessageShape(content=content)
        try:
            messages = to_template([USER], shape)
            question = template.render(messages, None, generation_prompt=True)
        except TemplateError as error:
            failure = failure or error
            continue
        try:
            template.render(
                to_template([USER, Message("assistant", ANSWER)], shape),
                None,
                generation_prompt=False,
            )
        except TemplateError:
            continue  # as LLaVA's, whose answers are parts while its questions may be text
        if _QUESTION in question:
            plain = _Probe(template, shape)
            thinking = _Probe(template, shape, thinks=True)
            needs = plain.completion(plain.turn(ANSWER)) is None and thinking.shows(
                thinking.turn(ANSWER), THOUGHT, ANSWER
            )
            return (thinking if needs else plain), question
    if failure is not None:
        raise UserError(
            f"the chat template cannot render a single user message: {failure}",
            fix="check `chat_template` and `chat_template_kwargs`",
        ) from failure
    raise UserError(
        "the chat template does not show the text of a user's message, or raises for the answer",
        fix="use another `model.chat_template`",
    )


def _find_call_shape(probe: _Probe) -> tuple[_Probe, str | None]:
    """The first shape under which a call is rendered with its arguments encoded once (trap 1)."""
    for arguments in ("object", "string"):
        for empty in ("empty", "absent"):
            shape = replace(probe.shape, arguments=arguments, empty_content=empty)
            shaped = replace(probe, shape=shape)
            rest = shaped.completion(probe.turn(None, CALL))
            if rest is None or CALL.name not in rest:
                continue
            if "zq_key" in rest and '\\"zq_key' not in rest and "'zq_key'" not in rest:
                # Ids of nine characters, as the sentinels', are what Mistral asks for.
                bare = replace(probe.turn(None, CALL), tool_calls=(replace(CALL, id=None),))
                if shaped.completion(bare) is None:
                    shaped = replace(shaped, shape=replace(shape, call_ids="numbered"))
                return shaped, rest
    return probe, None


def _beside_calls(
    probe: _Probe, call_format: str | None
) -> Literal["shown", "reasoning", "moved", "dropped"]:
    """What becomes of a text beside a call: in its own turn, and once the result is there."""
    turn = probe.turn(BESIDE, CALL)
    shown = probe.completion(turn)
    if shown is None or BESIDE not in shown or CALL.name not in shown:
        return "dropped"
    if call_format and BESIDE in (parse_turn(shown, format=call_format).reasoning or ""):
        return "reasoning"
    later = probe.prompt([USER, turn, RESULT]) or ""
    if 0 <= later.find("zq_result") < later.find(BESIDE):
        return "moved"  # Gemma-4: behind the result
    return "shown"


def _injected(probe: _Probe, question: str) -> str:
    """What a render without a system message shows before the first message and its header."""
    before = question[: question.find(_QUESTION)]
    longer = probe.prompt([USER, probe.turn(ANSWER), AGAIN], tools=False) or ""
    second = longer[: longer.rfind(_QUESTION)]
    cut = len(before) - len(shared_prefix(before[::-1], second[::-1]))
    inside = [m.end() for m in _MARKER.finditer(before) if m.start() < cut < m.end()]
    return before[: max([cut, *inside])]


def _result_form(text: str) -> Literal["verbatim", "reencoded", "dropped"]:
    if RESULT.content is not None and RESULT.content in text:
        return "verbatim"
    return "reencoded" if "zq_result" in text else "dropped"


def _find_format(call_text: str | None) -> str | None:
    """The name of the parser that reads the sentinel call back; one whose marker it shows first."""
    if call_text is None:
        return None
    marked = [
        name for name, known in FORMATS.items() if any(mark in call_text for mark in known.markers)
    ]
    for name in dict.fromkeys([*marked, *FORMATS]):
        calls = parse_turn(call_text, name, TOOL_DICTS).calls
        if [(c.name, c.arguments, c.status) for c in calls] == [
            (CALL.name, dict(CALL.arguments), "ok")
        ]:
            return name
    return None
