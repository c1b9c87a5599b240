"""The self-test of an export: as others load it, it calls the same tools as the checkpoint.

One side is the checkpoint, prompted by our renderer with the template of the training. The other
is the folder that was written, through transformers (and PEFT) alone: `from_pretrained`,
`apply_chat_template`, `generate` with the generation config that lies there. Both generate
greedily, one prompt at a time and in one type, so that the same weights give the same tokens.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from tooltune.errors import UserError
from tooltune.evaluate.engines.plain import generate_plain
from tooltune.evaluate.engines.types import Request
from tooltune.evaluate.evaluation_file import load_evaluation
from tooltune.evaluate.prepare import prompt_spec
from tooltune.evaluate.samples import sample_turns
from tooltune.export.make import put_adapter_on, training_dtype, training_tokenizer
from tooltune.export.source import Source, base_directory
from tooltune.models.load import load_model
from tooltune.models.quiet import quiet_transformers
from tooltune.render.messages import to_template, tools_to_template, without_old_reasoning
from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.toolcalls.parse import parse_turn
from tooltune.traces.formats import read_row
from tooltune.traces.jsonio import RowError
from tooltune.traces.load import load_traces, require_rows
from tooltune.traces.types import Trace

Progress = Callable[[int, int], None]
_RECORDED = ("final", "step_0")  # evaluations of a run that hold its held-out prompts
_SHOWN = 5  # differences that are written out


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: everything of `trace` before message `index`."""

    sample_id: str
    trace: Trace
    index: int


@dataclass(frozen=True, slots=True)
class _Answer:
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    calls: list[list[Any]]


def recorded_questions(run: Path, limit: int) -> tuple[list[Question], str]:
    """Held-out prompts that the run itself recorded when it was evaluated, spread over its sets,
    and the evaluation's name.

    Raises: UserError for a run that evaluated nothing.
    """
    folders = [run / "eval" / name for name in _RECORDED]
    folders += sorted((run / "eval").glob("*/")) if (run / "eval").is_dir() else []
    for folder in folders:
        if (folder / "samples.jsonl").is_file():
            found = _spread(load_evaluation(folder), limit)
            return [_recorded(record) for record in found], f"eval/{folder.name}"
    raise UserError(
        f"run {run} recorded no held-out prompts (eval/*/samples.jsonl)",
        fix="name data: --selftest test.jsonl",
    )


def data_questions(data: dict[str, str], limit: int) -> list[Question]:
    """Turns of other traces, `data` being what `load_traces` takes. Raises: UserError."""
    traces = load_traces(data.get("path"), dataset_name=data.get("dataset_name"))
    require_rows(traces)
    turns = [(t, i) for t in traces for i in sample_turns(t, include_abstain=True)]
    if not turns:
        raise UserError(
            "no turn to ask: none of the traces has tools and an assistant turn",
            fix="give traces with tools",
        )
    return [Question(f"{t.id}/{i}", t, i) for t, i in _spread(turns, limit)]


def compare_calls(
    source: Source,
    folder: Path,
    questions: Sequence[Question],
    *,
    adapter: bool,
    call_format: str | None,
    max_new_tokens: int,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask both sides every question; the object of `selftest` in export.json.

    `passed` where all calls are the same (names, arguments, and what is no well-formed call);
    `same_tokens` and `same_prompts` count how far the rest agrees too. Raises: UserError where no
    question can be rendered, or a side cannot be loaded.
    """
    on_gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if on_gpu else ("cpu", torch.float32)
    # Both sides are told today's date: servers tell it, and it is the same for both.
    tokenizer, render = training_tokenizer(source)
    spec = replace(prompt_spec(render), chat_template=None, date=date.today().isoformat())
    renderer = Renderer(tokenizer, spec)
    asked = list(_renderable(questions, renderer))
    if not asked:
        raise UserError(
            f"none of the {len(questions)} questions can be rendered with this model's template",
            fix="give other data: --selftest DATA",
        )
    total = 2 * len(asked)

    def step(done: int) -> None:
        if on_progress is not None:
            on_progress(done, total)

    def calls(text: str, question: Question) -> list[list[Any]]:
        tools = tools_to_template(question.trace.tools)
        found = parse_turn(text, format=call_format, tools=tools).calls
        return [[call.name, call.arguments, call.status] for call in found]

    expected = []
    model = _checkpoint_model(source, adapter=adapter, dtype=dtype, device=device)
    stops = frozenset(renderer.stop_ids)
    for i, (question, prompt_ids) in enumerate(asked):
        ids = _ours(model, prompt_ids, stops, max_new_tokens)
        text = renderer.tokenizer.decode(list(ids), skip_special_tokens=False)
        expected.append(_Answer(prompt_ids, ids, calls(text, question)))
        step(i + 1)
    del model
    _free()
    found = []
    plain_tokenizer, plain_model = _load_plainly(source, folder, adapter, dtype, device)
    for i, (question, _) in enumerate(asked):
        prompt_ids, ids = _plainly(
            plain_tokenizer, plain_model, question, renderer, spec, max_new_tokens
        )
        text = plain_tokenizer.decode(list(ids), skip_special_tokens=False)
        found.append(_Answer(prompt_ids, ids, calls(text, question)))
        step(len(asked) + i + 1)
    del plain_model
    _free()
    return _verdict(asked, expected, found) | {
        "not_rendered": len(questions) - len(asked),
        "max_new_tokens": max_new_tokens,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device,
    }


def _verdict(
    asked: Sequence[tuple[Question, Any]], expected: Sequence[_Answer], found: Sequence[_Answer]
) -> dict[str, Any]:
    pairs = list(zip(expected, found, strict=True))
    differ = [i for i, (a, b) in enumerate(pairs) if a.calls != b.calls]
    return {
        "passed": not differ,
        "prompts": len(pairs),
        "prompts_with_calls": sum(bool(a.calls) for a in expected),
        "same_calls": len(pairs) - len(differ),
        "same_tokens": sum(a.token_ids == b.token_ids for a, b in pairs),
        "same_prompts": sum(a.prompt_ids == b.prompt_ids for a, b in pairs),
        "differences": [
            {
                "sample_id": asked[i][0].sample_id,
                "checkpoint": json.loads(json.dumps(expected[i].calls, default=str)),
                "export": json.loads(json.dumps(found[i].calls, default=str)),
            }
            for i in differ[:_SHOWN]
        ],
    }


def _recorded(record: dict[str, Any]) -> Question:
    messages = record["prompt_messages"]
    answered = [*messages, {"role": "assistant", "content": "(asked for)"}]  # not read further
    try:
        trace = read_row({"messages": answered, "tools": record["tools"] or None}, "openai")
    except RowError as error:
        raise UserError(
            f"the recorded prompt {record['sample_id']} cannot be read: {error}",
            fix="name data: --selftest test.jsonl",
        ) from error
    return Question(str(record["sample_id"]), trace, len(messages))


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly over all of them."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _renderable(
    questions: Iterable[Question], renderer: Renderer
) -> Iterator[tuple[Question, tuple[int, ...]]]:
    for question in questions:
        try:
            yield question, renderer.prompt(question.trace, question.index).prompt_ids
        except RowRejected:
            continue


def _checkpoint_model(
    source: Source, *, adapter: bool, dtype: torch.dtype, device: str
) -> PreTrainedModel | PeftModel:
    """The checkpoint's own model: as it holds it whole, else its adapter on the base."""
    if source.consolidated is not None and not adapter:
        return load_model(source.consolidated, dtype=dtype, device=device)
    base = load_model(base_directory(source), dtype=training_dtype(source))
    return put_adapter_on(base.to(dtype), source).to(device)


def _ours(
    model: Any, prompt_ids: tuple[int, ...], stops: frozenset[int], max_new_tokens: int
) -> tuple[int, ...]:
    model.generation_config = GenerationConfig(eos_token_id=sorted(stops), do_sample=False)
    (answer,) = generate_plain(
        model,
        [Request(prompt_ids, (), 0)],
        stop_ids=stops,
        max_new_tokens=max_new_tokens,
        pad_token_id=min(stops),
    )
    return answer.token_ids


def _load_plainly(
    source: Source, folder: Path, adapter: bool, dtype: torch.dtype, device: str
) -> tuple[Any, Any]:
    """Tokenizer and model as the model card says to load them; no loader of ours."""
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if not adapter:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        else:
            base = AutoModelForCausalLM.from_pretrained(
                base_directory(source), dtype=training_dtype(source)
            )
            model = PeftModel.from_pretrained(base.to(dtype), str(folder))
            model.generation_config = GenerationConfig.from_pretrained(folder)
    return tokenizer, model.to(device).eval()


def _plainly(
    tokenizer: Any,
    model: Any,
    question: Question,
    renderer: Renderer,
    spec: RenderSpec,
    max_new_tokens: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Prompt and answer ids of an application that uses transformers as its documentation says."""
    messages = to_template(question.trace.messages[: question.index], renderer.profile.shape)
    if spec.drop_history_reasoning_content:  # the export's page asks for it
        messages = without_old_reasoning(messages)
    inputs = tokenizer.apply_chat_template(
        messages,
        tools=tools_to_template(question.trace.tools),
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        **spec.chat_template_kwargs,
    ).to(model.device)
    with torch.no_grad(), quiet_transformers():
        output = model.generate(**inputs, max_new_tokens=max_new_tokens)
    prompt = inputs["input_ids"][0]
    return tuple(prompt.tolist()), tuple(output[0, len(prompt) :].tolist())


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
