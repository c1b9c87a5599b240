"""Checks of a conversation's course: who speaks, who answers, where it ends."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import pairwise

from tooltune.traces.jsonio import show
from tooltune.traces.lint.types import Finding, found
from tooltune.traces.texts import trace_texts
from tooltune.traces.types import Message, ToolCall, Trace

# Control strings of common chat templates: ChatML, Llama 2 to 4, Gemma, Mistral, Phi, GLM,
# DeepSeek, gpt-oss (harmony), Hermes calls and thinking. What a template at hand really uses is
# refused when rows are rendered for it; this is for data that is checked without a model.
_CONTROL = re.compile(
    r"<\|[a-z][a-z0-9_]{1,30}\|>|</?start_of_turn>|<end_of_turn>|\[/?INST\]|<</?SYS>>|"
    r"\[/?(?:TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]|</?(?:tool_call|tool_response|think)>|"
    "<｜[^｜<>]{1,40}｜>"
)

_LONG = 600  # characters from which a text is asked whether it repeats itself
_PACKS_TO = 0.05  # prose packs to 0.4, JSON of many like rows to 0.1
_RUN = re.compile(r"([^\s=_*#~.-])\1{199,}")  # lines are drawn with the characters left out


def check_turns(trace: Trace) -> Iterator[Finding]:
    """Empty turns, a leading assistant turn, system messages that come late, repeated roles."""
    for i, message in enumerate(trace.messages):
        if message.role == "assistant" and message.weight > 0 and i > 0 and _is_empty(message):
            yield found(trace, "empty_turn", i, "an assistant turn without text and calls")
        if message.role == "system" and i > 0:
            yield found(trace, "late_system", i, f"a system message behind {i} others")
    if trace.messages and trace.messages[0].role == "assistant":
        yield found(trace, "leading_assistant", 0, "the conversation begins with the assistant")
    for i, (before, message) in enumerate(pairwise(trace.messages), 1):
        # Behind a call another assistant turn is rather an answer that lacks the result.
        if before.role == message.role and message.role != "tool" and not before.tool_calls:
            text = f"a {message.role} message directly behind another one"
            yield found(trace, "repeated_role", i, text)


def _is_empty(message: Message) -> bool:
    return not message.tool_calls and not (message.content or "").strip()


def check_end(trace: Trace) -> Iterator[Finding]:
    """Messages behind the last assistant turn, and results that no assistant turn follows."""
    end = last_answer(trace)
    for i, message in enumerate(trace.messages):
        following = trace.messages[i + 1 :]
        if message.role == "tool":
            reader = next((m.role for m in following if m.role != "tool"), None)
            if reader != "assistant":
                who = "nothing" if reader is None else f"a {reader} message"
                text = f"behind the result of {show(message.name or '?')} comes {who}, no answer"
                yield found(trace, "unread_result", i, text)
        elif i > end:
            yield found(trace, "trailing_message", i, f"a {message.role} message ends it")


def last_answer(trace: Trace) -> int:
    """The index of the last assistant message; -1 where there is none."""
    return max((i for i, m in enumerate(trace.messages) if m.role == "assistant"), default=-1)


def check_results(trace: Trace) -> Iterator[Finding]:
    """Calls without a result, results in another order than their calls, results that come late."""
    answers = pair_answers(trace)
    for index, message in enumerate(trace.messages):
        if not message.tool_calls:
            continue
        direct = next(
            (i for i in range(index + 1, len(trace.messages)) if trace.messages[i].role != "tool"),
            len(trace.messages),
        )
        mine = [(result, place) for result, (call, place) in answers.items() if call == index]
        for result, _ in mine:
            if result > direct:
                yield found(trace, "late_result", result, f"its call is in messages[{index}]")
        order = [place for _, place in mine]
        if order != sorted(order):
            text = f"its calls are answered in the order {', '.join(map(str, order))}"
            yield found(trace, "results_out_of_order", index, text)
        if direct == len(trace.messages) and not mine:
            continue  # the row ends in these calls, which is a row like any other
        for place, call in enumerate(message.tool_calls):
            if place not in order:
                text = f"tool_calls[{place}] ({show(call.name)}) has no result"
                yield found(trace, "unanswered_call", index, text)


def pair_answers(trace: Trace) -> dict[int, tuple[int, int]]:
    """Which call each tool message answers: its index to (message index, place among the calls).

    As `formats.pairing` pairs them: by id the newest call; else the first open one of the latest
    round that has its name, else the first open one. A trace built by hand may leave some out.
    """
    answers: dict[int, tuple[int, int]] = {}
    open_calls: list[tuple[int, int]] = []  # in the order of the calls
    latest = -1
    for i, message in enumerate(trace.messages):
        if message.tool_calls:
            latest = i
            open_calls += [(i, place) for place in range(len(message.tool_calls))]
        elif message.role == "tool":
            slot = _slot(trace, message, open_calls, latest)
            if slot is not None:
                answers[i] = slot
                open_calls.remove(slot)
    return answers


def _slot(
    trace: Trace, result: Message, open_calls: list[tuple[int, int]], latest: int
) -> tuple[int, int] | None:
    def call(slot: tuple[int, int]) -> ToolCall:
        return trace.messages[slot[0]].tool_calls[slot[1]]

    if result.tool_call_id is not None:
        newest_first = sorted(open_calls, key=lambda slot: (-slot[0], slot[1]))
        return next((s for s in newest_first if call(s).id == result.tool_call_id), None)
    candidates = [slot for slot in open_calls if slot[0] == latest]
    named = [slot for slot in candidates if call(slot).name == result.name]
    return next(iter(named or candidates), None)


def check_repetition(trace: Trace) -> Iterator[Finding]:
    """Long assistant texts with a run of one character, or that pack to next to nothing."""
    for i in trace.turns:
        message = trace.messages[i]
        for field, text in (("content", message.content), ("reasoning", message.reasoning)):
            how = _repetition(text) if text and message.weight > 0 else None
            if how is not None:
                yield found(trace, "repetitive_text", i, f"its {field} {how}")


def _repetition(text: str) -> str | None:
    """How a long text repeats itself, in words."""
    if len(text) < _LONG:
        return None
    run = _RUN.search(text)
    if run:
        return f"has {show(run[1])} {len(run[0]):,} times in a row"
    data = text.encode()
    packed = len(zlib.compress(data, 1)) / len(data)
    return f"of {len(text):,} characters packs to {packed:.1%}" if packed < _PACKS_TO else None


def check_control_strings(trace: Trace) -> Iterator[Finding]:
    """Control strings of common templates in what the data says (trap 14)."""
    for text in trace_texts(trace):
        match = _CONTROL.search(text.text)
        if match:
            what = f"{text.within} holds {show(match.group())}"
            yield found(trace, "control_string", text.turn, what)


def check_reasoning(trace: Trace) -> Iterator[Finding]:
    """Rows in which some of the trained turns reason and others do not."""
    trained = [i for i in trace.turns if trace.messages[i].weight > 0]
    silent = [i for i in trained if not (trace.messages[i].reasoning or "").strip()]
    if silent and len(silent) < len(trained):
        text = f"{len(silent)} of {len(trained)} assistant turns have no reasoning"
        yield found(trace, "mixed_reasoning", silent[0], text)
