"""Stitch requests into conversations: every logged request repeats the history of its session.

Requests form trees: one whose messages are the beginning of another's is absorbed by it, so one
trace per leaf stays, and each turn is trained once:

- a turn that was logged (a request ends with it) is trained in the first leaf that holds it with
  the tools, settings and system prompt of that request, for these it was generated under;
- a turn that only histories show (logs that were sampled, or begin late) is the agent's own too:
  it is trained once, in the first leaf that holds it, unless it was logged under another system
  prompt, other tools or settings, or after a history that the client has since altered (results
  cut or summarised, ids dropped): then the request that logged it trains it;
- elsewhere it is context, that is an assistant message of weight 0.

Two messages are the same where role, text, calls (name, arguments, id) and what a result answers
are. Reasoning is not compared, since clients drop it from the history; the reasoning with which a
turn was logged is put back wherever the turn stands. So are weights: a turn has those of the
request that logged it, the message's and the trace's (a score of this one answer).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tooltune.traces.types import Message, Trace

Digest = bytes


@dataclass(frozen=True, slots=True)
class Stitched:
    """The conversations that `rows` requests make, ordered by the file and row of their last one.

    `rows` = len(traces) + absorbed: an absorbed request is accepted, its turn stands in a trace.
    """

    traces: tuple[Trace, ...]
    rows: int

    @property
    def absorbed(self) -> int:
        return self.rows - len(self.traces)

    @property
    def sessions(self) -> int:
        """Number of groups: sessions that the log names, or openings where it names none."""
        return len({trace.group for trace in self.traces})


def root_key(trace: Trace) -> str:
    """32 hexadecimal digits that all requests of one conversation share.

    It is a hash of the messages before the first assistant message, without the system prompt and
    the tools, which may change within a session. A conversation that the assistant opens is known
    by that opening. Rows may be divided by this key and each part be stitched on its own.
    """
    talk, opened = _START, False
    for message in trace.messages:
        if message.role == "assistant" and opened:
            break
        if message.role == "system":
            continue
        talk, opened = _step(talk, _digest(message)), True
        if message.role == "assistant":
            break
    return talk.hex()


def stitch(traces: Sequence[Trace]) -> Stitched:
    """Stitch requests, each a trace of its history and its response, as read from their rows.

    The outcome depends neither on the order of `traces` nor on a division by `root_key`. A trace
    keeps the source and the named group of its last request; where no group was named, the group
    is the opening of the conversation, so branches stay together. Time and memory are linear in
    the number of messages. Where turns of a trace have different trace weights, these are
    multiplied into the weights of the messages.
    """
    walks = sorted((_walk(trace) for trace in traces), key=lambda walk: walk.order)
    begun = {digest for walk in walks for digest in walk.full[:-1]}
    logged: dict[Digest, _Logged] = {}
    said: dict[Digest, str | None] = {}  # reasoning, whatever the system prompt and the tools
    answers: set[tuple[str, Digest]] = set()  # by conversation, whatever stands before them
    leaves: dict[Digest, _Walk] = {}
    for walk in walks:
        end, last = walk.full[-1], walk.trace.messages[-1]
        if last.role == "assistant":
            new = _Logged(last.reasoning, last.weight, walk.trace.weight)
            old = logged.setdefault(end, new)
            logged[end] = old._replace(reasoning=_first(old.reasoning, new.reasoning))
            said[walk.talk[-1]] = _first(said.get(walk.talk[-1]), last.reasoning)
            answers.add((root_key(walk.trace), _answer_digest(last)))
        if end not in begun:
            leaves.setdefault(end, walk)
    done: set[Digest] = set()
    return Stitched(
        tuple(_finish(walk, logged, said, answers, done) for walk in leaves.values()), len(traces)
    )


def answers_only(trace: Trace) -> Trace:
    """A request of which only the answer is to be trained: its history is context.

    For requests that were chosen one by one, so that no turn is trained that was not chosen.
    """
    *history, answer = trace.messages
    context = [replace(m, weight=0.0) if m.role == "assistant" else m for m in history]
    group = "" if is_unnamed(trace) else trace.group
    return replace(trace, messages=(*context, answer), id="", group=group)


class _Logged(NamedTuple):
    """What a request tells of the turn that it ends with."""

    reasoning: str | None
    weight: float
    trace_weight: float


@dataclass(frozen=True, slots=True)
class _Walk:
    """A trace and, for each message, the digest of the conversation through it.

    `full` covers tools and settings, `talk` leaves them and system messages out.
    """

    trace: Trace
    full: list[Digest] = field(default_factory=list)
    talk: list[Digest] = field(default_factory=list)

    @property
    def order(self) -> tuple[str, int, Digest]:
        source = self.trace.source
        file, row = ("", 0) if source is None else (source.file, source.row)
        return file, row, self.full[-1]


def _walk(trace: Trace) -> _Walk:
    tools = [tool.function for tool in trace.tools]
    full, talk = _hash(json.dumps([tools, trace.settings], sort_keys=True).encode()), _START
    walk = _Walk(trace)
    for message in trace.messages:
        digest = _digest(message)
        full = _step(full, digest)
        talk = talk if message.role == "system" else _step(talk, digest)
        walk.full.append(full)
        walk.talk.append(talk)
    return walk


def _finish(
    walk: _Walk,
    logged: dict[Digest, _Logged],
    said: dict[Digest, str | None],
    answers: set[tuple[str, Digest]],
    done: set[Digest],
) -> Trace:
    """The leaf with each turn's own reasoning and weight, 0 on what is trained elsewhere."""
    trace, root = walk.trace, root_key(walk.trace)
    messages = list(trace.messages)
    trace_weights: dict[int, float] = {}
    for i in trace.turns:
        message, full, talk = messages[i], walk.full[i], walk.talk[i]
        unlogged = _Logged(said.get(talk), message.weight, trace.weight)
        own = logged.get(full, unlogged)
        reasoning = _first(own.reasoning, message.reasoning)
        mark = full if full in logged else talk
        elsewhere = mark in done
        if full not in logged:
            altered = _is_telling(message) and (root, _answer_digest(message)) in answers
            elsewhere = elsewhere or talk in said or altered
        done.add(mark)
        content = message.content if reasoning is None else message.content or None
        weight = 0.0 if elsewhere else own.weight
        messages[i] = replace(message, content=content, reasoning=reasoning, weight=weight)
        if weight:
            trace_weights[i] = own.trace_weight
    whole = trace.weight
    if set(trace_weights.values()) not in (set(), {whole}):
        whole = 1.0
        for i, factor in trace_weights.items():
            messages[i] = replace(messages[i], weight=messages[i].weight * factor)
    changed = tuple(messages) != trace.messages
    return replace(
        trace,
        messages=tuple(messages),
        weight=whole,
        group=_opening(walk) if is_unnamed(trace) else trace.group,
        id="" if changed else trace.id,
    )


def is_unnamed(trace: Trace) -> bool:
    """Whether the trace's group is but its own id (numbered or not): no session, no column."""
    return trace.id == trace.group or trace.id.startswith(f"{trace.group}-")


def _opening(walk: _Walk) -> str:
    """A group name: what was said before the first assistant message that answers somebody."""
    asked, name = False, walk.talk[-1]
    for i, message in enumerate(walk.trace.messages):
        if message.role == "assistant" and asked:
            name = walk.talk[i - 1]
            break
        asked = asked or message.role in ("user", "tool")
    return f"opening:{name.hex()[:16]}"


def _first(one: str | None, other: str | None) -> str | None:
    return one if one is not None else other


def _hash(data: bytes) -> Digest:
    return hashlib.blake2b(data, digest_size=16).digest()


def _step(before: Digest, digest: Digest) -> Digest:
    return _hash(before + digest)


def _digest(message: Message) -> Digest:
    calls = [[call.name, call.arguments, call.id] for call in message.tool_calls]
    key = [message.role, message.content or "", calls, message.tool_call_id, message.name]
    return _hash(json.dumps(key, sort_keys=True).encode())


def _answer_digest(message: Message) -> Digest:
    """What an answer says and calls, without the ids, which clients rename."""
    calls = [[call.name, call.arguments] for call in message.tool_calls]
    return _hash(json.dumps([message.content or "", calls], sort_keys=True).encode())


def _is_telling(message: Message) -> bool:
    """Whether an agent says this once in a conversation: "Done." may stand there many times."""
    return bool(message.tool_calls) or len(message.content or "") >= _TELLING


_TELLING = 40  # characters
_START = _hash(b"")
