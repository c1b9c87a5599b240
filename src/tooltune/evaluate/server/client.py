"""One HTTP exchange with a server, and a name for everything that can go wrong in it."""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import time
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2

from tooltune.errors import UserError
from tooltune.evaluate.server.types import ServerOptions

FaultKind = Literal[
    "connection",  # refused, reset, lost in the middle of a body
    "timeout",
    "rate_limited",
    "server_error",
    "bad_answer",  # a 200 that holds no answer
    "refused",  # this request, and perhaps only it, is not wanted
    "prompt_too_long",
    "setup",  # no request can succeed: key, URL, model name
]

_LARGEST_BODY = 64 * 2**20  # bytes; an answer is a few kilobytes
_LONGEST_QUOTE = 300  # characters of the server's own words
_CONNECT_SECONDS = 10.0

# OpenAI, vLLM, SGLang, llama.cpp, TGI and Anthropic-like gateways say it in these ways.
_TOO_LONG = re.compile(
    r"context.?length|maximum context|context.?(size|window)|exceed_context|max_model_len"
    r"|prompt is too long|too many (input )?tokens|maximum (model|input|sequence|prompt) length"
    r"|longer than the (model|maximum|context)|input (is too long|length .* exceeds)"
    r"|inputs` tokens \+ `max_new_tokens",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(r"insufficient_quota|billing|credit balance", re.IGNORECASE)


class ServerFault(Exception):
    """An exchange that gave no answer; `message` is scrubbed and on one line.

    `retry_after`: seconds that the server asked to wait; `status`: of HTTP, None without a reply;
    `attempts`: how often it was tried.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.attempts = 1


def open_client(server: ServerOptions) -> httpx2.AsyncClient:
    """A client with the key inside. It follows no redirect: nobody else is to be told the key."""
    headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
    host = urlsplit(server.base_url).hostname or ""
    limits = httpx2.Limits(max_connections=server.concurrency)
    try:
        return httpx2.AsyncClient(
            headers=headers,
            limits=limits,
            timeout=httpx2.Timeout(server.timeout_s, connect=_CONNECT_SECONDS),
            trust_env=not _is_loopback(host),  # no proxy leads to this machine
        )
    except (ValueError, ImportError, OSError) as error:  # proxies and certificates of the system
        words = server.scrub(_one_line(str(error)))
        raise UserError(
            f"no HTTP client can be made from the environment: {words}",
            fix="check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE",
        ) from error


async def exchange(
    client: httpx2.AsyncClient,
    server: ServerOptions,
    url: str,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """POST `body` (or GET without one); the JSON object of the reply. Raises ServerFault."""
    try:
        # httpx's own time-outs start anew with every byte that dribbles in.
        async with asyncio.timeout(server.timeout_s):
            reply, data = await _send(client, url, body)
    except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout, httpx2.PoolTimeout):
        raise ServerFault("timeout", f"no whole answer within {server.timeout_s:g} s") from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise ServerFault("setup", server.scrub(_one_line(str(error)))) from None
    except httpx2.DecodingError as error:
        raise ServerFault("bad_answer", _one_line(f"the body cannot be read: {error}")) from None
    except httpx2.TransportError as error:
        words = _one_line(str(error)) or type(error).__name__
        raise ServerFault("connection", server.scrub(words)) from None
    text = data.decode("utf-8", errors="replace")
    if reply.is_success:
        return _object(text, reply.status_code)
    raise _fault(reply, text, server)


async def _send(
    client: httpx2.AsyncClient, url: str, body: Mapping[str, Any] | None
) -> tuple[httpx2.Response, bytes]:
    content = None if body is None else json.dumps(body).encode()
    method, headers = "POST", {"Content-Type": "application/json"}
    if body is None:  # a server that fails at it (transformers serve may) hangs up without a word
        method, headers = "GET", {"Connection": "close"}
    async with client.stream(method, url, content=content, headers=headers) as reply:
        data = bytearray()
        async for chunk in reply.aiter_bytes():
            data += chunk
            if len(data) > _LARGEST_BODY:
                raise ServerFault("bad_answer", "the body is larger than 64 MiB")
        return reply, bytes(data)


def _object(text: str, status: int) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ServerFault("bad_answer", "the body is no JSON", status=status) from None
    if not isinstance(value, dict):
        raise ServerFault("bad_answer", "the body is no JSON object", status=status)
    return value


def _fault(reply: httpx2.Response, text: str, server: ServerOptions) -> ServerFault:
    status = reply.status_code
    words = server.scrub(_quote(error_message(text)))
    message = f"HTTP {status}" + (f": {words}" if words else "")
    kind: FaultKind = "refused"
    if 300 <= status < 400:
        kind, message = "setup", f"HTTP {status}: it redirects elsewhere"
    elif status in (401, 402, 403) or (status == 429 and _NO_MONEY.search(words)):
        kind = "setup"
    elif status == 429:
        kind = "rate_limited"
    elif status == 413 or _TOO_LONG.search(words):
        kind = "prompt_too_long"
    elif status in (404, 405, 410, 501):
        kind = "setup"
    elif status in (408, 409, 425) or status >= 500:
        kind = "server_error"
    return ServerFault(kind, message, status=status, retry_after=_retry_after(reply.headers))


def error_message(text: str) -> str:
    """The server's own words in the body of an error; the body itself where it is another kind."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail", "error"):
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: a number or a date (RFC 9110 10.2.3), or milliseconds as OpenAI gives."""
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        pass
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        date = email.utils.parsedate_tz(text)
        if date is None:
            return None
        try:
            seconds = email.utils.mktime_tz(date) - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None  # NaN is no number of seconds


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quote(text: str) -> str:
    line = _one_line(text[: 20 * _LONGEST_QUOTE])
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
