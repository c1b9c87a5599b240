"""Every phrasing of every request has its slots, and every request can be played."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tooltune.traces.types import ToolCall
from tooltune.worlds import WORLDS, World
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import Request, listing, sentence
from tooltune.worlds.stage import execute

ALL = pytest.mark.parametrize(
    ("world", "index"),
    [(world, i) for world in WORLDS.values() for i in range(len(world.requests))],
    ids=lambda value: value.name if isinstance(value, World) else str(value),
)


def plays(world: World, request: Request) -> Iterator[tuple[dict, list[dict]]]:
    """Slots and results of plays on many states, without draws that do not work out."""
    for seed in range(40):
        draw = Draw(Random(seed), "train")
        state = world.populate(draw)
        try:
            slots = request.draw(draw, state)
            results: list[dict] = []
            for step in request.steps:
                call = ToolCall(step.tool, step.fill(slots, results))
                results.append(execute(world, state, call))
        except (LookupError, ValueError):
            continue
        if ["error" in r for r in results] == [request.recovers, *[False] * (len(results) - 1)]:
            yield slots, results


@ALL
def test_every_phrasing_fits_its_slots_and_every_answer_its_result(
    world: World, index: int
) -> None:
    request = world.requests[index]
    played = list(plays(world, request))
    assert len(played) >= 5, "the draws of this request hardly ever work out"
    slots, results = played[0]
    numbered = {f"{key}{i}": value for key, value in slots.items() for i in (1, 2)}
    phrasings = [text.format(**slots) for text in request.clauses + request.sentences]
    phrasings += [text.format(**numbered) for text in request.pairs]
    for ask in request.asks:
        phrasings += [text.format(**slots) for text in (*ask.clauses, ask.question, *ask.replies)]
    for slip in request.slips:
        assert slip.slot in slots
        phrasings += [text.format(x="x", wrong="wrong") for text in slip.replies]
    summary = request.summary(results[-1]) if request.summary else ""
    phrasings += [text.format(**slots, r=results[-1], summary=summary) for text in request.answers]
    assert not any(mark in text for text in phrasings for mark in ("{", "}", "None"))


@ALL
def test_every_request_has_at_least_six_phrasings(world: World, index: int) -> None:
    request = world.requests[index]
    phrasings = request.clauses + request.sentences
    assert len(set(phrasings)) == len(phrasings) >= 6
    assert all(clause[0].islower() or clause[0] == "{" for clause in request.clauses)
    assert all(text.rstrip("?.").endswith("{email}") or text[-1] in "?." for text in
               request.sentences)  # fmt: skip


@pytest.mark.parametrize("world", WORLDS.values(), ids=list(WORLDS))
def test_every_world_has_requests_for_every_kind_of_conversation_and_every_tool(
    world: World,
) -> None:
    requests = world.requests
    assert any(len(request.steps) > 1 and not request.recovers for request in requests)
    assert any(request.recovers for request in requests)
    assert any(request.asks for request in requests)
    assert any(request.slips for request in requests)
    assert any(request.pairs for request in requests)
    singles = {request.steps[0].tool for request in requests if request.is_single}
    assert singles == {tool.name for tool in world.tools}


def test_listing_reads_like_english() -> None:
    assert listing([]) == ""
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a", "b"], last="or") == "a or b"


def test_a_sentence_gets_a_capital_but_an_id_or_address_stays_as_it_is() -> None:
    assert sentence("done, it is off.") == "Done, it is off."
    assert sentence("unread: none.") == "unread: none."
    assert sentence("bk-12 is lent.") == "bk-12 is lent."
    assert sentence("ada@mail.com") == "ada@mail.com"
