"""Near-duplicate traces: MinHash signatures of word shingles, found through banded hashing.

Signatures estimate the Jaccard similarity of two texts' sets of shingles (A. Z. Broder, "On the
resemblance and containment of documents", 1997); texts that agree in one band of their signature
become candidates (J. Leskovec, A. Rajaraman, J. Ullman, "Mining of Massive Datasets", chapter 3).
Nothing is random: the same texts give the same answer everywhere.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tooltune.traces.identity import fold_text
from tooltune.traces.split import place_of
from tooltune.traces.types import Trace

Signatures = NDArray[np.uint32]

HASHES = 128
"""Values of a signature: the estimate's standard deviation is at most 0.045, 0.035 at 0.8."""

SHINGLE = 3
"""Words of a shingle."""

_RECALL = 0.99
_WINDOW = 16
"""Candidates of one text in one band: a bucket of any size costs time linear in its size."""

_CHUNK = 2048
_NUMBERS = np.random.Generator(np.random.PCG64(20_260_101))
_FACTORS, _OFFSETS, _BAND = (_NUMBERS.integers(1, 2**63, HASHES, dtype=np.uint64) for _ in range(3))
_FACTORS, _BAND = _FACTORS | np.uint64(1), _BAND | np.uint64(1)


class Near(NamedTuple):
    """A held-out text (its index), the training text most like it, and their similarity."""

    held_out: int
    train: int
    similarity: float


class NearOverlap(NamedTuple):
    """Where a held-out trace and the training trace most like it stand, and their similarity."""

    held_out: str
    train: str
    similarity: float


def conversation_text(trace: Trace) -> str:
    """What is said and called in a trace, without the system prompt and tools that many share."""
    parts: list[str] = []
    for message in trace.messages:
        if message.role != "system":
            parts.append(message.content or "")
            parts += [f"{call.name} {json.dumps(call.arguments)}" for call in message.tool_calls]
    return "\n".join(parts)


def signature(text: str) -> NDArray[np.uint32]:
    """The signature of a text, `HASHES` values of 32 bits; case and white space do not count."""
    words = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in fold_text(text).split()]
    hashes = np.array(words, dtype=np.uint64)
    shingles = hashes[: max(1, len(words) - SHINGLE + 1)].copy()
    for i in range(1, min(SHINGLE, len(words))):
        shingles = _mix(shingles) + hashes[i : i + len(shingles)]
    shingles = _mix(shingles)  # an empty text has none: its signature is the largest values
    least = np.full(HASHES, 2**32 - 1, dtype=np.uint32)
    for start in range(0, len(shingles), _CHUNK):  # bounds the memory of a long text
        values = shingles[start : start + _CHUNK, None] * _FACTORS + _OFFSETS
        least = np.minimum(least, (values >> np.uint64(32)).astype(np.uint32).min(axis=0))
    return least


def signatures(texts: Iterable[str]) -> Signatures:
    """The signatures of texts, [number of texts, HASHES]: 512 bytes each."""
    rows = [signature(text) for text in texts]
    return np.stack(rows) if rows else np.empty((0, HASHES), dtype=np.uint32)


def similarity(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> float:
    """The estimated share of shingles, of all that either text has, that both have (0 to 1)."""
    return float(np.mean(one == other))


def near_duplicates(signed: Signatures, threshold: float = 0.8) -> list[tuple[int, ...]]:
    """Clusters of texts that are alike: indices in order, each cluster of two or more.

    Two texts whose similarity is at least `threshold` are found with a probability of 99% or
    more, save in crowds of over 16 texts that agree in a band; clusters join all that such pairs
    connect. Copies are always found. Time is close to linear in the number of texts.
    """
    unique, inverse = np.unique(signed, axis=0, return_inverse=True)
    parents = list(range(len(unique)))
    for keys in _bands(unique, threshold):
        order = np.argsort(keys, kind="stable")
        for step in range(1, _WINDOW + 1):
            same = np.flatnonzero(keys[order[step:]] == keys[order[:-step]])
            roots = np.array(parents)  # most pairs of a later band are joined already
            pairs = np.stack([order[same], order[same + step]], axis=1)
            pairs = pairs[roots[pairs[:, 0]] != roots[pairs[:, 1]]]
            alike = _agreement(unique, unique, pairs) >= threshold
            for one, other in pairs[alike].tolist():
                low, high = sorted((_root(parents, one), _root(parents, other)))
                parents[high] = low
    members: dict[int, list[int]] = {}
    for index, row in enumerate(inverse.ravel().tolist()):
        members.setdefault(_root(parents, row), []).append(index)
    return sorted(tuple(cluster) for cluster in members.values() if len(cluster) > 1)


def near_train(train: Signatures, held_out: Signatures, threshold: float = 0.8) -> list[Near]:
    """The held-out texts that have a near-duplicate in training, each with its most similar one.

    Found as by `near_duplicates`; each held-out text is compared with at most 16 training texts
    of a band.
    """
    best: dict[int, tuple[float, int]] = {}
    for keys, wanted in zip(_bands(train, threshold), _bands(held_out, threshold), strict=True):
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], wanted)
        for step in range(_WINDOW):
            within = np.flatnonzero(starts + step < len(order))
            found = order[starts[within] + step]
            same = keys[found] == wanted[within]
            pairs = np.stack([found[same], within[same]], axis=1)
            agreement = _agreement(train, held_out, pairs)
            alike = agreement >= threshold
            for (one, other), value in zip(
                pairs[alike].tolist(), agreement[alike].tolist(), strict=True
            ):
                best[other] = max(best.get(other, (0.0, 0)), (value, -one))
    return [Near(other, -one, value) for other, (value, one) in sorted(best.items())]


def near_overlaps(
    train: Iterable[Trace], held_out: Iterable[Trace], threshold: float = 0.8
) -> list[NearOverlap]:
    """The held-out traces that nearly are training traces, the most similar pairs first.

    Each side is gone through once; about 600 bytes of each trace are kept.
    """
    signed: list[Signatures] = []
    places: list[list[str]] = []
    for side in (train, held_out):
        names, rows = [], []
        for trace in side:
            names.append(place_of(trace))
            rows.append(signature(conversation_text(trace)))
        places.append(names)
        signed.append(np.stack(rows) if rows else signatures(()))
    found = near_train(signed[0], signed[1], threshold)
    found.sort(key=lambda near: (-near.similarity, near.held_out))
    return [
        NearOverlap(places[1][near.held_out], places[0][near.train], near.similarity)
        for near in found
    ]


def _bands(signed: Signatures, threshold: float) -> Iterator[NDArray[np.uint64]]:
    """For each band a key per text: the widest bands that find `threshold` often enough."""
    width = next(
        width
        for width in (16, 8, 4, 2, 1)
        if width == 1 or 1 - (1 - threshold**width) ** (HASHES // width) >= _RECALL
    )
    for start in range(0, HASHES, width):
        band = slice(start, start + width)
        yield _mix((signed[:, band].astype(np.uint64) * _BAND[band]).sum(axis=1, dtype=np.uint64))


def _agreement(one: Signatures, other: Signatures, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The similarity of each pair (a row of `one`, a row of `other`)."""
    values = [
        np.mean(one[part[:, 0]] == other[part[:, 1]], axis=1)
        for part in np.split(pairs, range(_CHUNK, len(pairs), _CHUNK))
    ]
    return np.concatenate(values)


def _root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = node = parents[parents[node]]
    return node


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64-bit values, modulo 2^64 (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
