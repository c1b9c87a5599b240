"""Generation by an OpenAI-compatible server: requests in parallel, answers as they come.

One failed request fails one sample; when requests keep failing, a plain one tells whether the
server is still there. If it is not, the evaluation stops, and what failed meanwhile is not
reported: the same command asks for it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from tooltune.errors import UserError
from tooltune.evaluate.engines.types import Progress
from tooltune.evaluate.server.ask import Server, takes_ids, trial_of
from tooltune.evaluate.server.client import open_client
from tooltune.evaluate.server.loop import run_async
from tooltune.evaluate.server.types import ServerAnswer, ServerOptions, ServerRequest
from tooltune.toolcalls.parse import parse_turn

logger = logging.getLogger(__name__)

OnAnswer = Callable[[int, ServerAnswer], None]

_UNPARSED = (
    "the server leaves tool calls in the text, where they count as none: start it with the "
    "tool-call parser of this model, or use completion mode"
)
_OTHER_TOKENS = (
    "the server reads {} tokens in our prompt, which has {}: it puts a begin-of-text token before "
    "it, or has another tokenizer"
)
_SUSPICIOUS = 5  # failures after which the server itself is tried


def generate_on_server(
    server: ServerOptions,
    requests: Sequence[ServerRequest],
    on_answer: OnAnswer,
    on_progress: Progress | None = None,
) -> None:
    """Ask for every request, `server.concurrency` at a time; no order among the answers.

    `on_answer(index of the request, answer)` is called once for each, as it is done, never two at
    a time. A request that fails for itself gives an answer with `error`. Ctrl-C (KeyboardInterrupt)
    and an exception of `on_answer` end it at once, with the connections closed.

    Raises: UserError, with the fix, where the server can be asked nothing: before anything is
    generated, or once it is gone for good, with requests left that were not reported.
    """
    if requests:
        run_async(_generate(server, list(requests), on_answer, on_progress))


def server_takes_ids(server: ServerOptions, ids: Sequence[int]) -> bool:
    """Whether prompts may be token ids (vLLM, SGLang, llama.cpp) or must be text.

    `ids` is a prompt of the model. Raises: UserError where the server can be asked nothing.
    """
    return run_async(_takes_ids(server, tuple(ids)))


async def _takes_ids(options: ServerOptions, ids: tuple[int, ...]) -> bool:
    async with open_client(options) as client:
        server = Server(client, options)
        await server.prepare(ServerRequest(prompt="Hello"))
        return await takes_ids(server, ids)


async def _generate(
    options: ServerOptions,
    requests: list[ServerRequest],
    on_answer: OnAnswer,
    on_progress: Progress | None,
) -> None:
    async with open_client(options) as client:
        server = Server(client, options)
        trial = trial_of(options, requests)
        await server.prepare(trial)
        answers = _Answers(server, trial, requests, on_answer, on_progress)
        todo = iter(enumerate(requests))  # shared: each worker takes the next

        async def work() -> None:
            for index, request in todo:
                await answers.deliver(index, await server.ask(request))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(options.concurrency, len(requests))):
                    group.create_task(work())
            await answers.examine()
        except BaseExceptionGroup as several:  # the others were cancelled by the first
            raise answers.explained(several.exceptions[0]) from None
        except UserError as error:
            raise answers.explained(error) from None


class _Answers:
    """Hands answers on; failures only once the server was seen to work after them."""

    def __init__(
        self,
        server: Server,
        trial: ServerRequest,
        requests: Sequence[ServerRequest],
        on_answer: OnAnswer,
        on_progress: Progress | None,
    ) -> None:
        self._server = server
        self._trial = trial
        self._requests = requests
        self._on_answer = on_answer
        self._on_progress = on_progress
        self._done = 0
        self._held: list[tuple[int, ServerAnswer]] = []
        self._asked_again: set[int] = set()
        self._examining = asyncio.Lock()
        self._warned: set[str] = set()

    async def deliver(self, index: int, answer: ServerAnswer) -> None:
        if not _is_suspicious(answer):
            self._report(index, answer)
            return
        self._held.append((index, answer))
        if len(self._held) >= _SUSPICIOUS:
            await self.examine()

    async def examine(self) -> None:
        """Try the server if anything failed. Raises UserError where it is the server's fault.

        A server that was away and is back is asked once more for what it missed.
        """
        async with self._examining:
            while self._held:
                await self._server.try_out(self._trial)
                held, self._held = self._held, []
                for index, answer in held:
                    if _code(answer) == "connection" and index not in self._asked_again:
                        self._asked_again.add(index)
                        again = await self._server.ask(self._requests[index])
                        if _is_suspicious(again):
                            self._held.append((index, again))
                            continue
                        answer = again
                    self._report(index, answer)

    def explained(self, error: BaseException) -> BaseException:
        """A UserError with what is kept; any other exception as it is."""
        if not isinstance(error, UserError):
            return error
        return UserError(
            f"{error.message}; {self._done} of {len(self._requests)} answers came and are kept",
            fix=f"{error.fix}; the same command then continues",
        )

    def _report(self, index: int, answer: ServerAnswer) -> None:
        self._on_answer(index, answer)
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, len(self._requests))
        request = self._requests[index]
        if request.expected_tokens is not None and answer.prompt_tokens is not None:
            counts = (answer.prompt_tokens, request.expected_tokens)
            self._warn_if(counts[0] != counts[1], _OTHER_TOKENS.format(*counts), "tokens")
        if "parser" not in self._warned:
            self._warn_if(_left_calls_in_text(request, answer), _UNPARSED, "parser")

    def _warn_if(self, true: bool, text: str, kind: str) -> None:
        """Say `text` once for all answers."""
        if true and kind not in self._warned:
            self._warned.add(kind)
            logger.warning(text)


def _left_calls_in_text(request: ServerRequest, answer: ServerAnswer) -> bool:
    if answer.calls != () or not request.tools:
        return False
    turn = parse_turn(answer.text)
    return turn.format != "bare_json" and any(call.status == "ok" for call in turn.calls)


def _is_suspicious(answer: ServerAnswer) -> bool:
    """Whether the failure may be the server's, and not this request's alone."""
    return _code(answer) not in ("", "prompt_too_long", "content_filter")


def _code(answer: ServerAnswer) -> str:
    return (answer.error or "").partition(":")[0]
