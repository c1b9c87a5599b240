"""Rendered traces as Arrow columns, and back, without loss.

A chunk of traces is one record batch. Within it each trace leans on the first one of the chunk
that has the same tools, its *base*: the schemas and the beginning of the first prompt that the two
have in common are stored once. Within a trace each turn leans on the one before: of its prompt
only what goes beyond the earlier prompt and completion is stored, ids and text alike. A trace is
therefore decoded from its own row and, at most, its base's.

Ids, groups and places of traces are not here but in the index (`store`): ids are numbered and
sources named per run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, astuple, fields, is_dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tooltune.render.truncate import Cut
from tooltune.render.turns import RenderedTrace
from tooltune.render.types import Turn
from tooltune.traces.types import Message, Source, Tool, ToolCall, Trace
from tooltune.train.preparation.columns import binary, lists, numbers, view

SCHEMA = pa.schema(
    {
        "base": pa.int32(),  # row of the chunk that this one leans on, itself where it is a base
        "tools": pa.binary(),  # JSON list of functions; empty where they are the base's
        "trace": pa.binary(),  # JSON object of the other fields that differ from their defaults
        "cut": pa.list_(pa.int32()),  # what it lost to `seq_length`, the numbers of `Cut`; or empty
        "turns": pa.list_(pa.int32()),  # for each turn the numbers of `_Turn`
        "ids": pa.list_(pa.int32()),  # of each turn what it does not share
        "text": pa.binary(),  # likewise, in UTF-8
        "run_lengths": pa.list_(pa.int32()),  # loss weights, run-length encoded: tokens
        "run_weights": pa.list_(pa.float64()),  # and their weight
    }
)
_ELSEWHERE = frozenset({"id", "group", "source", "tools"})  # fields of a trace not in `trace`

Ids = NDArray[np.int32]
Weights = NDArray[np.float64]


class _Turn(NamedTuple):
    """A turn as stored: its message's index; tokens and characters; runs of equal weight.

    `shared` is what the prompt has in common with the one it leans on.
    """

    message: int
    shared_ids: int
    prompt_ids: int
    completion_ids: int
    shared_text: int
    prompt_text: int
    completion_text: int
    runs: int


class _Lean(NamedTuple):
    """What the next turn may lean on: ids and text."""

    ids: Ids
    text: str


_NOTHING = _Lean(np.empty(0, np.int32), "")


def encode_chunk(rows: Sequence[RenderedTrace]) -> pa.RecordBatch:
    """The record batch of `SCHEMA` for some traces, one at least; a function of them alone."""
    bases: dict[bytes, tuple[int, _Lean]] = {}
    records = []
    for number, row in enumerate(rows):
        tools = _json([tool.function for tool in row.trace.tools])
        base, opening = bases.setdefault(tools, (number, _first_prompt(row)))
        own = base == number
        encoded = _encode(row, _NOTHING if own else opening)
        records.append((base, tools if own else b"", *encoded))
    bases_of, tools_of, traces, cuts, turns, ids, texts, lengths, weights = zip(
        *records, strict=True
    )
    columns = [
        numbers(np.array(bases_of, np.int32)),
        binary(tools_of),
        binary(traces),
        lists(cuts, np.int32),
        lists(turns, np.int32),
        lists(ids, np.int32),
        binary(texts),
        lists(lengths, np.int32),
        lists(weights, np.float64),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _first_prompt(row: RenderedTrace) -> _Lean:
    if not row.turns:
        return _NOTHING
    return _Lean(np.asarray(row.turns[0].prompt_ids, np.int32), row.turns[0].prompt_text)


def _encode(row: RenderedTrace, lean: _Lean) -> tuple[bytes, Ids, Ids, Ids, bytes, Ids, Weights]:
    """The columns of `SCHEMA` from `trace` on."""
    turns: list[int] = []
    ids = [_NOTHING.ids]
    text = ""
    runs: list[tuple[float, int]] = []
    for turn in row.turns:
        whole = _Lean(
            np.asarray([*turn.prompt_ids, *turn.completion_ids], np.int32),
            turn.prompt_text + turn.completion_text,
        )
        weights = [(weight, len(list(run))) for weight, run in groupby(turn.weights)]
        stored = _Turn(
            message=turn.index,
            shared_ids=_common_ids(lean.ids, whole.ids[: len(turn.prompt_ids)]),
            prompt_ids=len(turn.prompt_ids),
            completion_ids=len(turn.completion_ids),
            shared_text=_common_text(lean.text, turn.prompt_text),
            prompt_text=len(turn.prompt_text),
            completion_text=len(turn.completion_text),
            runs=len(weights),
        )
        turns += stored
        ids.append(whole.ids[stored.shared_ids :])
        text += whole.text[stored.shared_text :]
        runs += weights
        lean = whole
    return (
        _json(_plain(row.trace, without=_ELSEWHERE)),
        np.array(astuple(row.cut) if row.cut else (), np.int32),
        np.array(turns, np.int32),
        np.concatenate(ids),
        text.encode("utf-8", "surrogatepass"),
        np.array([length for _, length in runs], np.int32),
        np.array([weight for weight, _ in runs], np.float64),
    )


def decode_row(batch: pa.RecordBatch, number: int, about: Mapping[str, Any]) -> RenderedTrace:
    """Row `number` of a chunk; `about` are the fields of its trace that the index holds."""
    base = batch["base"][number].as_py()
    plain = json.loads(batch["trace"][number].as_py())
    messages = tuple(_message(message) for message in plain.pop("messages"))
    tools = tuple(Tool(function) for function in json.loads(batch["tools"][base].as_py()))
    trace = Trace(messages=messages, tools=tools, **plain, **about)

    lean = _NOTHING if base == number else _base_prompt(batch, base)
    ids, text = _ints(batch, "ids", number), _text(batch, number)
    weights = _weights(batch, number)
    turns: list[Turn] = []
    at = character = run = 0  # how far ids, text and runs are used up
    for stored in _stored_turns(batch, number):
        new = stored.prompt_ids + stored.completion_ids - stored.shared_ids
        added = stored.prompt_text + stored.completion_text - stored.shared_text
        lean = _Lean(
            np.concatenate([lean.ids[: stored.shared_ids], ids[at : at + new]]),
            lean.text[: stored.shared_text] + text[character : character + added],
        )
        at, character = at + new, character + added
        whole = tuple(lean.ids.tolist())
        mine = weights[run : run + stored.runs]
        run += stored.runs
        turns.append(
            Turn(
                trace_id=trace.id,
                index=stored.message,
                prompt_ids=whole[: stored.prompt_ids],
                completion_ids=whole[stored.prompt_ids :],
                weights=tuple(weight for weight, length in mine for _ in range(length)),
                prompt_text=lean.text[: stored.prompt_text],
                completion_text=lean.text[stored.prompt_text :],
            )
        )
    return RenderedTrace(trace, tuple(turns), Cut(*_ints(batch, "cut", number).tolist()))


def _base_prompt(batch: pa.RecordBatch, base: int) -> _Lean:
    """The first prompt of a base, which leans on nothing."""
    first = next(_stored_turns(batch, base), None)
    if first is None:
        return _NOTHING
    return _Lean(
        _ints(batch, "ids", base)[: first.prompt_ids], _text(batch, base)[: first.prompt_text]
    )


def _stored_turns(batch: pa.RecordBatch, number: int) -> Iterator[_Turn]:
    numbers = _ints(batch, "turns", number).tolist()
    width = len(_Turn._fields)
    return (_Turn(*numbers[i : i + width]) for i in range(0, len(numbers), width))


def _ints(batch: pa.RecordBatch, column: str, number: int) -> Ids:
    return view(batch[column][number].values)


def _text(batch: pa.RecordBatch, number: int) -> str:
    return str(batch["text"][number].as_buffer(), "utf-8", "surrogatepass")


def _weights(batch: pa.RecordBatch, number: int) -> list[tuple[float, int]]:
    weights = batch["run_weights"][number].as_py()
    return list(zip(weights, batch["run_lengths"][number].as_py(), strict=True))


def _common_ids(a: Ids, b: Ids) -> int:
    """Number of leading ids that two arrays share."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def _common_text(a: str, b: str) -> int:
    """Number of leading characters that two texts share, by halving."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


# --- traces as JSON: every field that differs from its default, so that new ones come along ------


def trace_json(trace: Trace) -> bytes:
    """All of a trace but its source, as JSON that `trace_from_json` reads back to its equal."""
    return _json(_plain(trace, without=frozenset({"source"})))


def trace_from_json(data: bytes, source: Source | None = None) -> Trace:
    plain = json.loads(data)
    messages = tuple(_message(message) for message in plain.pop("messages"))
    tools = tuple(Tool(**tool) for tool in plain.pop("tools", ()))
    return Trace(messages=messages, tools=tools, source=source, **plain)


def _plain(item: Any, without: frozenset[str] = frozenset()) -> Any:
    if isinstance(item, tuple):
        return [_plain(part) for part in item]
    if not is_dataclass(item):
        return item
    kept = [field for field in fields(item) if field.name not in without]
    values = {field.name: getattr(item, field.name) for field in kept}
    return {f.name: _plain(values[f.name]) for f in kept if values[f.name] != _default(f)}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _message(plain: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in plain.pop("tool_calls", ()))
    return Message(**plain, tool_calls=calls)


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
