"""Turns to flat sequences in the Hugging Face form (unshifted labels, -100 = no target)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tooltune.render.types import Turn

IGNORED = -100


@dataclass(frozen=True, slots=True)
class FlatSequence:
    """`labels[i] == input_ids[i]` where token i is a target, else -100. Equal lengths."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def n_targets(self) -> int:
        return len(self.labels) - self.labels.count(IGNORED)


def chain_turns(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Group the turns of one trace into as few token sequences as its template allows.

    A turn continues a chain if the ids of its prompt start with those of the chain so far. Where
    the template rewrites history the turns branch into several chains.
    """
    chains: list[list[Turn]] = []
    for turn in turns:
        for chain in chains:
            so_far = (*chain[-1].prompt_ids, *chain[-1].completion_ids)
            if turn.prompt_ids[: len(so_far)] == so_far:
                chain.append(turn)
                break
        else:
            chains.append([turn])
    return chains


def flatten_turns(turns: Sequence[Turn]) -> list[FlatSequence]:
    """The chains of a trace as sequences, each turn trained exactly once, as inference sees it.

    Each branch repeats its context without loss. Sequences without a target are left out.
    """
    flat = [_flatten(chain) for chain in chain_turns(turns)]
    return [sequence for sequence in flat if sequence.n_targets]


def _flatten(chain: Sequence[Turn]) -> FlatSequence:
    labels: list[int] = []
    for turn in chain:
        labels += [IGNORED] * (len(turn.prompt_ids) - len(labels))
        labels += [
            token if weight > 0 else IGNORED
            for token, weight in zip(turn.completion_ids, turn.weights, strict=True)
        ]
    last = chain[-1]
    return FlatSequence((*last.prompt_ids, *last.completion_ids), tuple(labels))
