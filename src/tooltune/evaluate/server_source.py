"""Outputs of an OpenAI-compatible server, which renders and parses (chat) or only continues."""

from __future__ import annotations

from collections.abc import Sequence

from tooltune.evaluate.engines.openai import generate_on_server, server_takes_ids
from tooltune.evaluate.model_source import OnAnswer, OutputSource
from tooltune.evaluate.outputs import Output
from tooltune.evaluate.prepare import Task
from tooltune.evaluate.server import ServerAnswer, ServerOptions, ServerRequest


def server_source(server: ServerOptions, *, sampled: bool = False) -> OutputSource:
    """Ask `server`; in completion mode for what follows our own prompts, as token ids if it takes
    them. `sampled` sends every request's own seed.

    Raises (when called): UserError where the server cannot be used, or is gone for good.
    """

    def generate(tasks: Sequence[Task], on_output: OnAnswer) -> None:
        as_ids = server.mode == "completion" and server_takes_ids(
            server, tasks[0].item.prompt_ids or ()
        )
        requests = [_request(task, server, as_ids, sampled) for task in tasks]
        generate_on_server(server, requests, lambda i, answer: on_output(_output(tasks[i], answer)))

    return generate


def _request(task: Task, server: ServerOptions, as_ids: bool, sampled: bool) -> ServerRequest:
    seed = task.seed if sampled else None
    if server.mode == "chat":
        public = task.item.sample.public()
        settings = task.item.sample.settings
        return ServerRequest(public["prompt_messages"], public["tools"], None, settings, seed)
    turn = task.item.sample.turn
    ids = task.item.prompt_ids
    assert turn is not None and ids is not None  # tasks without a prompt are not asked
    if as_ids:
        return ServerRequest(prompt=ids, seed=seed)
    return ServerRequest(prompt=turn.prompt_text, seed=seed, expected_tokens=len(ids))


def _output(task: Task, answer: ServerAnswer) -> Output:
    code, _, detail = (answer.error or "").partition(":")
    sample = task.item.sample
    return Output(
        sample.dataset,
        sample.sample_id,
        task.repeat,
        task.prompt_id,
        text=answer.text,
        tokens=answer.completion_tokens,
        calls=answer.calls,
        reasoning=answer.reasoning,
        finish_reason="skipped" if code else answer.finish_reason,
        skip_reason=code or None,
        detail=detail.strip() or None,
    )
