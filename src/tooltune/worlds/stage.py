"""A conversation while it is played: messages grow, calls execute, nothing is made up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tooltune.traces.types import Message, Tool, ToolCall
from tooltune.worlds.base import Json, State, ToolError, World
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import Request, Slots

_FIRST = (
    "{C}.",
    "{C}, please.",
    "Please {c}.",
    "Can you {c}?",
    "Could you {c}?",
    "Could you please {c}?",
    "Would you {c}?",
    "I need you to {c}.",
    "I'd like you to {c}.",
    "Hi! {C}, please.",
    "Hello, can you {c}?",
    "Hey, {c}, please.",
)
_LATER = (
    "Thanks. Now {c}.",
    "Thank you! Please {c}, too.",
    "Great. Could you also {c}?",
    "Next, {c}, please.",
    "Good. Then {c}.",
    "One more thing: {c}.",
    "Perfect. Can you {c} as well?",
)
_THANKS = ("Thanks. ", "Great. ", "Thank you! ", "Good. ", "And one more thing. ", "")


class Unfit(ValueError):
    """These draws cannot be played out as intended; others must be drawn."""


@dataclass(slots=True)
class Stage:
    """The world, its running state, the tools on offer and the messages so far."""

    world: World
    state: State
    draw: Draw
    menu: tuple[Tool, ...]
    messages: list[Message] = field(default_factory=list)

    def requests(self) -> list[Request]:
        """What can be asked with the tools on offer."""
        offered = {tool.name for tool in self.menu}
        return [request for request in self.world.requests if request.tools <= offered]

    def user(self, text: str) -> None:
        """Let the user say `text`, which must name a value of this trace's side."""
        if not any(_names(text, value) for value in self.draw.drawn):
            raise Unfit(f"{text!r} could be said on any side")
        self.messages.append(Message("user", text))

    def agent(self, text: str) -> None:
        self.messages.append(Message("assistant", text))

    def ask(self, clauses: tuple[str, ...], slots: Slots, sentences: tuple[str, ...] = ()) -> None:
        """Let the user ask for something in one of the given phrasings."""
        template = self.draw.any(clauses + sentences)
        self.say(template.format(**slots), complete=template in sentences)

    def say(self, text: str, *, complete: bool = False) -> None:
        """Let the user say an imperative clause in a sentence, or a complete sentence as it is."""
        later = any(message.role == "user" for message in self.messages)
        if complete:
            self.user((self.draw.any(_THANKS) if later else "") + text)
            return
        frame = self.draw.any(_LATER if later else _FIRST)
        self.user(frame.format(c=text, C=text[:1].upper() + text[1:]))

    def call(self, *calls: tuple[str, Json]) -> list[Json]:
        """One assistant turn of parallel calls, executed in order; returns their results."""
        made = []
        for number, (name, arguments) in enumerate(calls, start=len(self.calls()) + 1):
            if not self.entities(arguments):
                raise Unfit(f"a call {name}({arguments}) could occur on any side")
            ordered = {
                key: arguments[key]
                for key in self.world.tool(name).parameters["properties"]
                if key in arguments
            }
            made.append(ToolCall(name, ordered, id=f"call_{number}"))
        self.messages.append(Message("assistant", tool_calls=tuple(made)))
        results = []
        for call in made:
            result = execute(self.world, self.state, call)
            text = json.dumps(result, ensure_ascii=False)
            self.messages.append(Message("tool", text, tool_call_id=call.id, name=call.name))
            results.append(result)
        return results

    def play(self, request: Request, slots: Slots) -> None:
        """Make the calls of `request` one after the other, then answer."""
        start = max(i for i, message in enumerate(self.messages) if message.role == "user")
        known = "\n".join(message.content or "" for message in self.messages[:start])
        asked = self.messages[start].content or ""
        results: list[Json] = []
        for index, step in enumerate(request.steps):
            arguments = step.fill(slots, results)
            found = {str(leaf) for leaf in leaves(arguments)} if results else set()
            if any(_names(known, text) and not _names(asked, text) for text in found):
                raise Unfit("what the earlier steps look up was known before")
            (result,) = self.call((step.tool, arguments))
            if ("error" in result) is not (request.recovers and index == 0):
                raise Unfit(f"{step.tool} returned {result}")
            results.append(result)
        self.agent(request.answer(self.draw, slots, results[-1]))

    def calls(self) -> list[ToolCall]:
        """All calls made so far."""
        return [call for message in self.messages for call in message.tool_calls]

    def entities(self, arguments: Mapping[str, Any]) -> set[str]:
        """The values of this trace's side in `arguments`."""
        texts = [str(leaf) for leaf in leaves(arguments)]
        return {v for v in self.draw.drawn if any(_names(text, v) for text in texts)}


def execute(world: World, state: State, call: ToolCall) -> Json:
    """The result of `call`, or the error object where the world refuses it."""
    try:
        return world.execute(state, call.name, call.arguments)
    except ToolError as error:
        return error.to_json()


def leaves(value: Any) -> Iterator[Any]:
    """All values in a JSON value that are neither object nor array."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def _names(text: str, value: str) -> bool:
    """Whether `text` has `value` as a word of its own."""
    start = text.find(value)
    while start >= 0:
        around = text[start - 1 : start] + text[start + len(value) : start + len(value) + 1]
        if not any(character.isalnum() for character in around):
            return True
        start = text.find(value, start + 1)
    return False
