"""One optimizer step: forward, backward and update on `global_batch_size` traces (invariant 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tooltune.render.turns import RenderedTrace
from tooltune.train.batches import CostModel, MicroBatch, pack
from tooltune.train.optim import NonFiniteError, clip_gradients, set_learning_rate
from tooltune.train.parallel.divide import divide
from tooltune.train.parallel.world import World
from tooltune.train.trainee import Trainee


@dataclass(frozen=True, slots=True)
class StepResult:
    """Sums over all ranks, but `micro_batches`: those of the rank that has most."""

    loss: float
    grad_norm: float
    tokens: int
    trained_tokens: int
    micro_batches: int


def train_step(
    trainee: Trainee,
    rows: Sequence[RenderedTrace],
    *,
    number: int,
    lr: float,
    max_grad_norm: float,
    max_traces: int | None,
    cost: CostModel,
    on_batch: Callable[[], None] = lambda: None,
) -> StepResult | None:
    """Update the model on all of `rows`, of which this rank computes its part.

    `number` is that of the step, for messages. None where the rows hold no target: nothing was
    done. Raises: NonFiniteError, on every rank, before the update.
    """
    world = trainee.world
    mine = divide(rows, world.size)[world.rank]
    batches = pack(mine, cost, max_traces=max_traces)
    (total_weight,) = world.sum(sum(batch.forest.total_weight for batch in batches))
    if total_weight == 0:
        return None
    most = int(world.max(len(batches))[0])
    share, culprit = _backward(trainee, batches, total_weight, number, on_batch)
    if trainee.is_sharded:
        for _ in range(most - len(batches)):
            _backward_of_nothing(trainee, rows, cost)
    loss = _loss_of_all(share, culprit, number, world)
    trainee.gather_gradients()
    grad_norm = clip_gradients(trainee.masters.parameters(), max_grad_norm)
    set_learning_rate(trainee.optimizer, lr)
    trainee.optimizer.step()
    trainee.optimizer.zero_grad(set_to_none=True)
    trainee.masters.write_back()
    tokens, trained = world.sum(
        sum(len(batch.forest) for batch in batches),
        sum(turn.n_targets for batch in batches for turn in batch.turns),
    )
    return StepResult(loss, grad_norm, int(tokens), int(trained), most)


def _backward(
    trainee: Trainee,
    batches: Sequence[MicroBatch],
    weight: float,
    number: int,
    on_batch: Callable[[], None],
) -> tuple[float, str | None]:
    """This rank's share of the loss, its gradients left in the masters; and where it went wrong."""
    loss = 0.0
    culprit: str | None = None
    for batch in batches:
        share = trainee.nll(batch) / weight
        loss += float(share.detach())
        if culprit is None and not math.isfinite(loss):
            culprit = batch.turns[0].trace_id
            if trainee.world.size == 1:
                raise NonFiniteError(_non_finite_message(number, culprit))
        # Others wait in the backward pass of a sharded model: it runs even if all is lost.
        (share * trainee.gradient_scale if trainee.gradient_scale != 1 else share).backward()
        on_batch()
    return loss, culprit


def _loss_of_all(share: float, culprit: str | None, number: int, world: World) -> float:
    """Σ over ranks, once all of them have run all their micro-batches: it is a meeting, too."""
    (loss,) = world.sum(share)
    if not math.isfinite(loss):
        culprits = world.broadcast(world.gather(culprit)) or []
        first = next((i for i, found in enumerate(culprits) if found is not None), None)
        where = "none; their sum is" if first is None else f"{culprits[first]}, on rank {first}"
        raise NonFiniteError(_non_finite_message(number, where))
    return loss


def _backward_of_nothing(trainee: Trainee, rows: Sequence[RenderedTrace], cost: CostModel) -> None:
    """Keep pace with a rank that has one more micro-batch: its collectives need all ranks."""
    shortest = min((row for row in rows if row.trained_turns), key=lambda row: row.length)
    (trainee.nll(pack([shortest], cost)[0]) * 0).backward()


def _non_finite_message(step: int, trace_id: str) -> str:
    return (
        f"the loss of step {step} is not finite (first trace of its micro-batch: {trace_id}); the "
        "update was not made\n"
        "  fix: a lower optimizer.lr, more lr_scheduler.lr_warmup_steps, or model.dtype: float32"
    )
