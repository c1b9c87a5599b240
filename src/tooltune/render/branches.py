"""The forest of one trace as people read it: runs of explained tokens, and where they branch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from tooltune.render.explain import ExplainedToken, explain
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import RenderedTrace
from tooltune.traces.types import Trace


@dataclass(frozen=True, slots=True)
class Spoken:
    """A token and whose it is: `role` is the assistant, or the messages that the prompt added."""

    token: ExplainedToken
    role: str


@dataclass(slots=True)
class Branch:
    """Tokens up to the next fork. `parent` is the index of the branch it continues, None a root."""

    parent: int | None
    tokens: list[Spoken]
    children: list[int] = field(default_factory=list)


def explain_branches(row: RenderedTrace, tokenizer: Any, spec: RenderSpec) -> list[Branch]:
    """The branches of a trace, parents before children; one where its template keeps history.

    A token that is a target in one sequence and context in another is shown as the target.
    """
    branches: list[Branch] = []
    for sequence in explain(row, tokenizer, spec):
        _insert(branches, list(_with_roles(sequence, row.trace)))
    return branches


def _with_roles(sequence: Sequence[ExplainedToken], trace: Trace) -> Iterator[Spoken]:
    """Context is named after the messages between the turn before it and the one it leads to."""
    runs = [(turn, list(run)) for turn, run in groupby(sequence, key=lambda token: token.turn)]
    before = -1
    for i, (turn, run) in enumerate(runs):
        if turn is not None:
            role, before = "assistant", turn
        else:
            following = runs[i + 1][0] if i + 1 < len(runs) else len(trace.messages)
            roles = [message.role for message in trace.messages[before + 1 : following]]
            if before == -1 and trace.tools:
                roles.insert(0, "tools")  # type: ignore[arg-type]  # a word, not a role
            role = ", ".join(dict.fromkeys(roles)) or "template"
        for token in run:
            yield Spoken(token, role)


def _insert(branches: list[Branch], sequence: list[Spoken]) -> None:
    """Add a sequence, splitting the branch where it leaves what is there."""
    at, siblings = None, [i for i, branch in enumerate(branches) if branch.parent is None]
    while sequence:
        same = next((i for i in siblings if _same(branches[i].tokens[0], sequence[0])), None)
        if same is None:
            branches.append(Branch(at, sequence))
            if at is not None:
                branches[at].children.append(len(branches) - 1)
            return
        branch = branches[same]
        shared = _shared(branch.tokens, sequence)
        for i in range(shared):
            if sequence[i].token.weight > branch.tokens[i].token.weight:
                branch.tokens[i] = sequence[i]
        if shared < len(branch.tokens):
            _split(branches, same, shared)
        sequence, at, siblings = sequence[shared:], same, branch.children


def _split(branches: list[Branch], index: int, length: int) -> None:
    branch = branches[index]
    rest = Branch(index, branch.tokens[length:], branch.children)
    branches.append(rest)
    for child in rest.children:
        branches[child].parent = len(branches) - 1
    branch.tokens, branch.children = branch.tokens[:length], [len(branches) - 1]


def _shared(one: Sequence[Spoken], other: Sequence[Spoken]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if not _same(a, b)), min(len(one), len(other)))


def _same(one: Spoken, other: Spoken) -> bool:
    return one.token.id == other.token.id
