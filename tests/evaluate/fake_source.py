"""Samples of four cities, and a source of outputs that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.render.strategies import simple_trace
from tooltune.evaluate.model_source import OnAnswer
from tooltune.evaluate.outputs import Output
from tooltune.evaluate.prepare import Prepared, Task, prepare_plainly

CITIES = ["Rome", "Oslo", "Lima", "Cairo"]
DECIDES = {"model": "m", "max_new_tokens": 8, "sampling": None}


class LetterTokenizer:
    """Only what the contract promises to use: each character is a token."""

    def apply_chat_template(self, messages: Any, **_: Any) -> str:
        return "".join(f"{m['role']}: {m['content']}\n" for m in messages)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: Any, *, skip_special_tokens: bool) -> str:
        return "".join(chr(i) for i in ids)


def prepared(cities: Sequence[str] = CITIES, *, include_abstain: bool = False) -> list[Prepared]:
    traces = [simple_trace(user=f"Time in {city}?", city=city) for city in cities]
    return prepare_plainly(
        traces, LetterTokenizer(), include_abstain=include_abstain, max_prompt_tokens=None
    )


def right(task: Task) -> str:
    return called(task.item.sample.gt_calls[0]["arguments"]["city"])


def called(city: str) -> str:
    return f'<tool_call>{{"name": "get_time", "arguments": {{"city": "{city}"}}}}</tool_call>'


class FakeSource:
    """Answers in reverse order; `asked` remembers what it was asked for, `stop_after` dies."""

    def __init__(
        self, answer: Callable[[Task], str] = right, stop_after: int | None = None
    ) -> None:
        self.answer = answer
        self.stop_after = stop_after
        self.asked: list[Any] = []

    def __call__(self, tasks: Sequence[Task], on_output: OnAnswer) -> None:
        for n, task in enumerate(reversed(tasks)):
            if n == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(task.key)
            sample = task.item.sample
            on_output(
                Output(
                    sample.dataset,
                    sample.sample_id,
                    task.repeat,
                    task.prompt_id,
                    text=self.answer(task),
                    tokens=3,
                    ties=1,
                )
            )
