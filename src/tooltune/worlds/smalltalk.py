"""What people say when no tool is needed or none fits, and how an agent answers.

Every text has a slot for a value of one side, so that none occurs on two sides.
"""

from __future__ import annotations

from collections.abc import Sequence

from tooltune.traces.types import Tool
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import listing

_CHATTER = (
    ("Hi, I'm {name}. How are you?", "Hello {name}! I'm fine, thanks. What can I do for you?"),
    ("Hello, {name} here. Nice to meet you!", "Nice to meet you too, {name}! How can I help?"),
    ("Good morning! My name is {name}.", "Good morning, {name}! What can I do for you?"),
    ("I just came back from {city}. What a trip!", "Welcome back! I hope you enjoyed {city}."),
    ("My friend {name} says you are very useful.", "That is kind of {name}. How can I help you?"),
    ("I'm tired, I walked around {city} all day.", "That sounds tiring. Have a good rest!"),
    ("{name} and I are finally moving to {city}!", "Congratulations! I hope you like {city}."),
    ("I always wanted to live in {city}.", "I hope you get there one day. Can I help you?"),
    ("Good evening, this is {name}. Are you a robot?", "Good evening, {name}! I am an assistant."),
    ("Thank you, {name} and I are very happy with you.", "You're welcome! I'm glad to help."),
)
_QUESTIONS = (
    "I'm {name}. What can you do for me?",
    "{name} here. What can you help me with?",
    "Hi, my name is {name}. How can you help me?",
    "{name} told me about you. What are you able to do?",
    "What are you for? I'm {name}, by the way.",
    "This is {name}. Which things can you do?",
    "Hello! {name} said that you could help me. With what?",
)
_ABILITIES = ("I can {abilities}.", "You can ask me to {abilities}.", "I'm able to {abilities}.")
_IMPOSSIBLE = (
    "Order a pizza to {street}, please.",
    "Can you call me a taxi to {street}?",
    "Play a song by {name}, please.",
    "Could you phone {name} for me?",
    "Reserve a table for two in {city}.",
    "Find me a cheap flat in {city}, please.",
    "Can you paint a picture of {city}?",
    "Please water the plants at {street}.",
    "Print my letter to {name}.",
    "Can you drive {name} to {city}?",
    "Wash my car, it stands at {street}.",
)
_DECLINES = (
    "Sorry, I can't do that. I can {abilities}.",
    "I'm afraid that is not possible here. I can only {abilities}.",
    "I have no tool for that. What I can do: {abilities}.",
)


def _slots(draw: Draw) -> dict[str, str]:
    name = draw.any((draw.first_name, draw.person))()
    return {"name": name, "city": draw.city(), "street": draw.street()}


def _abilities(tools: Sequence[Tool]) -> str:
    """What `tools` do in words, from their descriptions; at most three of them."""
    phrases = [str(tool.function["description"]).rstrip(".").split(",")[0] for tool in tools[:3]]
    return listing([phrase[0].lower() + phrase[1:] for phrase in phrases], last="or")


def chatter(draw: Draw) -> tuple[str, str]:
    """Small talk and its answer."""
    question, answer = draw.any(_CHATTER)
    slots = _slots(draw)
    return question.format(**slots), answer.format(**slots)


def question_about_abilities(draw: Draw, tools: Sequence[Tool]) -> tuple[str, str]:
    """A question what the agent can do, and its answer from the `tools` at hand."""
    question = draw.any(_QUESTIONS).format(**_slots(draw))
    return question, draw.any(_ABILITIES).format(abilities=_abilities(tools))


def impossible_request(draw: Draw) -> str:
    """A request that no world can meet."""
    template: str = draw.any(_IMPOSSIBLE)
    return template.format(**_slots(draw))


def decline(draw: Draw, tools: Sequence[Tool]) -> str:
    """A polite refusal that says what `tools` can do instead."""
    template: str = draw.any(_DECLINES)
    return template.format(abilities=_abilities(tools))
