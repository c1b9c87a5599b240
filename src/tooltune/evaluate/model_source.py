"""Outputs of a model object in this process, of whatever make."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from tooltune.evaluate.engines import pick_engine
from tooltune.evaluate.engines.modes import device_of
from tooltune.evaluate.engines.types import Generation, Request, Sampling
from tooltune.evaluate.outputs import Output
from tooltune.evaluate.prepare import Task

logger = logging.getLogger(__name__)

OnAnswer = Callable[[Output], None]


class OutputSource(Protocol):
    """The seam between the evaluator and whatever generates: a model here, or a server."""

    def __call__(self, tasks: Sequence[Task], on_output: OnAnswer) -> None:
        """Hand the output of every task to `on_output`, in any order, as it comes.

        A task that fails gives an output with its `skip_reason`. What `on_output` raises ends it.
        """
        ...


def model_source(
    model: Any,
    tokenizer: Any,
    *,
    stop_ids: frozenset[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    raise_on_cuda_oom: bool = True,
) -> OutputSource:
    """Generate with `model`, greedily without `sampling`.

    What a batch fails on is tried again one by one, so that one bad sample costs no other. Raises
    (when called): torch.cuda.OutOfMemoryError under `raise_on_cuda_oom`.
    """
    engine = pick_engine(model)
    device = device_of(model)
    devices = [device] if device.type == "cuda" else []
    pad = getattr(tokenizer, "pad_token_id", None)
    pad = getattr(tokenizer, "eos_token_id", None) if pad is None else pad

    def run(tasks: Sequence[Task], deliver: _Deliver) -> None:
        requests = [
            Request(task.item.prompt_ids or (), task.item.draft_ids, task.seed) for task in tasks
        ]
        engine(
            model,
            requests,
            stop_ids=stop_ids,
            max_new_tokens=max_new_tokens,
            pad_token_id=0 if pad is None else int(pad),
            sampling=sampling,
            on_output=lambda i, generation: deliver(tasks[i], generation),
        )

    def generate(tasks: Sequence[Task], on_output: OnAnswer) -> None:
        deliver = _Deliver(tokenizer, on_output)
        with torch.random.fork_rng(devices):  # evaluation draws nothing from the training RNG
            try:
                run(tasks, deliver)
            except Exception as error:
                deliver.check(error, raise_on_cuda_oom)
                logger.warning("generating failed (%s); trying what is left one by one", error)
            for task in tasks:
                if task.key in deliver.done:
                    continue
                try:
                    run([task], deliver)
                except Exception as error:
                    deliver.check(error, raise_on_cuda_oom)
                    oom = isinstance(error, torch.cuda.OutOfMemoryError)
                    reason = "out_of_memory" if oom else f"generate_error_{type(error).__name__}"
                    deliver.failed(task, reason, str(error))

    return generate


class _Deliver:
    """Hands generations on as outputs, and tells the receiver's errors from the model's."""

    def __init__(self, tokenizer: Any, on_output: OnAnswer) -> None:
        self._tokenizer = tokenizer
        self._on_output = on_output
        self._broken: Exception | None = None
        self.done: set[Any] = set()

    def __call__(self, task: Task, generation: Generation) -> None:
        ids = generation.token_ids
        try:
            text = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        except Exception as error:  # of a foreign tokenizer: whatever it raises skips this sample
            self.failed(task, f"decode_error_{type(error).__name__}", str(error))
            return
        exact = generation.teacher_forced_exact
        self._send(
            task,
            text=text,
            token_ids=tuple(int(token) for token in ids),
            tokens=len(ids),
            finish_reason=generation.finish_reason,
            teacher_forced_exact=exact,
            draft_nll=generation.draft_nll,
            draft_id=None if exact is None else task.item.draft_id,
            ties=int(generation.ties),
        )

    def failed(self, task: Task, reason: str, detail: str) -> None:
        first = detail.strip().split("\n")[0][:500]
        self._send(task, skip_reason=reason, finish_reason="skipped", detail=first)

    def check(self, error: Exception, raise_on_cuda_oom: bool) -> None:
        """Raise what is no fault of a sample."""
        if self._broken is not None:
            raise self._broken
        if isinstance(error, torch.cuda.OutOfMemoryError) and raise_on_cuda_oom:
            raise error

    def _send(self, task: Task, **values: Any) -> None:
        sample = task.item.sample
        try:
            self._on_output(
                Output(sample.dataset, sample.sample_id, task.repeat, task.prompt_id, **values)
            )
        except Exception as error:
            self._broken = error
            raise
        self.done.add(task.key)
