"""Near-duplicates: found, not invented, in the same way whatever the order."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.strategies import traces
from tooltune.traces import Message, Source, Tool, ToolCall, Trace
from tooltune.traces.similar import (
    conversation_text,
    near_duplicates,
    near_overlaps,
    near_train,
    signature,
    signatures,
    similarity,
)

WORDS = [f"word{i}" for i in range(2_000)]


def text(seed: int, length: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def with_changes(original: str, count: int, seed: int = 0) -> str:
    words = original.split()
    for place in random.Random(seed).sample(range(len(words)), count):
        words[place] = f"new{seed}x{place}"
    return " ".join(words)


def jaccard(one: str, other: str) -> float:
    first, second = (
        {tuple(words[i : i + 3]) for i in range(len(words) - 2)}
        for words in (one.split(), other.split())
    )
    return len(first & second) / len(first | second)


@given(st.integers(0, 1_000), st.integers(0, 60))
@settings(max_examples=60)
def test_the_estimate_is_close_to_the_jaccard_similarity(seed: int, changes: int) -> None:
    one = text(seed)
    other = with_changes(one, changes, seed)
    estimate = similarity(signature(one), signature(other))
    assert abs(estimate - jaccard(one, other)) < 5 * 0.045


def test_variants_are_clustered_and_strangers_are_not() -> None:
    texts = [text(seed) for seed in range(300)]
    variants = [with_changes(texts[i], 2, seed=i) for i in range(0, 300, 3)]
    clusters = near_duplicates(signatures([*texts, *variants]))
    assert clusters == [(i, 300 + i // 3) for i in range(0, 300, 3)]


@given(st.lists(st.integers(0, 5), max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_only_renumbers_the_clusters(seeds: list[int], shuffler: random.Random) -> None:
    texts = [with_changes(text(seed, 40), 1 if i % 2 else 0, i) for i, seed in enumerate(seeds)]
    order = list(range(len(texts)))
    shuffler.shuffle(order)
    expected = {frozenset(c) for c in near_duplicates(signatures(texts), 0.7)}
    moved = near_duplicates(signatures(texts[i] for i in order), 0.7)
    assert {frozenset(order[i] for i in cluster) for cluster in moved} == expected


def test_a_crowd_of_copies_is_one_cluster() -> None:
    signed = signatures([text(1)] * 100 + [text(2)] * 50 + [text(3)])
    assert near_duplicates(signed) == [tuple(range(100)), tuple(range(100, 150))]
    found = near_train(signed[:1], signed[1:100])
    assert [(near.train, near.held_out) for near in found] == [(0, i) for i in range(99)]


def test_a_held_out_text_is_matched_with_the_most_similar_training_text() -> None:
    train = [text(1), with_changes(text(7), 4), text(2), with_changes(text(7), 1)]
    for order, best in ((train, 3), (train[::-1], 0)):
        (near,) = near_train(signatures(order), signatures([text(8), text(7)]))
        assert (near.held_out, near.train) == (1, best)
        assert 0.9 < near.similarity <= 1


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9, 1.0])
def test_only_pairs_above_the_threshold_are_joined(threshold: float) -> None:
    texts = [text(0), *(with_changes(text(0), n) for n in (2, 10, 25))]
    signed = signatures(texts)
    joined = {i for cluster in near_duplicates(signed, threshold) for i in cluster}
    for i in range(4):
        best = max(similarity(signed[i], signed[j]) for j in range(4) if j != i)
        assert (i in joined) == (best >= threshold)


def test_near_overlaps_name_the_rows_the_most_similar_first() -> None:
    def said(file: str, row: int, said: str) -> Trace:
        return Trace((Message("user", said), Message("assistant", "!")), source=Source(file, row))

    train = [said("a", i, text(i)) for i in range(5)]
    held_out = [
        said("b", 0, with_changes(text(3), 4)),
        said("b", 1, text(9)),
        said("b", 2, text(1)),
    ]
    found = near_overlaps(iter(train), iter(held_out))
    assert [(near.held_out, near.train) for near in found] == [("b:2", "a:1"), ("b:0", "a:3")]
    assert found[0].similarity == 1 > found[1].similarity
    assert near_overlaps([], held_out) == near_overlaps(train, []) == []


def test_case_and_white_space_do_not_count() -> None:
    assert similarity(signature("What  TIME\nis it?"), signature("what time is it?")) == 1
    assert similarity(signature("one two three four"), signature("four three two one")) < 0.1


def test_short_and_empty_texts_have_signatures() -> None:
    signed = signatures(["", " ", "a", "a b", "a b c"])
    assert near_duplicates(signed) == [(0, 1)]
    assert near_duplicates(signatures([])) == []
    assert near_train(signatures([]), signed) == near_train(signed, signatures([])) == []


def test_a_long_text_is_read_in_pieces_without_loss() -> None:
    words = [str(i) for i in range(5_000)]
    halves = np.minimum(signature(" ".join(words[:2_502])), signature(" ".join(words[2_500:])))
    assert (signature(" ".join(words)) == halves).all()


def test_what_many_traces_share_is_left_out() -> None:
    said = (Message("user", "Hi"), Message("assistant", "!", (ToolCall("f", {"x": 1}),)))
    shared = (Message("system", "Be brief."), *said)
    assert conversation_text(Trace(shared, (Tool({"name": "f"}),))) == 'Hi\n!\nf {"x": 1}'


@given(traces())
@settings(max_examples=30)
def test_every_trace_has_a_signature(trace: Trace) -> None:
    one = signature(conversation_text(trace))
    assert similarity(one, signature(conversation_text(trace))) == 1
