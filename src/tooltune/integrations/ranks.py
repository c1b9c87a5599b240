"""One evaluation by all processes of somebody else's training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, groupby, zip_longest
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor

from tooltune.errors import UserError
from tooltune.evaluate.evaluator import ToolCallAccuracyEvaluator
from tooltune.evaluate.results import summarise

_T = TypeVar("_T")
Record = dict[str, Any]


class OtherRankFailed(RuntimeError):
    """The evaluation failed on another process; the message says on which, and how."""


def rank_and_size() -> tuple[int, int]:
    """This process's rank, and how many processes train together."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def in_step(model: Any) -> bool:
    """Whether all processes must run the same forwards of `model`: its weights are split over
    them (tensor parallelism, ZeRO-3), and no one keeps ranks with unequal work in step.

    For FSDP2, with or without replicas, the evaluator does.
    """
    fsdp2 = isinstance(model, FSDPModule)

    def beyond_fsdp2(parameter: Any) -> bool:
        if not isinstance(parameter, DTensor):
            return hasattr(parameter, "ds_id")
        # the last dimension of the mesh is the one that FSDP2 shards over
        rest = parameter.placements[:-1] if fsdp2 else parameter.placements
        return any(not placement.is_replicate() for placement in rest)

    return any(beyond_fsdp2(p) for p in getattr(model, "parameters", tuple)())


def _check(evaluator: ToolCallAccuracyEvaluator, model: Any) -> None:
    if isinstance(model, FullyShardedDataParallel):
        raise UserError(
            "tool-call accuracy cannot be measured on a model under FSDP of version 1, whose "
            "weights only its own forward can gather",
            fix='fsdp_config={"version": 2, ...}',
        )
    place = rank_and_size()
    if place[1] > 1 and evaluator.sample_shard not in (None, place):
        raise UserError(
            f"the evaluator's sample_shard is {evaluator.sample_shard} on process {place[0]} of "
            f"{place[1]}",
            fix="leave `sample_shard` out: processes share the samples by themselves",
        )


def evaluate_together(
    evaluator: ToolCallAccuracyEvaluator, model: Any, tokenizer: Any
) -> dict[str, float]:
    """The metrics that one process would find, on every process; so are `evaluator.records`.

    Nothing where the evaluator skips a sharded model. A failure on one process is raised on all.

    Raises: UserError for FSDP of version 1, and for a `sample_shard` that is not this process's.
    """
    in_agreement(lambda: _check(evaluator, model), "looking at the evaluator")
    rank, size = rank_and_size()
    if size == 1:
        return evaluator.evaluate(model, tokenizer)
    own = evaluator.sample_shard
    evaluator.sample_shard = None if in_step(model) else (rank, size)
    try:
        metrics = in_agreement(lambda: evaluator.evaluate(model, tokenizer), "evaluating")
        if evaluator.sample_shard is None or not metrics:
            return metrics
    finally:
        evaluator.sample_shard = own
    evaluator.records = _in_turn(_gather(evaluator.records))
    evaluator.excluded = _in_turn(_gather(evaluator.excluded))
    prefix = evaluator.metric_prefix
    unscored = {f"{prefix}/{key}": 0.0 for key in evaluator.METRIC_KEYS}
    return unscored | summarise(evaluator.records, prefix=prefix)


def in_agreement(do: Callable[[], _T], doing: str) -> _T:
    """`do()`, on every process; what one of them raises ends it on all.

    Raises: what `do` raised here; else, for the first process on which it failed, a UserError as it
    is and anything else as OtherRankFailed.
    """
    error: Exception | None = None
    try:
        result = do()
    except Exception as raised:
        error = raised
    for rank, failure in enumerate(_gather(_told(error))):
        if error is not None:
            raise error
        if failure is not None:
            kind, message, fix = failure
            if kind == UserError.__name__:
                raise UserError(f"{message} (process {rank})", fix=fix)
            raise OtherRankFailed(f"process {rank} failed {doing}: {kind}: {message}")
    return result


def _told(error: Exception | None) -> tuple[str, str, str | None] | None:
    if error is None:
        return None
    if isinstance(error, UserError):
        return UserError.__name__, error.message, error.fix
    return type(error).__name__, str(error), None


def _gather(item: _T) -> list[_T]:
    """One `item` of each process, on every process."""
    size = rank_and_size()[1]
    if size == 1:
        return [item]
    items: list[Any] = [None] * size
    dist.all_gather_object(items, item)
    return items


def _in_turn(shards: Sequence[Sequence[Record]]) -> list[Record]:
    """Undo `shard`: the first sample of every rank, then the second, each with all its answers."""
    samples = [[list(answers) for _, answers in groupby(one, _sample_of)] for one in shards]
    rounds = zip_longest(*samples, fillvalue=[])
    return list(chain.from_iterable(chain.from_iterable(rounds)))


def _sample_of(record: Record) -> tuple[str, str]:
    return record["dataset"], record["sample_id"]
