"""Token forest: many (prompt, completion) paths merged by common prefix, each token stored once.

Depth-first order makes the whole structure three integer arrays. A query `q` sees key `k` iff
`k <= q < end[k]`: that one line is causal masking, document packing and prefix sharing. Loss and
gradients equal those of the flat sequences (invariant 5), because a token's hidden state depends
only on the tokens of its root path and their position ids, and both are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tooltune.render.types import Turn

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenForest:
    """A forest in depth-first order; arrays of length N (tokens), T (targets), P (paths).

    ids, depth, end: int64 [N]. Token id; position id (0 at a root); index one past the subtree.
    target_source, target_id: int64 [T]. The hidden state at `source` must predict `id`.
    target_weight: float32 [T]. Sum of the weights of all paths that share the target.
    paths: P arrays; `paths[i]` holds the node indices of input path i, root first.
    """

    ids: Ints
    depth: Ints
    end: Ints
    target_source: Ints
    target_id: Ints
    target_weight: NDArray[np.float32]
    paths: tuple[Ints, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def flat_tokens(self) -> int:
        """Tokens that the same paths hold as separate sequences."""
        return sum(len(path) for path in self.paths)

    @property
    def total_weight(self) -> float:
        return float(self.target_weight.sum(dtype=np.float64))

    def mask(self) -> NDArray[np.bool_]:
        """The dense mask, bool [N, N] (query, key): the oracle of tests, never used to train."""
        q = np.arange(len(self))[:, None]
        k = np.arange(len(self))[None, :]
        return (k <= q) & (q < self.end[None, :])


def merge_turns(turns: Sequence[Turn]) -> TokenForest:
    """Merge rendered turns; targets are the completion tokens of positive weight."""
    return merge_paths(
        [(turn.prompt_ids, turn.completion_ids, turn.weights) for turn in turns],
    )


def merge_paths(
    paths: Iterable[tuple[Sequence[int], Sequence[int], Sequence[float]]],
) -> TokenForest:
    """Merge (prompt ids, completion ids, completion weights) triples into a forest.

    Sorting the sequences puts them in depth-first order of their trie, so a node is new exactly
    where a sequence leaves the one before it: O(total tokens) array work, no trie in Python.
    """
    triples = list(paths)
    sequences = [
        np.asarray([*prompt, *completion], dtype=np.int64) for prompt, completion, _ in triples
    ]
    if any(len(prompt) == 0 for prompt, _, _ in triples):
        raise ValueError("a turn without prompt tokens has no hidden state to predict from")
    # Big-endian bytes compare like the integer sequences themselves, shorter prefixes first.
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">u4").tobytes())

    ids: list[Ints] = []
    depth: list[Ints] = []
    nodes: list[Ints] = [np.empty(0, dtype=np.int64)] * len(sequences)
    branches: list[tuple[int, Ints]] = []  # (shared prefix with the path before, path)
    previous = np.empty(0, dtype=np.int64)
    previous_nodes = previous
    count = 0
    for i in order:
        sequence = sequences[i]
        shared = _common_prefix(previous, sequence)
        new = len(sequence) - shared
        path = np.concatenate([previous_nodes[:shared], np.arange(count, count + new)])
        ids.append(sequence[shared:])
        depth.append(np.arange(shared, len(sequence)))
        branches.append((shared, path))
        nodes[i] = path
        previous, previous_nodes, count = sequence, path, count + new

    source, target, weight = _targets(triples, nodes)
    return TokenForest(
        ids=_concatenate(ids),
        depth=_concatenate(depth),
        end=_subtree_ends(branches, count),
        target_source=source,
        target_id=target,
        target_weight=weight,
        paths=tuple(nodes),
    )


def _common_prefix(a: Ints, b: Ints) -> int:
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def _subtree_ends(branches: Sequence[tuple[int, Ints]], count: int) -> Ints:
    """A node's subtree ends where the first later path that no longer holds it adds its nodes."""
    end = np.full(count, count, dtype=np.int64)
    previous = np.empty(0, dtype=np.int64)
    added = 0
    for shared, path in branches:
        end[previous[shared:]] = added  # the nodes that this path left behind
        added = max(added, int(path[-1]) + 1)
        previous = path
    return end


def _targets(
    triples: Sequence[tuple[Sequence[int], Sequence[int], Sequence[float]]],
    nodes: Sequence[Ints],
) -> tuple[Ints, Ints, NDArray[np.float32]]:
    sources: list[Ints] = []
    targets: list[Ints] = []
    weights: list[NDArray[np.float64]] = []
    for (prompt, completion, weight), path in zip(triples, nodes, strict=True):
        w = np.asarray(weight, dtype=np.float64)
        trained = np.flatnonzero(w > 0)
        sources.append(path[len(prompt) - 1 + trained])
        targets.append(np.asarray(completion, dtype=np.int64)[trained])
        weights.append(w[trained])
    source, target = _concatenate(sources), _concatenate(targets)
    pairs, where = np.unique(np.stack([source, target]), axis=1, return_inverse=True)
    summed = np.zeros(pairs.shape[1], dtype=np.float64)
    np.add.at(summed, where.reshape(-1), np.concatenate([*weights, np.empty(0)]))
    return pairs[0], pairs[1], summed.astype(np.float32)


def _concatenate(parts: Sequence[Ints]) -> Ints:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
