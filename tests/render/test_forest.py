from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.render.forest import merge_paths

Path = tuple[list[int], list[int], list[float]]


@st.composite
def paths(draw: st.DrawFn) -> Path:
    """Short sequences over three tokens, so that many share prefixes."""
    token = st.integers(0, 2)
    prompt = draw(st.lists(token, min_size=1, max_size=5))
    completion = draw(st.lists(token, max_size=4))
    n = len(completion)
    weights = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))
    return prompt, completion, weights


FORESTS = st.lists(paths(), min_size=1, max_size=6)


@given(FORESTS)
def test_every_distinct_prefix_is_stored_once_with_its_token_and_depth(given: list[Path]) -> None:
    forest = merge_paths(given)
    sequences = [tuple(prompt + completion) for prompt, completion, _ in given]
    prefixes = {s[:k] for s in sequences for k in range(1, len(s) + 1)}
    assert len(forest) == len(prefixes)
    for sequence, path in zip(sequences, forest.paths, strict=True):
        assert tuple(forest.ids[path]) == sequence
        assert list(forest.depth[path]) == list(range(len(sequence)))
    assert forest.flat_tokens == sum(map(len, sequences))


@given(FORESTS)
def test_a_query_sees_exactly_the_tokens_of_its_own_prefix(given: list[Path]) -> None:
    forest = merge_paths(given)
    prefix: dict[int, tuple[int, ...]] = {}
    for path in forest.paths:
        for k, node in enumerate(path):
            prefix[int(node)] = tuple(forest.ids[path[: k + 1]])
    mask = forest.mask()
    for q in range(len(forest)):
        for k in range(len(forest)):
            on_path = prefix[q][: len(prefix[k])] == prefix[k]
            assert mask[q, k] == on_path


@given(FORESTS)
def test_targets_are_the_completion_tokens_and_shared_ones_sum_their_weights(
    given: list[Path],
) -> None:
    forest = merge_paths(given)
    expected: dict[tuple[tuple[int, ...], int], float] = {}
    for prompt, completion, weights in given:
        for j, (token, weight) in enumerate(zip(completion, weights, strict=True)):
            if weight > 0:
                key = (tuple(prompt + completion[:j]), token)
                expected[key] = expected.get(key, 0.0) + weight
    node_of = {
        tuple(forest.ids[path[: k + 1]]): int(path[k])
        for path in forest.paths
        for k in range(len(path))
    }
    found = {
        (int(source), int(token)): float(weight)
        for source, token, weight in zip(
            forest.target_source, forest.target_id, forest.target_weight, strict=True
        )
    }
    assert found == {(node_of[prefix], token): w for (prefix, token), w in expected.items()}


def test_a_path_without_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt"):
        merge_paths([([], [1], [1.0])])
