"""The kinds of conversation, each a function that plays one on a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal

from tooltune.worlds import smalltalk
from tooltune.worlds.base import Json, World
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import Request, Slots, sentence
from tooltune.worlds.stage import Stage, Unfit

Kind = Literal["one_call", "chained", "parallel", "clarify", "error", "no_call"]


def _ordinary(request: Request) -> bool:
    return request.is_single and not request.recovers


def _chain(request: Request) -> bool:
    return not request.is_single and not request.recovers


def lead_request(kind: Kind, requests: Sequence[Request], rng: Random) -> Request | None:
    """What a conversation of `kind` is about, drawn from `requests`; `None` where no tool is used.

    Errors are half of the sort that the agent can get over by itself.
    """
    fits: dict[Kind, Callable[[Request], bool]] = {
        "one_call": _ordinary,
        "chained": _chain,
        "parallel": _ordinary,
        "clarify": lambda request: bool(request.asks),
        "error": rng.choice((lambda r: r.recovers, lambda r: bool(r.slips))),
    }
    if kind == "no_call":
        return None
    return rng.choice([request for request in requests if fits[kind](request)])


def _straight(stage: Stage, request: Request) -> None:
    """The user asks, the agent calls until it is done: one call, a chain or a recovery."""
    slots = request.draw(stage.draw, stage.state)
    stage.ask(request.clauses, slots, request.sentences)
    stage.play(request, slots)


def _parallel(stage: Stage, lead: Request) -> None:
    draw = stage.draw
    if lead.pairs and draw.rng.random() < 0.5:
        slots = [lead.draw(draw, stage.state) for _ in range(2)]
        numbered = {f"{key}{i}": v for i, s in enumerate(slots, 1) for key, v in s.items()}
        stage.say(draw.any(lead.pairs).format(**numbered))
        _play_together(stage, [(lead, s) for s in slots])
        return
    count = 3 if draw.rng.random() < 0.2 else 2
    others = [request for request in stage.requests() if _ordinary(request)]
    requests = [lead, *(draw.any(others) for _ in range(count - 1))]
    parts = [(request, request.draw(draw, stage.state)) for request in requests]
    stage.say(_enumerate([_plain_clause(stage, *part) for part in parts], draw))
    _play_together(stage, parts)


def _plain_clause(stage: Stage, request: Request, slots: Slots) -> str:
    """A phrasing that stays clear when `and` joins it to another."""
    plain = [clause for clause in request.clauses if not set(clause) & set(";:,")]
    template: str = stage.draw.any(plain)
    return template.format(**slots)


def _enumerate(clauses: list[str], draw: Draw) -> str:
    joint: str = draw.any((" and ", " and also ", ", and also ", ", and "))
    return ", ".join(clauses[:-1]) + joint + clauses[-1]


def _play_together(stage: Stage, parts: list[tuple[Request, Slots]]) -> None:
    calls: list[tuple[str, Json]] = []
    seen: set[str] = set()
    for request, slots in parts:
        (step,) = request.steps
        arguments = step.fill(slots)
        entities = stage.entities(arguments)
        if entities & seen:
            raise Unfit("the calls may depend on each other")
        seen |= entities
        calls.append((step.tool, arguments))
    results = stage.call(*calls)
    if any("error" in result for result in results):
        raise Unfit(f"a call failed: {results}")
    answers = [
        request.answer(stage.draw, slots, result)
        for (request, slots), result in zip(parts, results, strict=True)
    ]
    stage.agent(" ".join(answers))


def _clarify(stage: Stage, request: Request) -> None:
    slots = request.draw(stage.draw, stage.state)
    ask = stage.draw.any(request.asks)
    stage.ask(ask.clauses, slots)
    stage.agent(ask.question)
    stage.user(sentence(stage.draw.any(ask.replies).format(**slots)))
    stage.play(request, slots)


def _error(stage: Stage, request: Request) -> None:
    if request.recovers:
        _straight(stage, request)
        return
    slots = request.draw(stage.draw, stage.state)
    slip = stage.draw.any(request.slips)
    wrong = slip.wrong(stage.draw, stage.state, slots)
    mistaken = {**slots, slip.slot: wrong}
    stage.ask(request.clauses, mistaken, request.sentences)
    (step,) = request.steps
    (result,) = stage.call((step.tool, step.fill(mistaken)))
    if "error" not in result:
        raise Unfit(f"{step.tool} accepted {wrong}")
    stage.agent(f"{result['error']} {slip.question}")
    stage.user(sentence(stage.draw.any(slip.replies).format(x=slots[slip.slot], wrong=wrong)))
    stage.play(request, slots)


def _no_call(stage: Stage, strangers: tuple[World, ...]) -> None:
    draw = stage.draw
    choice = draw.rng.random()
    if choice < 0.25:
        question, answer = smalltalk.chatter(draw)
    elif choice < 0.5:
        question, answer = smalltalk.question_about_abilities(draw, stage.menu)
    elif choice < 0.65:
        question, answer = smalltalk.impossible_request(draw), smalltalk.decline(draw, stage.menu)
    else:
        stranger = draw.rng.choice(strangers)
        request = draw.rng.choice([r for r in stranger.requests if not r.recovers])
        stage.ask(request.clauses, request.draw(draw, stranger.populate(draw)), request.sentences)
        stage.agent(smalltalk.decline(draw, stage.menu))
        return
    stage.user(question)
    stage.agent(answer)


_SCENARIOS: dict[Kind, Callable[[Stage, Request], None]] = {
    "one_call": _straight,
    "chained": _straight,
    "parallel": _parallel,
    "clarify": _clarify,
    "error": _error,
}


def play(kind: Kind, stage: Stage, lead: Request | None, strangers: tuple[World, ...]) -> None:
    """Play one conversation of `kind` about `lead`; some go on with a second request.

    `strangers` are worlds of which no tool is on offer. Raises `ValueError` or `LookupError`
    where the draws do not work out, after which others must be tried on a fresh stage.
    """
    if lead is None:
        _no_call(stage, strangers)
    else:
        _SCENARIOS[kind](stage, lead)
    goes_on = 0.5 if kind in ("one_call", "no_call") else 0.25
    if stage.draw.rng.random() < goes_on:
        _follow_up(stage)


def _follow_up(stage: Stage) -> None:
    """A second request, not about what the same tool was used for before."""
    earlier = stage.calls()
    fits = _chain if stage.draw.rng.random() < 0.3 else _ordinary
    _straight(stage, stage.draw.any([r for r in stage.requests() if fits(r)]))
    for call in stage.calls()[len(earlier) :]:
        entities = stage.entities(call.arguments)
        if any(e.name == call.name and entities & stage.entities(e.arguments) for e in earlier):
            raise Unfit(f"{call.name} was used for this before")
