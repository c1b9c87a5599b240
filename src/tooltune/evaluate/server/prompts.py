"""Our prompt beside the server's for the same messages and tools.

Servers that say what they render are asked for it: llama.cpp has `/apply-template` and `/tokenize`
(tools/server/README.md there), vLLM a `/tokenize` that takes messages (its
entrypoints/serve/tokenize). Of the others the count of tokens is known, from `usage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from tooltune.errors import UserError
from tooltune.evaluate.server.ask import Server, trial_of
from tooltune.evaluate.server.bodies import request_messages
from tooltune.evaluate.server.causes import cause_of_count, cause_of_difference
from tooltune.evaluate.server.client import ServerFault, open_client
from tooltune.evaluate.server.loop import run_async
from tooltune.evaluate.server.types import ServerOptions, ServerRequest
from tooltune.render.representable import RowRejected
from tooltune.render.turns import Renderer
from tooltune.render.types import Turn
from tooltune.traces.types import Trace

Way = Literal["apply-template", "tokenize", "usage"]

_CONTEXT = 60  # characters shown before and after the first difference


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two prompts part: characters from the start, and each side there."""

    at: int
    before: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class PromptComparison:
    """One prompt, ours and the server's.

    where: file and row. turn: message index of the turn that the prompt asks for.
    way: how the server's was learnt; "usage" is its length alone.
    same: whether all ids (of "usage": the counts) are equal.
    ours, theirs: tokens. difference: None where the texts are equal or not known.
    cause: what makes the difference, as far as it can be told.
    error: why the server gave no prompt; nothing is compared then.
    """

    where: str
    turn: int
    way: Way
    same: bool
    ours: int
    theirs: int
    difference: Difference | None = None
    cause: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Theirs:
    way: Way
    count: int
    ids: tuple[int, ...] | None = None
    text: str | None = None


def compare_prompts(
    options: ServerOptions, renderer: Renderer, traces: Iterable[Trace], *, limit: int = 3
) -> list[PromptComparison]:
    """Compare the prompt of the last turn of the first `limit` traces that can be rendered.

    Raises: UserError where the server can be asked nothing, and where no trace can be rendered.
    """
    chosen = list(islice(_last_turns(renderer, traces), limit))
    if not chosen:
        raise UserError(
            "no trace can be rendered whole, so no prompt can be compared with the server's",
            fix="look at the findings, or take the length limit away",
        )
    return run_async(_compare(replace(options, mode="chat"), renderer, chosen))


def _last_turns(renderer: Renderer, traces: Iterable[Trace]) -> Iterable[tuple[Trace, Turn]]:
    for trace in traces:
        try:
            row = renderer.render(trace)
        except RowRejected:
            continue
        if row.turns and not row.cut:  # of a shortened one, other messages would have to be sent
            yield row.trace, row.turns[-1]


async def _compare(
    options: ServerOptions, renderer: Renderer, chosen: Sequence[tuple[Trace, Turn]]
) -> list[PromptComparison]:
    requests = []
    for trace, turn in chosen:
        row = trace.to_openai()
        requests.append(ServerRequest(row["messages"][: turn.index], row.get("tools")))
    async with open_client(options) as client:
        server = Server(client, options)
        await server.prepare(trial_of(options, requests))
        found = []
        for request, (trace, turn) in zip(requests, chosen, strict=True):
            where = str(trace.source) if trace.source else trace.id
            try:
                theirs = await _theirs(server, request)
            except ServerFault as fault:
                count = len(turn.prompt_ids)
                error = f"{fault.kind}: {fault.message}"
                found.append(
                    PromptComparison(where, turn.index, "usage", False, count, 0, error=error)
                )
                continue
            found.append(_compared(renderer, trace, where, turn, theirs))
    return found


async def _theirs(server: Server, request: ServerRequest) -> _Theirs:
    """What the server makes of a request, in the fullest way that it offers."""
    root = server.options.root_url
    question: dict[str, Any] = {"messages": request_messages(request.messages)}
    if request.tools:
        question["tools"] = [dict(tool) for tool in request.tools]
    question |= server.options.extra_body
    rendered = await _asked(server, f"{root}/apply-template", question)
    if isinstance(text := rendered.get("prompt"), str):
        # As llama.cpp's own chat endpoint reads it: the beginning is added, markers are tokens.
        how = {"content": text, "add_special": True, "parse_special": True}
        ids = _ids(await _asked(server, f"{root}/tokenize", how))
        return _Theirs("apply-template", len(ids or ()), ids, text)
    named = {"model": server.form.model, **question, "add_generation_prompt": True}
    if ids := _ids(await _asked(server, f"{root}/tokenize", named)):
        return _Theirs("tokenize", len(ids), ids)
    shortest = replace(server.options, max_new_tokens=1)
    answer = await server.answer(request, shortest)
    if answer.prompt_tokens is None:
        raise ServerFault("bad_answer", "the server does not count the tokens of its prompt")
    return _Theirs("usage", answer.prompt_tokens)


async def _asked(server: Server, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """The reply of an endpoint that a server may not have; empty where it has not."""
    try:
        return await server.post(url, body)
    except ServerFault as fault:
        if fault.status is None:
            raise
        return {}


def _ids(reply: dict[str, Any]) -> tuple[int, ...] | None:
    tokens = reply.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        return None
    return tuple(tokens)


def _compared(
    renderer: Renderer, trace: Trace, where: str, turn: Turn, theirs: _Theirs
) -> PromptComparison:
    ours = turn.prompt_ids
    same = theirs.ids == ours if theirs.ids is not None else theirs.count == len(ours)
    result = PromptComparison(where, turn.index, theirs.way, same, len(ours), theirs.count)
    if same:
        return result
    if theirs.ids is None and theirs.text is None:
        cause = cause_of_count(renderer, trace, turn.index, len(ours), theirs.count)
        return replace(result, cause=cause)
    our_text, their_text = turn.prompt_text, theirs.text
    if their_text is None:
        assert theirs.ids is not None
        their_text = _decoded(renderer.tokenizer, theirs.ids)
        our_text = _decoded(renderer.tokenizer, ours)
    cause = cause_of_difference(renderer, trace, turn.index, our_text, their_text)
    return replace(result, difference=first_difference(our_text, their_text), cause=cause)


def first_difference(ours: str, theirs: str) -> Difference | None:
    """Where two texts part, with what stands around it; None where they are equal."""
    if ours == theirs:
        return None
    shorter = min(len(ours), len(theirs))
    at = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    start = max(0, at - _CONTEXT)
    end = at + _CONTEXT
    return Difference(at, ours[start:at], ours[at:end], theirs[at:end])


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    known = len(tokenizer)
    text = tokenizer.decode(
        [token for token in ids if 0 <= token < known],
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )
    return str(text)
