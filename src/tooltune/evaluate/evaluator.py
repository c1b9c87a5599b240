"""`ToolCallAccuracyEvaluator`: tool-call accuracy of any model object, by generation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from tooltune.errors import UserError
from tooltune.evaluate.prepare import (
    Prepared,
    checked_shard,
    is_full_tokenizer,
    prepare_plainly,
    prepare_samples,
    render_samples,
    shard,
)
from tooltune.evaluate.results import summarise
from tooltune.evaluate.run import EvalOptions, evaluate_model, sampling_of
from tooltune.evaluate.samples import check_sample_limit
from tooltune.evaluate.scoring import ScoringOptions
from tooltune.evaluate.synchronous import needs_synchrony, synchronous_forwards
from tooltune.render.turns import Renderer
from tooltune.toolcalls.match import Matching
from tooltune.toolcalls.parse import Mode
from tooltune.traces.load import Traces, load_traces, require_rows

logger = logging.getLogger(__name__)


class ToolCallAccuracyEvaluator:
    """Generates each held-out turn that calls tools, parses the calls, and scores them.

    Keyword arguments are those of the reference evaluator: a source (`dataset_name` with `split`
    and `revision`, or `path`); caps on traces read and samples scored; `max_new_tokens` a sample;
    `max_prompt_tokens`, beyond which a sample is skipped as `prompt_too_long`; `sample_shard`
    `(rank, world_size)` takes every `world_size`-th sample. `include_abstain` also scores the
    turns that should not call. A model that FSDP2 shards over several ranks is evaluated too: every
    rank must call `evaluate`, with shards of any size (`sample_shard`) or all with the same
    samples; `run_on_fsdp2=False` skips it, and `evaluate` returns nothing for it.

    `do_sample` draws tokens (`temperature`, `top_p`, `top_k`, from `seed`), `repeats` answers to
    each sample. `parser`, `mode` and `matching` say how answers are read and judged (see
    `ScoringOptions`). `exclude_broken` leaves out, and counts, the samples whose ground truth or
    tools cannot be judged, which are an error otherwise.

    Raises: UserError for a source that is not exactly one, and for options that make no sense.
    """

    METRIC_KEYS: ClassVar[tuple[str, ...]] = (
        "has_call",
        "name_correct",
        "args_json_valid",
        "args_field_recall",
        "args_field_precision",
        "args_exact_match",
    )

    def __init__(
        self,
        *,
        dataset_name: str | None = None,
        path: str | Path | Sequence[str | Path] | None = None,
        split: str = "train",
        revision: str | None = None,
        format: str | None = None,
        limit_dataset_samples: int | None = None,
        max_eval_samples: int | None = None,
        max_new_tokens: int = 256,
        max_prompt_tokens: int | None = None,
        do_sample: bool = False,
        metric_prefix: str = "tool_call",
        sample_shard: tuple[int, int] | None = None,
        raise_on_cuda_oom: bool = True,
        run_on_fsdp2: bool = True,
        include_abstain: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        repeats: int = 1,
        parser: str | None = None,
        mode: Mode = "strict",
        matching: Matching = "optimal",
        exclude_broken: bool = False,
    ) -> None:
        if (dataset_name is None) == (path is None):
            raise UserError(
                "the evaluator needs exactly one source", fix="give `dataset_name` or `path`"
            )
        check_sample_limit(max_eval_samples)
        self._source: dict[str, Any] = {
            "path": path,
            "dataset_name": dataset_name,
            "split": split,
            "revision": revision,
            "limit": limit_dataset_samples,
            "format": format,
        }
        self.max_eval_samples = max_eval_samples
        self.max_new_tokens = max_new_tokens
        self.max_prompt_tokens = max_prompt_tokens
        self.do_sample = do_sample
        self.options = EvalOptions(
            max_new_tokens=max_new_tokens,
            sampling=sampling_of(temperature, top_p, top_k) if do_sample else None,
            repeats=repeats,
            seed=seed,
            raise_on_cuda_oom=raise_on_cuda_oom,
            exclude_broken=exclude_broken,
            scoring=ScoringOptions(parser, mode, matching),
        )
        self.metric_prefix = metric_prefix.rstrip("/")
        self.sample_shard = None if sample_shard is None else checked_shard(*sample_shard)
        self.raise_on_cuda_oom = raise_on_cuda_oom
        self.run_on_fsdp2 = run_on_fsdp2
        self.include_abstain = include_abstain
        self._traces: Traces | None = None
        self.records: list[dict[str, Any]] = []  # of the last evaluation, as in samples.jsonl
        self.excluded: list[dict[str, Any]] = []

    def evaluate(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score `model`; every value is a float, rates in [0, 1].

        `PREFIX/accuracy` is the share of turns wholly right, skipped ones counted as wrong;
        `PREFIX/_count` + `PREFIX/_skipped` is its denominator, `PREFIX/_skip_REASON` says why.
        A Hugging Face model is evaluated by draft-verified greedy decoding, anything else through
        its own `generate`, or `forward` where it has none.

        Raises: UserError for an unreadable source, and for ground truth or tools that cannot be
        judged, before anything is generated; torch.cuda.OutOfMemoryError under
        `raise_on_cuda_oom`.
        """
        if needs_synchrony(model) and not self.run_on_fsdp2:
            logger.info("not evaluated: the model is sharded, and run_on_fsdp2 is False")
            return {}
        options = replace(
            self.options,
            # as they stand now: both may be set on the object
            max_new_tokens=self.max_new_tokens,
            raise_on_cuda_oom=self.raise_on_cuda_oom,
        )
        with synchronous_forwards(model):  # what fails on one rank leaves once all are done
            prepared, renderer = self._prepare(tokenizer)
            done = evaluate_model(model, tokenizer, renderer, prepared, options)
        self.records, self.excluded = done.records, done.excluded
        # As in the reference, its six keys are always there: 0.0 where no sample was scored.
        unscored = {f"{self.metric_prefix}/{key}": 0.0 for key in self.METRIC_KEYS}
        return unscored | summarise(self.records, prefix=self.metric_prefix)

    def _prepare(self, tokenizer: Any) -> tuple[list[Prepared], Renderer | None]:
        if self._traces is None:
            self._traces = load_traces(
                self._source["path"], **{k: v for k, v in self._source.items() if k != "path"}
            )
            require_rows(self._traces)
        if is_full_tokenizer(tokenizer):
            renderer = Renderer(tokenizer)
            samples = render_samples(self._traces, renderer, include_abstain=self.include_abstain)
            prepared = prepare_samples(
                self._mine(samples), max_prompt_tokens=self.max_prompt_tokens
            )
            return prepared, renderer
        plain = prepare_plainly(
            self._traces,
            tokenizer,
            include_abstain=self.include_abstain,
            max_prompt_tokens=self.max_prompt_tokens,
        )
        return self._mine(plain), None

    def _mine(self, items: list[Any]) -> list[Any]:
        return shard(items[: self.max_eval_samples], self.sample_shard)
