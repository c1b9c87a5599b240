"""Which traces make an optimizer step, and how they are cut into micro-batches.

The order is a pure function of (seed, epoch), so a resumed run needs nothing but its step. How a
step is cut never changes its loss (invariant 6), only its speed: the packer merges traces into
one forest where a cost model says that this is cheaper than running them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tooltune.config.schema import Config
from tooltune.render.forest import TokenForest, merge_turns
from tooltune.render.turns import RenderedTrace
from tooltune.render.types import Turn


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Maps an optimizer step (0-based) to its epoch and the traces it trains on."""

    n_traces: int
    global_batch_size: int
    num_epochs: int
    max_steps: int | None
    seed: int
    shuffle: bool = True

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n_traces // self.global_batch_size)

    @property
    def total_steps(self) -> int:
        steps = self.steps_per_epoch * self.num_epochs
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def epoch(self, step: int) -> int:
        return step // self.steps_per_epoch

    def traces(self, step: int) -> list[int]:
        """Indices of the traces of a step; the last step of an epoch may have fewer."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.arange(self.n_traces)
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n_traces)
        start = position * self.global_batch_size
        return [int(i) for i in order[start : start + self.global_batch_size]]


def step_plan(config: Config, n_traces: int) -> StepPlan:
    schedule = config.step_scheduler
    return StepPlan(
        n_traces=n_traces,
        global_batch_size=schedule.global_batch_size,
        num_epochs=schedule.num_epochs,
        max_steps=schedule.max_steps,
        seed=config.seed,
        shuffle=config.dataset.shuffle,
    )


@dataclass(frozen=True, slots=True)
class CostModel:
    """Relative time of one forward and backward over N tokens, in tokens.

    `overhead` is paid per micro-batch; tokens beyond `sweet_spot` cost `strain` more per thousand
    (on a CPU a long batch leaves the caches; on a GPU it does not). `max_tokens` bounds memory.
    The CPU's numbers say what was measured on two cores with a 135M model: without sharing, 500
    to 1,000 tokens a batch are fastest. The GPU's are a guess on the safe side.
    """

    overhead: float
    sweet_spot: int
    strain: float
    max_tokens: int

    def cost(self, tokens: int) -> float:
        beyond = max(0, tokens - self.sweet_spot)
        return self.overhead + tokens + beyond * self.strain * tokens / 1000


CPU_COST = CostModel(overhead=40, sweet_spot=1000, strain=0.1, max_tokens=8192)
CUDA_COST = CostModel(overhead=2000, sweet_spot=32768, strain=0.0, max_tokens=32768)


def cost_model(device_type: str) -> CostModel:
    return CUDA_COST if device_type == "cuda" else CPU_COST


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Turns that run in one forward, and their forest."""

    turns: tuple[Turn, ...]
    forest: TokenForest


def pack(
    rows: Sequence[RenderedTrace],
    cost: CostModel,
    *,
    max_traces: int | None = None,
) -> list[MicroBatch]:
    """Cut the traces of a step into micro-batches.

    Traces are sorted by their tokens, so that those which share a prefix are neighbours; each
    joins the batch before it if the merged forest is cheaper than two batches. `max_traces` caps
    the traces a batch holds (`local_batch_size`). Turns without targets are left out: nothing is
    learnt from running them.
    """
    groups = [row.trained_turns for row in rows if row.trained_turns]
    groups.sort(key=lambda turns: prefix_key(turns[0]))
    batches: list[MicroBatch] = []
    held = 0
    for turns in groups:
        alone = MicroBatch(turns, merge_turns(turns))
        if batches and (max_traces is None or held < max_traces):
            both = (*batches[-1].turns, *turns)
            merged = merge_turns(both)
            apart = cost.cost(len(batches[-1].forest)) + cost.cost(len(alone.forest))
            if len(merged) <= cost.max_tokens and cost.cost(len(merged)) < apart:
                batches[-1] = MicroBatch(both, merged)
                held += 1
                continue
        batches.append(alone)
        held = 1
    return batches


def pack_in_parts(
    rows: Sequence[RenderedTrace],
    cost: CostModel,
    *,
    max_traces: int | None = None,
    part: int = 256,
) -> Iterator[MicroBatch]:
    """`pack`, for more traces than are in memory at once: `part` of them at a time."""
    for start in range(0, len(rows), part):
        some = [rows[i] for i in range(start, min(start + part, len(rows)))]
        yield from pack(some, cost, max_traces=max_traces)


def prefix_key(turn: Turn) -> bytes:
    """Sorts turns that share a prefix next to each other."""
    return np.asarray(turn.prompt_ids, dtype=np.int64).astype(">u4").tobytes()
