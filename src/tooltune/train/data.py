"""The data of a run: prepared (read and rendered), split, checked for overlap, accounted for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from pathlib import Path
from typing import Any

import numpy as np

from tooltune.config.schema import Config, Source
from tooltune.evaluate.samples import HELD_OUT, EvalSample, select_samples
from tooltune.render.dataset import require_rendered
from tooltune.render.spec import LossWeights, RenderSpec
from tooltune.render.truncate import without_effect
from tooltune.render.turns import Renderer
from tooltune.traces import load
from tooltune.traces.identity import TraceKey
from tooltune.traces.ledger import Ledger
from tooltune.traces.load import Traces, require_rows
from tooltune.traces.source import input_files
from tooltune.traces.split import Overlap, check_overlap, split_traces
from tooltune.train.preparation.build import Preparing, prepare_source
from tooltune.train.preparation.store import Store
from tooltune.train.preparation.view import PreparedTraces

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunData:
    """Prepared traces of a run. `rows_read` = accepted + `len(ledger.rejections)` (invariant 7).

    `held_out` are the validation traces, `samples` the turns that are generated; both may be
    empty. `files` are the local files that were read, for the record. `counts` tells what else
    became of rows (`absorbed` by sessions, `not_sampled`, ...) and what rendering counted.
    `overlaps` are the held-out traces that are trained on, which the config must allow.
    """

    renderer: Renderer
    train: PreparedTraces
    held_out: PreparedTraces
    samples: tuple[EvalSample, ...]
    ledger: Ledger
    rows_read: int
    files: tuple[Path, ...]
    counts: dict[str, int]
    overlaps: tuple[Overlap, ...] = ()

    @property
    def rows_accepted(self) -> int:
        return self.rows_read - len(self.ledger.rejections)


def render_spec(config: Config, tokenizer: Any, date: str | None = None) -> RenderSpec:
    """The one render specification of a run; `tokenizer` carries the config's template, if any."""
    override = config.model.chat_template is not None  # a path or Jinja text: loading read it
    return RenderSpec(
        chat_template=str(tokenizer.chat_template) if override else None,
        chat_template_kwargs=config.model.chat_template_kwargs,
        date=date,
        train_on_last_turn_only=config.dataset.train_on_last_turn_only,
        mask_reasoning_content=config.dataset.mask_reasoning_content,
        drop_history_reasoning_content=config.dataset.drop_history_reasoning_content,
        seq_length=config.dataset.seq_length,
        truncate_history=config.dataset.truncate_history,
        filter_overlong=config.dataset.filter_overlong,
        truncation=config.dataset.truncation,
        filter_no_assistant=config.dataset.filter_no_assistant,
        trim_incomplete_last_turn=config.dataset.trim_incomplete_last_turn,
        skip_failed_calls=config.dataset.skip_failed_calls,
        control_tokens=config.dataset.control_tokens,
        loss_weights=LossWeights.of(config.dataset.loss_weights.model_dump()),
    )


def prepare_data(
    config: Config, tokenizer: Any, *, date: str | None = None, how: Preparing | None = None
) -> RunData:
    """Prepare everything that a run reads, before any model is loaded; split it and check it.

    `date` (`2026-01-31`) is the day that templates are told; None: today. `how` says with how
    many processes, and whom to tell; by default as the config does, and nobody.

    Raises: UserError for unreadable sources, train and held-out rows that overlap, no accepted
    row, or a chat template that cannot be used.
    """
    date = date or Date.today().isoformat()
    renderer = Renderer(tokenizer, render_spec(config, tokenizer, date))
    how = replace(how or Preparing(), workers=config.dataset.num_workers)
    reader = _Reader(renderer, config.seed, how)
    train, held_out = _train_and_held_out(config, reader)
    eval_source = config.tool_call_eval
    generated = reader.read(eval_source) if eval_source.names_a_place else held_out
    extras = {name: reader.read(source) for name, source in eval_source.extra_datasets.items()}
    allow = config.dataset.allow_overlap
    overlaps = check_overlap(train.keys, held_out.keys, allow=allow)
    for rows in (*(() if generated is held_out else (generated,)), *extras.values()):
        overlaps += check_overlap(train.keys, rows.keys, allow=allow)
    trained = train.rendered()
    if not trained:
        require_rendered(reader.ledger)
    warning = without_effect(renderer.spec, int(trained.lengths.max(initial=0)))
    if warning:
        logger.warning(warning)
    samples: list[EvalSample] = []
    if eval_source.enabled:
        samples = _samples(config, generated, HELD_OUT)
        for name, rows in extras.items():
            samples += _samples(config, rows, name)
    return RunData(
        renderer=renderer,
        train=trained,
        held_out=held_out.rendered(),
        samples=tuple(samples),
        ledger=reader.ledger,
        rows_read=reader.rows_read,
        files=tuple(reader.files),
        counts=reader.counts,
        overlaps=tuple(overlaps),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Traces that were read from one source: their keys, and their rows in its store.

    Those that could not be rendered are among them: the split, and what overlaps, depend on the
    data alone and not on a template.
    """

    store: Store
    rows: tuple[int, ...]
    keys: tuple[TraceKey, ...]

    def rendered(self) -> PreparedTraces:
        kept = [i for i, row in enumerate(self.rows) if self.store.rendered[row]]
        rows = np.array([self.rows[i] for i in kept], np.int64)
        return PreparedTraces(self.store, rows, [self.keys[i] for i in kept])

    def some(self, keys: Sequence[TraceKey]) -> _Rows:
        places = {key.id: row for key, row in zip(self.keys, self.rows, strict=True)}
        return _Rows(self.store, tuple(places[key.id] for key in keys), tuple(keys))


def _train_and_held_out(config: Config, reader: _Reader) -> tuple[_Rows, _Rows]:
    everything = reader.read(config.dataset)
    validation = config.validation_dataset
    if validation is None:
        return everything, everything.some(())
    if validation.names_a_place:
        return everything, reader.read(validation)
    assert validation.fraction is not None
    train, held_out = split_traces(everything.keys, validation.fraction, seed=config.seed)
    return everything.some(train), everything.some(held_out)


def _samples(config: Config, rows: _Rows, name: str) -> list[EvalSample]:
    settings = config.tool_call_eval
    return select_samples(
        rows.rendered(),
        dataset=name,
        include_abstain=settings.include_abstain,
        max_call_turns=settings.max_eval_samples,
    )


class _Reader:
    """Prepares sources, with one ledger, and remembers what was read."""

    def __init__(self, renderer: Renderer, seed: int, how: Preparing) -> None:
        self.renderer = renderer
        self.seed = seed
        self.how = how
        self.ledger = Ledger()
        self.rows_read = 0
        self.counts: dict[str, int] = {}
        self.files: list[Path] = []
        self._ids: dict[str, int] = {}

    def read(self, source: Source) -> _Rows:
        wanted = source.trace_source(self.seed)
        store = prepare_source(wanted, self.renderer, self.how)
        if not store.keys:  # its error speaks of this source alone
            require_rows(Traces((), Ledger(list(store.rejections)), store.rows_read))
        self.ledger.rejections += store.rejections
        self.rows_read += store.rows_read
        for name, count in store.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.files += [path for path in input_files(wanted) if path not in self.files]
        keys = tuple(self._distinct(key) for key in store.keys)
        return _Rows(store, tuple(range(len(keys))), keys)

    def _distinct(self, key: TraceKey) -> TraceKey:
        """Number a trace whose id another source of the run already used."""
        count = self._ids[key.id] = self._ids.get(key.id, 0) + 1
        return key if count == 1 else replace(key, id=f"{key.id}+{count}")


def load_source(source: Source, seed: int = 0) -> Traces:
    """The traces that a section of the config names, in memory, with a ledger of their own.

    `seed` is that of the run: what it samples from mixed sources is the same each time.
    """
    return load.load_source(source.trace_source(seed))
