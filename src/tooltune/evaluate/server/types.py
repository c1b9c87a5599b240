"""What is asked of a server and what it answered."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from tooltune.errors import UserError
from tooltune.scrub import MASK, scrub_text
from tooltune.toolcalls.types import ParsedToolCall

Mode = Literal["chat", "completion"]

API_KEY_VARIABLE = "OPENAI_API_KEY"
_OURS = ("messages", "prompt", "tools", "model", "stream", "n")
_ENDPOINT = re.compile(r"/(chat/completions|completions|models)$")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where a server is and how to ask it. Raises UserError for values that make no sense.

    base_url: as OpenAI clients take it, such as `http://localhost:8000/v1`; a URL without a path
        gets `/v1`.
    model: the name that the server serves it under; None: the only one that it lists.
    api_key: sent as a bearer token; shown nowhere.
    mode: "chat": the server renders and parses. "completion": it continues our own prompt.
    timeout_s: seconds that one attempt may take, connecting and reading together.
    max_retries: attempts after the first, for what may pass: no connection, 408, 429, 5xx.
    requests_per_minute: the most that is sent, retries included; None: as fast as it answers.
    temperature: 0 is greedy; None leaves it (and `top_p`, `seed`) to the server.
    stop_ids, stop_texts: in completion mode, what ends a turn beside the model's own stop.
    extra_body: further keys of every request, such as `{"chat_template_kwargs": {...}}`.
    """

    base_url: str
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    mode: Mode = "chat"
    concurrency: int = 8
    timeout_s: float = 300.0
    max_retries: int = 5
    requests_per_minute: float | None = None
    max_new_tokens: int = 256
    temperature: float | None = 0.0
    top_p: float | None = None
    seed: int | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    stop_ids: tuple[int, ...] = ()
    stop_texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_http(self.base_url):
            raise UserError(
                f"server {self.scrub(self.base_url)!r} is no http(s) URL",
                fix="write it as http://localhost:8000/v1",
            )
        if self.mode not in get_args(Mode):
            raise UserError(f"server mode {self.mode!r}", fix="use chat or completion")
        for name, least in (("concurrency", 1), ("max_retries", 0), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}", fix=f"use {least} or more")
        for name in ("timeout_s", "requests_per_minute"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value}", fix="use a number above 0")
        taken = [key for key in _OURS if key in self.extra_body]
        if taken:
            raise UserError(
                f"extra_body sets {taken[0]!r}, which the evaluation itself decides",
                fix="leave it out",
            )

    @property
    def api_url(self) -> str:
        """Where `/chat/completions` and the like are, without a slash at the end."""
        url = _ENDPOINT.sub("", self.base_url.rstrip("/"))
        return url if re.match(r"https?://[^/]+/", url) else f"{url}/v1"

    @property
    def root_url(self) -> str:
        """Where a server has what OpenAI has not (`/tokenize`)."""
        return re.sub(r"/v\d+$", "", self.api_url)

    def scrub(self, text: str) -> str:
        """`text` without the key and every other known secret."""
        return scrub_text(text.replace(self.api_key, MASK) if self.api_key else text)


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One turn to generate.

    messages, tools: OpenAI dictionaries; arguments of calls may be objects. Used in chat mode.
    prompt: text or token ids that are to be continued. Used in completion mode.
    settings: those of `tool_choice`, `parallel_tool_calls` and `response_format` that hold for it.
    seed: overrides that of the options, for repeated samples.
    expected_tokens: of a prompt that is text: how many tokens it is to us; the run warns where the
        server counts others (it put a begin-of-text token before it, or has another tokenizer).
    """

    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] | None = None
    prompt: str | tuple[int, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    expected_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What came of a request.

    text: the answer's text; in completion mode all that was generated.
    calls: the calls that the server parsed (status `ok` says nothing of whether the tool exists);
        None in completion mode, where the text is yet to be parsed.
    error: None, or why there is no answer: a code (`prompt_too_long`, `timeout`, `connection`,
        `server_error`, `rate_limited`, `bad_answer`, `refused`, `content_filter`, `aborted`), and
        where there is more to say `: ` and the server's own words, scrubbed.
    prompt_tokens, completion_tokens: as the server counts them; None where it does not.
    attempts: requests sent for it.
    """

    text: str = ""
    reasoning: str | None = None
    calls: tuple[ParsedToolCall, ...] | None = None
    finish_reason: Literal["stop", "length", "error"] = "stop"
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    attempts: int = 1


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        return False


def api_key_from_environment(variable: str | None = None) -> str | None:
    """The key in `variable`, or in `OPENAI_API_KEY`, if set. A key is never an argument or in YAML.

    Raises UserError where a variable was named and is empty, or where it cannot be a header.
    """
    name = variable or API_KEY_VARIABLE
    key = os.environ.get(name, "").strip()
    if variable and not key:
        raise UserError(
            f"the environment variable {variable} is not set, and the server's key is to be in it",
            fix=f"export {variable}=...",
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"the key in {name} holds characters that no HTTP header can carry",
            fix=f"set {name} to the key alone",
        )
    return key or None
