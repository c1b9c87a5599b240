"""What a run says of itself before it starts."""

from __future__ import annotations

from collections.abc import Iterator

from peft import PeftModel

from tooltune.config.schema import Config
from tooltune.train.batches import StepPlan
from tooltune.train.data import RunData
from tooltune.train.log import RunLog
from tooltune.train.lora import adapter_remarks
from tooltune.train.stopping import never_stops
from tooltune.train.trainee import Trainee


def announce(config: Config, data: RunData, plan: StepPlan, trainee: Trainee, log: RunLog) -> None:
    """Rows, steps, where it runs, and what its user may not expect."""
    log.info(
        f"{data.rows_read} rows read, {data.rows_accepted} accepted, "
        f"{len(data.ledger.rejections)} rejected (ledger.jsonl): {len(data.train)} traces to "
        f"train on, {len(data.held_out)} held out, {len(data.samples)} turns to generate"
    )
    log.info(
        f"{plan.total_steps} steps of {plan.global_batch_size} traces, "
        f"{trainee.trainable_parameters:,} trained parameters, {trainee.compute_dtype} on "
        f"{_place(config, trainee)}"
    )
    if trainee.flat_reason is not None:
        log.info(f"flat sequences, no prefix sharing: {trainee.flat_reason}")
    if isinstance(trainee.model, PeftModel):
        for remark in adapter_remarks(trainee.model):
            log.info(remark)
    warning = never_stops(
        config, total_steps=plan.total_steps, steps_per_epoch=plan.steps_per_epoch
    )
    if warning is not None:
        log.warning(warning)
    for remark in _sizes(plan, traces=len(data.train), processes=trainee.world.size):
        log.warning(remark)


def _sizes(plan: StepPlan, *, traces: int, processes: int) -> Iterator[str]:
    """What is odd about the size of a step."""
    size = plan.global_batch_size
    if size > traces:
        yield (
            f"step_scheduler.global_batch_size is {size}, and there are {traces} traces: each step "
            "is a whole epoch"
        )
    if size < processes:
        yield (
            f"step_scheduler.global_batch_size is {size} on {processes} processes: "
            f"{processes - size} of them have nothing to train on"
        )


def _place(config: Config, trainee: Trainee) -> str:
    size = trainee.world.size
    if size == 1:
        return str(trainee.device)
    processes = f"{size} {trainee.device.type} processes"
    if not trainee.is_sharded:
        return f"{processes}, each with the whole model"
    copies = config.distributed.dp_replicate_size
    return f"{processes}, sharded over {size // copies}" + (f", {copies} copies" * (copies > 1))
