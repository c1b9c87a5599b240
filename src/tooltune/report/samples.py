"""Join evaluations by sample and prepare what the page embeds: small, plain, JSON-safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.report.files import Column, Evaluation
from tooltune.report.rows import Joined, RowWriter, dataset_of, is_correct, kind_of

MAIN_DATASET = "held_out"

_MAX_ROWS = 20_000
_PAGE_CHARACTERS = 32_000_000
_LONGEST_TEXT = 4_000
_SHORTEST_TEXT = 400

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SampleView:
    """What the page's list of samples needs.

    `data` is the embedded object: `columns` (`{"label", "name"}`, one an evaluation), `rows` (one
    a sample, see `rows.py`), and the tables `messages` and `tools` that rows point into by index,
    since turns of one trace share them. `states` counts all samples by what changed from the first
    evaluation to the second, `kinds` by kind; `flips` counts the call turns of the main data set,
    as McNemar's test does (`main`, see `main_dataset`). `paired` says whether there were two
    evaluations or more. `n_omitted` rows are counted but not embedded.
    """

    data: Row
    states: Mapping[str, int]
    kinds: Mapping[str, int]
    flips: Mapping[str, int]
    datasets: tuple[str, ...]
    main: str | None
    paired: bool
    n_samples: int
    n_omitted: int


def view_samples(columns: Sequence[Column]) -> SampleView:
    """Join the samples by data set, id and repeat, in the order of the files, and classify each."""
    joined = _join([column.evaluation for column in columns])
    paired = sum(bool(column.evaluation and column.evaluation.samples) for column in columns) > 1
    classified = [(_state(records, paired), records) for records in joined]
    samples = [last_of(records) for records in joined]
    kinds = Counter(map(kind_of, samples))
    main = main_dataset(samples)
    flips = Counter(
        state
        for (state, _), sample in zip(classified, samples, strict=True)
        if main in (None, dataset_of(sample)) and kind_of(sample) == "call"
    )
    shown = classified
    if len(shown) > _MAX_ROWS:  # what changed matters most; sorted() keeps the order within
        shown = sorted(shown, key=lambda item: item[0] not in ("fixed", "broken"))[:_MAX_ROWS]
    data = _fit([records for _, records in shown])
    data["columns"] = [{"label": column.label, "name": column.name} for column in columns]
    return SampleView(
        data,
        Counter(state for state, _ in classified),
        kinds,
        flips,
        tuple(dict.fromkeys(map(dataset_of, samples))),
        main,
        paired,
        len(joined),
        len(joined) - len(shown),
    )


def main_dataset(samples: Iterable[Row]) -> str | None:
    """The data set that the headline is about; `None` means all, where nothing is held out."""
    held_out = any(dataset_of(sample) == MAIN_DATASET for sample in samples)
    return MAIN_DATASET if held_out else None


def main_samples(evaluation: Evaluation | None) -> list[Row]:
    """The samples of one evaluation that its headline is about."""
    samples = evaluation.samples if evaluation else ()
    main = main_dataset(samples)
    return [sample for sample in samples if main in (None, dataset_of(sample))]


def main_accuracy(evaluation: Evaluation | None) -> tuple[int, int]:
    """Of the turns there that should call, those that are right, and all."""
    calls = [sample for sample in main_samples(evaluation) if kind_of(sample) == "call"]
    return sum(map(is_correct, calls)), len(calls)


def last_of(records: Joined) -> Row:
    """The sample's record in the last evaluation that has it."""
    return next(record for record in reversed(records) if record is not None)


def _fit(shown: Sequence[Joined]) -> Row:
    """The embedded object, its texts cut shorter until it keeps to the page's budget."""
    limit = _LONGEST_TEXT
    while True:
        writer = RowWriter(limit)
        rows = [writer.row(records) for records in shown]
        if writer.size <= _PAGE_CHARACTERS or limit == _SHORTEST_TEXT:
            return {"rows": rows, "messages": writer.messages.items, "tools": writer.tools.items}
        limit = max(_SHORTEST_TEXT, limit // 3)


def _join(evaluations: Sequence[Evaluation | None]) -> list[Joined]:
    keyed = [
        {
            (dataset_of(row), row["sample_id"], _repeat(row)): row
            for row in (evaluation.samples if evaluation else ())
        }
        for evaluation in evaluations
    ]
    keys = dict.fromkeys(key for side in keyed for key in side)
    return [tuple(side.get(key) for side in keyed) for key in keys]


def _repeat(row: Row) -> int:
    repeat = row.get("repeat")
    return repeat if isinstance(repeat, int) else 0


def _state(records: Joined, paired: bool) -> str:
    """What the second evaluation made of what the first had, the very same as in the page."""
    if not paired:
        return "right" if is_correct(last_of(records)) else "wrong"
    base, tuned = records[0], records[1]
    if base is None or tuned is None:
        return "unpaired"
    before, after = is_correct(base), is_correct(tuned)
    if before != after:
        return "fixed" if after else "broken"
    return "right" if after else "wrong"
