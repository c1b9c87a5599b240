"""The forest of a trace as it is shown: branches, whose tokens they are, and nothing lost."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings

from tests.render.strategies import renderable_traces, simple_trace
from tooltune.render.branches import Branch, explain_branches
from tooltune.render.forest import merge_turns
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.traces import Trace

SPEC = RenderSpec()


def paths(branches: list[Branch]) -> list[list[int]]:
    """Token ids from root to each leaf."""

    def ids(index: int) -> list[int]:
        parent = branches[index].parent
        before = [] if parent is None else ids(parent)
        return before + [spoken.token.id for spoken in branches[index].tokens]

    return [ids(i) for i, branch in enumerate(branches) if not branch.children]


def test_a_trace_whose_template_keeps_history_is_one_branch(qwen25: Any) -> None:
    (branch,) = explain_branches(Renderer(qwen25).render(simple_trace()), qwen25, SPEC)
    roles = list(dict.fromkeys(spoken.role for spoken in branch.tokens))
    assert roles[0].startswith("tools, ")
    assert "assistant" in roles
    assert "tool" in roles


def test_a_template_that_rewrites_history_branches_where_it_does(qwen3: Any) -> None:
    branches = explain_branches(Renderer(qwen3).render(simple_trace()), qwen3, SPEC)
    assert len(branches) > 2
    assert branches[0].parent is None
    assert all(branches[child].parent == 0 for child in branches[0].children)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(trace=renderable_traces(reasoning=True))
def test_branches_hold_each_token_of_the_forest_once(qwen3: Any, trace: Trace) -> None:
    row = Renderer(qwen3).render(trace)
    branches = explain_branches(row, qwen3, SPEC)
    forest = merge_turns(row.turns)
    tokens = [spoken.token for branch in branches for spoken in branch.tokens]
    assert len(tokens) == len(forest)
    assert sum(token.weight > 0 for token in tokens) == len(forest.target_id)
    leaves = {tuple(path) for path in paths(branches)}
    for turn in row.turns:
        sequence = (*turn.prompt_ids, *turn.completion_ids)
        assert any(leaf[: len(sequence)] == sequence for leaf in leaves)
