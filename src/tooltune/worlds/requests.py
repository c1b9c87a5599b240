"""What a user may ask of a world, in words, and the calls that it takes.

A `Request` is data: phrasings with slots, and steps that turn slots (and earlier results) into
calls. The scenarios in `scenarios.py` play them out against a world that executes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.worlds.pools import Draw

Slots = dict[str, Any]
Results = Sequence[Mapping[str, Any]]
Bind = Callable[[Slots, Results], Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One call. An argument in `bind` is computed from the slots and the results so far; one in
    `arguments` is the slot of its own name."""

    tool: str
    arguments: tuple[str, ...]
    bind: Mapping[str, Bind]

    def fill(self, slots: Slots, results: Results = ()) -> dict[str, Any]:
        """The arguments of the call, by name."""
        copied = {name: slots[name] for name in self.arguments}
        return copied | {name: compute(slots, results) for name, compute in self.bind.items()}


def step(tool: str, *arguments: str, **bind: Bind) -> Step:
    """A call of `tool`: `arguments` copied from slots, `bind` computed."""
    return Step(tool, arguments, bind)


@dataclass(frozen=True, slots=True)
class Ask:
    """A required detail that the user may forget: the agent must ask before it can call.

    `clauses` are phrasings without it, `question` what the agent asks, `replies` what the user
    then says.
    """

    clauses: tuple[str, ...]
    question: str
    replies: tuple[str, ...]


_CORRECTIONS = (
    "Sorry, I meant {x}.",
    "My mistake, it is {x}.",
    "Oh, it should be {x}.",
    "I mixed that up. Try {x}.",
    "Then use {x} instead.",
    "Right, it's {x}, not {wrong}.",
)


@dataclass(frozen=True, slots=True)
class Slip:
    """A slot that the user may get wrong: the call fails, the user corrects it.

    `wrong` draws a value that the world refuses, given state and slots; `question` follows the
    tool's error in the agent's words. In `replies`, `{x}` is the right and `{wrong}` the wrong
    value.
    """

    slot: str
    wrong: Callable[[Draw, dict[str, Any], Slots], Any]
    question: str
    replies: tuple[str, ...] = _CORRECTIONS


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask for.

    `draw(draw, state)` gives the slots, chosen so that the calls succeed. `clauses` are phrasings
    that start with an imperative ("cancel order {order_id}") and fit into sentences such as
    "Could you …?"; `sentences` are complete. `pairs` are clauses that ask for the same thing
    twice, with slots ending in 1 and 2. `answers` may use every slot, the last result as `r` and
    `summary(last result)`. Where `recovers` is set the first call fails, and its error tells
    how to go on.
    """

    draw: Callable[[Draw, dict[str, Any]], Slots]
    steps: tuple[Step, ...]
    clauses: tuple[str, ...]
    answers: tuple[str, ...]
    sentences: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    summary: Callable[[Mapping[str, Any]], str] | None = None
    asks: tuple[Ask, ...] = ()
    slips: tuple[Slip, ...] = ()
    recovers: bool = False

    @property
    def tools(self) -> frozenset[str]:
        """Names of the tools that it takes."""
        return frozenset(step.tool for step in self.steps)

    @property
    def is_single(self) -> bool:
        return len(self.steps) == 1

    def answer(self, draw: Draw, slots: Slots, result: Mapping[str, Any]) -> str:
        """What the agent says at the end, from the actual `result`."""
        summary = self.summary(result) if self.summary else ""
        template: str = draw.any(self.answers)
        return sentence(template.format(**slots, r=result, summary=summary))


def listing(parts: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; empty for nothing."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def sentence(text: str) -> str:
    """`text` with a capital, unless it starts with a value that must stay as it is."""
    plain = text.split()[0].rstrip(",.'s").isalpha()
    return text[0].upper() + text[1:] if plain else text
