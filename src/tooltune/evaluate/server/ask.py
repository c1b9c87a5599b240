"""Ask one server: attempts, waits, and whether the server itself is at fault."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import httpx2

from tooltune.errors import UserError
from tooltune.evaluate.server.answers import read_answer
from tooltune.evaluate.server.bodies import RequestForm, request_body, request_path
from tooltune.evaluate.server.client import ServerFault, exchange
from tooltune.evaluate.server.pace import Pace
from tooltune.evaluate.server.types import API_KEY_VARIABLE, ServerAnswer, ServerOptions
from tooltune.evaluate.server.types import ServerRequest as Request

_FINAL = ("setup", "refused", "prompt_too_long")
_ONCE_MORE = ("timeout", "bad_answer")  # likely to come again; a time-out costs minutes
_LONGEST_PAUSE = 300.0  # seconds; who is asked to wait longer does better to come back
_LISTED = 5  # model names in a message
_TRIAL_TOKENS = 16

_T = TypeVar("_T")

_HELLO = [{"role": "user", "content": "Hello"}]
_TRIAL_TOOL = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
_FIXES = (
    (
        r"enable-auto-tool-choice|tool-call-parser",
        "start vLLM with --enable-auto-tool-choice --tool-call-parser NAME, or use completion mode",
    ),
    (r"--jinja|jinja flag", "start llama-server with --jinja, or use completion mode"),
    (r"temperature", "leave the temperature to the server (none), which is then not greedy"),
    (r"chat.?template", "start the server with this model's chat template, or use completion mode"),
)


class Server:
    """A server that was tried and found to answer, in the form that it takes."""

    def __init__(self, client: httpx2.AsyncClient, options: ServerOptions) -> None:
        self.options = options
        self.form = RequestForm(options.model or "")
        self._client = client
        self._pace = Pace(options.requests_per_minute)
        self._listed: list[str] = []

    async def prepare(self, trial: Request) -> None:
        """Find the model and the form of requests that it takes.

        Raises UserError where nothing can be asked of this server, with the fix.
        """
        try:
            self._listed = await self._models()
        except ServerFault as fault:
            if fault.kind in ("connection", "timeout") or fault.status in (401, 402, 403):
                raise self.setup_error(fault) from None
        if self.options.model is None:
            self.form = RequestForm(self._only_model())
        await self.try_out(trial)

    async def try_out(self, trial: Request) -> None:
        """Send a request that any server can answer. Raises UserError where it does not."""
        options = replace(self.options, max_new_tokens=_TRIAL_TOKENS)
        while True:
            try:
                await self._attempts(trial, options)
                return
            except ServerFault as fault:
                body = request_body(options, self.form, trial)
                other = self.form.without(fault.message, body) if fault.kind == "refused" else None
                if other is None:
                    raise self.setup_error(fault) from None
                self.form = other

    async def answer(self, request: Request, options: ServerOptions) -> ServerAnswer:
        """The answer under other options than the server's own. Raises ServerFault."""
        return await self._attempts(request, options)

    async def ask(self, request: Request) -> ServerAnswer:
        """An answer, or one with `error` set. Raises UserError where no request can succeed."""
        try:
            return await self._attempts(request, self.options)
        except ServerFault as fault:
            if fault.kind == "setup":
                raise self.setup_error(fault) from None
            error = fault.kind if fault.kind == "prompt_too_long" else f"{fault.kind}: {fault}"
            return ServerAnswer(finish_reason="error", error=error, attempts=fault.attempts)

    async def post(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that another endpoint of the server replies. Raises ServerFault."""
        return await self._retrying(
            lambda: exchange(self._client, self.options, url, body), self.options.max_retries
        )

    async def _attempts(self, request: Request, options: ServerOptions) -> ServerAnswer:
        """The answer of the first attempt that gives one, else the last one's ServerFault."""
        attempts = 0

        async def attempt() -> ServerAnswer:
            nonlocal attempts
            attempts += 1
            body = request_body(options, self.form, request)
            reply = await exchange(self._client, options, request_path(options), body)
            return read_answer(reply, options.mode)

        answer = await self._retrying(attempt, options.max_retries)
        return replace(answer, attempts=attempts)

    async def _retrying(self, send: Callable[[], Awaitable[_T]], retries: int) -> _T:
        attempt = 0
        while True:
            attempt += 1
            await self._pace.turn()
            try:
                return await send()
            except ServerFault as fault:
                fault.attempts = attempt
                left = min(retries, 1) if fault.kind in _ONCE_MORE else retries
                if fault.kind in _FINAL or attempt > left:
                    raise
                await self._wait(fault, attempt)

    async def _wait(self, fault: ServerFault, attempt: int) -> None:
        if fault.retry_after is None:
            await self._pace.back_off(attempt)
            return
        if fault.retry_after > _LONGEST_PAUSE:
            raise UserError(
                f"{self._url} asks to be left alone for {fault.retry_after:,.0f} s "
                f"({fault.message}); the answers so far are kept",
                fix="run the same command again after that time: it continues where it stopped",
            )
        self._pace.pause(fault.retry_after)

    async def _models(self) -> list[str]:
        """The names that the server lists, as far as it does."""
        options = replace(self.options, timeout_s=min(self.options.timeout_s, 30.0))
        reply = await self._retrying(
            lambda: exchange(self._client, options, f"{options.api_url}/models"),
            min(2, options.max_retries),
        )
        entries = reply.get("data")
        entries = entries if isinstance(entries, list) else []
        names = (entry.get("id") for entry in entries if isinstance(entry, dict))
        return [name for name in names if isinstance(name, str)]

    def _only_model(self) -> str:
        if len(self._listed) == 1:
            return self._listed[0]
        raise UserError(
            f"{self._url} lists {len(self._listed)} models{self._some_models()}, and none is named",
            fix="name the model as the server does",
        )

    def setup_error(self, fault: ServerFault) -> UserError:
        """Why this server can be asked nothing, and what to do."""
        options = self.options
        key = f"the environment variable {API_KEY_VARIABLE}, or the one that you name,"
        if fault.kind == "connection":
            what, fix = "cannot be reached", "start the server, or mend the URL (host, port, path)"
        elif fault.kind == "timeout":
            what, fix = "does not answer", "wait until it has loaded, or give it a longer time-out"
        elif fault.status in (401, 403):
            what, fix = "refuses the key", f"put a valid key into {key} and run again"
            if options.api_key is None:
                what, fix = "wants a key", f"put the key into {key} and run again"
        elif fault.status == 404:
            what = f"has no model {self.form.model!r} or no {request_path(options)}"
            fix = f"mend the URL or the model's name{self._some_models()}"
        elif fault.status == 405:
            what, fix = "does not know this path", "mend the URL: it mostly ends in /v1"
        elif fault.kind in ("rate_limited", "server_error"):
            what, fix = "answers with errors only", "look at the server's log, or try again later"
        elif fault.kind == "bad_answer":
            what, fix = "gives answers that are none", "check that the URL is an OpenAI-style API"
        else:
            what, fix = "refuses a plain request", "mend what it names, or use the other mode"
        fix = next((text for sign, text in _FIXES if re.search(sign, fault.message)), fix)
        return UserError(f"{self._url} {what} ({fault.message})", fix=fix)

    @property
    def _url(self) -> str:
        return f"server {self.options.scrub(self.options.base_url)}"

    def _some_models(self) -> str:
        if not self._listed:
            return ""
        more = len(self._listed) - _LISTED
        shown = ", ".join(self._listed[:_LISTED]) + (f" and {more} more" if more > 0 else "")
        return f"; it serves {shown}"


def trial_of(options: ServerOptions, requests: list[Request]) -> Request:
    """A short request of the same kind as `requests`."""
    if options.mode == "chat":
        tools = [_TRIAL_TOOL] if any(request.tools for request in requests) else None
        return Request(messages=_HELLO, tools=tools)
    prompt = requests[0].prompt
    return Request(prompt="Hello" if isinstance(prompt, str) or not prompt else prompt[:8])


async def takes_ids(server: Server, ids: tuple[int, ...]) -> bool:
    """Whether a server in completion mode takes token ids as a prompt."""
    try:
        await server.try_out(Request(prompt=ids[:8]))
    except UserError:
        return False
    return True
