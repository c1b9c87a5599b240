"""The data of a run: read, split, checked for overlap, rendered; every row accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tooltune.config.schema import Config, Source
from tooltune.evaluate.samples import HELD_OUT, EvalSample, select_samples
from tooltune.render.dataset import require_rendered
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import RenderedTrace, Renderer, render_traces
from tooltune.traces.ledger import Ledger
from tooltune.traces.load import Traces, load_traces, require_rows
from tooltune.traces.split import check_overlap, split_traces
from tooltune.traces.types import Trace


@dataclass(frozen=True, slots=True)
class RunData:
    """Rendered traces of a run. `rows_read` = accepted + `len(ledger.rejections)` (invariant 7).

    `held_out` are the validation traces, `samples` the turns that are generated; both may be
    empty. `files` are the local files that were read, for the record.
    """

    renderer: Renderer
    train: tuple[RenderedTrace, ...]
    held_out: tuple[RenderedTrace, ...]
    samples: tuple[EvalSample, ...]
    ledger: Ledger
    rows_read: int
    files: tuple[Path, ...]

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
    )


def prepare_data(config: Config, tokenizer: Any, *, date: str | None = None) -> RunData:
    """Read, split and render everything that a run needs, before any model is loaded.

    `date` (`2026-01-31`) is the day that templates are told; None: today.

    Raises: UserError for unreadable sources, train and held-out rows that overlap, no accepted
    row, or a chat template that cannot be used.
    """
    renderer = Renderer(tokenizer, render_spec(config, tokenizer, date))
    reader = _Reader(renderer)
    train, held_out = _train_and_held_out(config, reader)
    eval_source = config.tool_call_eval
    own_eval = _has_source(eval_source)
    eval_traces = reader.read(eval_source) if own_eval else held_out
    extras = {name: reader.read(source) for name, source in eval_source.extra_datasets.items()}
    for traces in (held_out, eval_traces, *extras.values()):
        check_overlap(train, traces)
    trained = reader.render(train)
    if not trained:
        require_rendered(reader.ledger)
    validation = reader.render(held_out)
    generated = reader.render(eval_traces) if own_eval else validation
    samples: list[EvalSample] = []
    if eval_source.enabled:
        samples = _samples(config, generated, HELD_OUT)
        for name, traces in extras.items():
            samples += _samples(config, reader.render(traces), name)
    return RunData(
        renderer=renderer,
        train=tuple(trained),
        held_out=tuple(validation),
        samples=tuple(samples),
        ledger=reader.ledger,
        rows_read=reader.rows_read,
        files=tuple(reader.files),
    )


def _train_and_held_out(config: Config, reader: _Reader) -> tuple[Sequence[Trace], Sequence[Trace]]:
    everything = reader.read(config.dataset)
    validation = config.validation_dataset
    if validation is None:
        return everything, ()
    if _has_source(validation):
        return everything, reader.read(validation)
    assert validation.fraction is not None
    return split_traces(everything, validation.fraction, seed=config.seed)


def _has_source(source: Source) -> bool:
    return source.path is not None or source.dataset_name is not None


def _samples(config: Config, rows: Sequence[RenderedTrace], name: str) -> list[EvalSample]:
    settings = config.tool_call_eval
    return select_samples(
        rows,
        dataset=name,
        include_abstain=settings.include_abstain,
        max_call_turns=settings.max_eval_samples,
    )


class _Reader:
    """Reads sources into one ledger and remembers what was read."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self.ledger = Ledger()
        self.rows_read = 0
        self.files: list[Path] = []
        self._ids: dict[str, int] = {}

    def read(self, source: Source) -> Sequence[Trace]:
        traces = require_rows(load_source(source))  # its errors speak of this source alone
        self.ledger.rejections += traces.ledger.rejections
        self.rows_read += traces.rows_read
        if source.path is not None:
            self.files += [path for path in _paths(source.path) if path not in self.files]
        return [self._distinct(trace) for trace in traces]

    def render(self, traces: Sequence[Trace]) -> list[RenderedTrace]:
        return render_traces(self.renderer, traces, self.ledger)

    def _distinct(self, trace: Trace) -> Trace:
        """Number a trace whose id another source of the run already used."""
        count = self._ids[trace.id] = self._ids.get(trace.id, 0) + 1
        return trace if count == 1 else replace(trace, id=f"{trace.id}+{count}")


def load_source(source: Source) -> Traces:
    """The traces that a section of the config names, with a ledger of their own."""
    return load_traces(
        None if source.path is None else _paths(source.path),
        dataset_name=source.dataset_name,
        split=source.split,
        revision=source.revision,
        limit=source.limit_dataset_samples,
        format=source.format,
    )


def _paths(path: str | tuple[str, ...]) -> list[Path]:
    return [Path(p) for p in ([path] if isinstance(path, str) else path)]
