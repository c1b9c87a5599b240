"""What goes into the cache comes out of it, whatever it is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import traces
from tooltune.render.truncate import NO_CUT, Cut
from tooltune.render.turns import RenderedTrace, Renderer
from tooltune.render.types import Turn
from tooltune.traces.types import Source, Trace
from tooltune.train.preparation.codec import (
    decode_row,
    encode_chunk,
    trace_from_json,
    trace_json,
)
from tooltune.worlds.generate import generate_traces

_IDS = st.lists(st.integers(0, 3) | st.integers(0, 2**31 - 1), max_size=6)
_TEXT = st.text(st.sampled_from("ab\n\0é😀\ud800"), max_size=6)
_WEIGHTS = st.sampled_from([0.0, 1.0, 0.5, 1 / 3])


@st.composite
def _turns(draw: st.DrawFn) -> tuple[Turn, ...]:
    """Turns of few ids and letters, so that prompts often begin as what went before."""
    turns: list[Turn] = []
    for index in draw(st.lists(st.integers(1, 40), max_size=3)):
        ids, text = draw(_IDS), draw(_TEXT)
        if turns and draw(st.booleans()):
            ids = [*turns[-1].prompt_ids, *turns[-1].completion_ids, *ids]
            text = turns[-1].prompt_text + turns[-1].completion_text + text
        completion = draw(_IDS)
        weights = tuple(draw(_WEIGHTS) for _ in completion)
        turn = Turn("", index, tuple(ids), tuple(completion), weights, text, draw(_TEXT))
        turns.append(turn)
    return tuple(turns)


_CUTS = st.just(NO_CUT) | st.builds(Cut, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
_ROWS = st.lists(st.builds(RenderedTrace, traces(), _turns(), _CUTS), min_size=1, max_size=4)


def _about(trace: Trace) -> dict[str, Any]:
    return {"id": trace.id, "group": trace.group, "source": trace.source}


def _named(row: RenderedTrace) -> RenderedTrace:
    turns = tuple(
        Turn(row.trace.id, t.index, t.prompt_ids, t.completion_ids, t.weights, *_texts(t))
        for t in row.turns
    )
    return RenderedTrace(row.trace, turns, row.cut)


def _texts(turn: Turn) -> tuple[str, str]:
    return turn.prompt_text, turn.completion_text


@given(_ROWS)
def test_any_rendered_trace_comes_back_equal(rows: list[RenderedTrace]) -> None:
    rows = [_named(row) for row in rows]
    batch = encode_chunk(rows)
    assert [decode_row(batch, i, _about(row.trace)) for i, row in enumerate(rows)] == rows


def test_rendered_traces_come_back_equal_and_share_what_they_have_in_common(
    builtin_tokenizer: Any,
) -> None:
    renderer = Renderer(builtin_tokenizer)
    rows = [renderer.render(t) for t in generate_traces(20, seed=1, split="train", agents=True)]
    batch = encode_chunk(rows)
    assert [decode_row(batch, i, _about(row.trace)) for i, row in enumerate(rows)] == rows
    ids = sum(len(t.prompt_ids) + len(t.completion_ids) for row in rows for t in row.turns)
    assert len(batch["ids"].flatten()) < 0.4 * ids
    assert b"" in batch["tools"].to_pylist()


@given(traces())
def test_a_trace_comes_back_equal_from_its_json(trace: Trace) -> None:
    back = trace_from_json(trace_json(trace), Source("f", 3))
    assert back == Trace(**{**_fields(trace), "source": Source("f", 3)})


def _fields(trace: Trace) -> dict[str, Any]:
    return {name: getattr(trace, name) for name in trace.__dataclass_fields__}
