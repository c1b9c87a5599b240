"""The check of every row (invariant 1) is a check, and shared schemas are not paid for twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.render.strategies import simple_trace
from tooltune.render.encode import SegmentEncoder
from tooltune.render.turns import Renderer
from tooltune.render.verify import RowCheck
from tooltune.traces.types import Trace

LONG = "Tells the time. " * 400


def own_prompts(tokenizer: Any, trace: Trace) -> list[list[int]]:
    row = trace.to_openai()
    texts = [
        tokenizer.apply_chat_template(
            row["messages"][:i], tools=row["tools"], add_generation_prompt=True, tokenize=False
        )
        for i in trace.turns
    ]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


@pytest.mark.parametrize("name", ["builtin", "qwen2.5", "qwen3"])
def test_rows_that_share_a_schema_tokenize_it_once(
    tokenizers: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(tokenizers[name])
    lengths: list[int] = []
    own = RowCheck._own
    monkeypatch.setattr(
        RowCheck, "_own", lambda self, text: (lengths.append(len(text)), own(self, text))[1]
    )
    traces = [simple_trace(description=LONG, city=f"City {i}") for i in range(5)]
    for trace in traces:
        turns = renderer.render(trace).turns
        assert [list(turn.prompt_ids) for turn in turns] == own_prompts(tokenizers[name], trace)
    assert sum(length > len(LONG) for length in lengths) == 1
    assert len(lengths) == 1 + len(traces)
    assert renderer.encoder.cuts


@pytest.mark.parametrize("where", ["system", "user\nWhat", "question 3"])
def test_a_segment_that_is_remembered_wrongly_is_noticed_and_whole_texts_are_encoded(
    qwen25: Any, where: str
) -> None:
    renderer = Renderer(qwen25)
    trace = simple_trace(description=LONG)
    right = renderer.render(trace).turns
    memo = renderer.encoder._memo
    wrong = next((key for key in memo if where in key[0]), None)
    if wrong is None:  # nothing to spoil: the row has no such segment
        assert where == "question 3"
        return
    memo[wrong] = (*memo[wrong][:-1], 7)
    renderer._check._heads.clear()
    assert renderer.render(trace).turns == right
    assert not renderer.encoder.cuts


def test_what_is_learnt_from_a_whole_text_is_what_its_segments_are_alone(qwen25: Any) -> None:
    text = "<|im_start|>user\nZürich e\u0301 日本\n\n<|im_end|>\n<|im_start|>assistant\n"
    learner, alone = SegmentEncoder(qwen25), SegmentEncoder(qwen25)
    assert learner.learn(text, qwen25.backend_tokenizer.encode(text, add_special_tokens=False))
    calls = learner.encoder_calls
    assert learner.encode(text) == alone.encode(text)
    assert learner.encoder_calls == calls == 0


def test_a_tokenizer_with_a_template_call_of_its_own_is_asked_each_time(qwen25: Any) -> None:
    class Own(type(qwen25)):  # type: ignore[misc]
        def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
            return super().apply_chat_template(*args, **kwargs).replace("Qwen", "Somebody")

    own = Own.from_pretrained(qwen25.name_or_path)
    trace = replace(simple_trace(), messages=simple_trace().messages[:2])
    (turn,) = Renderer(own).render(trace).turns
    assert "You are Somebody" in turn.prompt_text
