from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from torch.nn.functional import scaled_dot_product_attention

from tests.models.tiny import Path, a_forest, path_lists
from tooltune.models.path_attention import no_mask, path_attention, plan_segments
from tooltune.render.forest import merge_paths

MODULE = SimpleNamespace(num_key_value_groups=2, is_causal=True)


@given(paths=path_lists())
def test_segments_are_the_maximal_runs_without_a_fork(paths: list[Path]) -> None:
    forest = merge_paths(paths)
    plan = plan_segments(forest)
    assert sum(plan.sizes) == len(forest)
    starts = [sum(plan.sizes[:i]) for i in range(len(plan.sizes))]
    parents = {int(b): int(a) for path in forest.paths for a, b in pairwise(path)}
    children = list(parents.values())
    for i, (start, size) in enumerate(zip(starts, plan.sizes, strict=True)):
        run = range(start, start + size)
        assert all(parents[node] == node - 1 for node in run[1:])
        assert all(children.count(node) == 1 for node in run[:-1])
        assert children.count(run[-1]) != 1, "a run must not end where it could go on"
        root_path = []
        node = start
        while node in parents:
            node = parents[node]
            root_path.append(node)
        held = [n for j in plan.ancestors[i] for n in range(starts[j], starts[j] + plan.sizes[j])]
        assert held == root_path[::-1]


@given(paths=path_lists())
def test_path_attention_equals_attention_under_the_dense_mask(paths: list[Path]) -> None:
    forest = merge_paths(paths)
    torch.manual_seed(0)
    n = len(forest)
    query, key, value = (
        torch.randn(1, heads, n, 8, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)
    )
    output, _ = path_attention(
        MODULE, query, key, value, None, path_plan=plan_segments(forest), scaling=0.3
    )
    oracle = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=torch.from_numpy(forest.mask()),
        scale=0.3,
        enable_gqa=True,
    ).transpose(1, 2)
    torch.testing.assert_close(output, oracle)
    direction = torch.randn_like(output)
    inputs = (query, key, value)
    ours = torch.autograd.grad(output, inputs, direction)
    theirs = torch.autograd.grad(oracle, inputs, direction)
    torch.testing.assert_close(ours, theirs)


def test_a_layer_that_lost_the_plan_fails_instead_of_attending_to_everything() -> None:
    forest, _ = a_forest()
    query, key = torch.randn(1, 4, len(forest), 8), torch.randn(1, 2, len(forest), 8)
    with pytest.raises(RuntimeError, match="without its plan"):
        path_attention(MODULE, query, key, key, no_mask(query.device))
