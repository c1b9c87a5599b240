"""Held-out traces that nearly are training traces: reported, and no more than that."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tooltune.cli.output import console, printable

if TYPE_CHECKING:
    from tooltune.train.data import RunData

_MOST_COMPARED = 200_000  # training traces: 600 bytes, and a tenth of a millisecond each
_SHOWN = 3


def describe_likeness(data: RunData) -> dict[str, Any]:
    """How many held-out traces have a near-duplicate in training, and the most similar pairs."""
    from tooltune.traces.similar import near_overlaps

    compared = min(len(data.train), _MOST_COMPARED)
    found = near_overlaps(
        (row.trace for row in islice(data.train, compared)), (row.trace for row in data.held_out)
    )
    return {
        "count": len(found),
        "held_out": len(data.held_out),
        "train_compared": compared,
        "examples": [pair._asdict() for pair in found[:_SHOWN]],
    }


def print_likeness(facts: dict[str, Any]) -> None:
    """A line where there are some: they make scores look better than they are."""
    if not facts["count"]:
        return
    pairs = ", ".join(
        f"{pair['held_out']} ~ {pair['train']} ({pair['similarity']:.0%})"
        for pair in facts["examples"]
    )
    console.print(
        f"[bold]{'':<10}[/][yellow]{facts['count']:,} of {facts['held_out']:,} held-out traces "
        f"nearly equal a training trace[/]: {escape(printable(pairs))}"
    )
