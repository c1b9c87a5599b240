"""A server on loopback that answers as a test tells it to, faults included."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "tiny"


@dataclass(frozen=True)
class Asked:
    """One request as it came in; `number` counts those of the same path from 0."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    number: int

    @property
    def question(self) -> str:
        """The last message, or the prompt."""
        if "messages" in self.body:
            return str(self.body["messages"][-1]["content"])
        return str(self.body.get("prompt"))


@dataclass(frozen=True)
class Reply:
    """What to send. `promised`: a longer Content-Length than is sent; `hang_up`: no reply at all;
    `stall`: stop in the middle of the body until the server is closed; `dribble`: send the body
    byte by byte, five a second; `last`: hang up at the next request on the same connection."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int = 0
    hang_up: bool = False
    stall: bool = False
    dribble: bool = False
    last: bool = False


Script = Callable[[Asked], Reply]


class Scripted:
    """A running server: its URL and what it was asked."""

    def __init__(self, script: Script) -> None:
        self.asked: list[Asked] = []
        self.busiest = 0  # requests that were being answered at the same time
        self._script = script
        self._busy = 0
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def questions(self) -> list[str]:
        """What was asked of the model, trials left out."""
        return [a.question for a in self.asked if a.body and not is_trial(a)]

    def close(self) -> None:
        if not self.closing.is_set():
            self.closing.set()
            self._http.shutdown()
            self._http.server_close()

    def _reply(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        with self._lock:
            number = sum(asked.path == path for asked in self.asked)
            asked = Asked(path, body, headers, number)
            self.asked.append(asked)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        return self._script(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                self._answer(json.loads(self.rfile.read(size)))

            def _answer(self, body: dict[str, Any]) -> None:
                headers = {key.lower(): value for key, value in self.headers.items()}
                if getattr(self, "is_over", False):
                    self.close_connection = True
                    return
                reply = scripted._reply(self.path, body, headers)
                self.is_over = reply.last
                with scripted._lock:  # before it is sent: the client may ask again at once
                    scripted._busy -= 1
                if reply.hang_up or scripted.closing.is_set():
                    self.close_connection = True
                    return
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body)
                data = data if isinstance(data, bytes) else data.encode()
                self.send_response(reply.status)
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data) + reply.promised))
                self.end_headers()
                if reply.stall:
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    scripted.closing.wait(30)
                    self.close_connection = True
                    return
                if reply.dribble:
                    for byte in data:
                        self.wfile.write(bytes([byte]))
                        if scripted.closing.wait(0.2):
                            break
                    self.close_connection = True
                    return
                self.wfile.write(data)
                self.close_connection = bool(reply.promised)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def scripted_server(script: Script) -> Iterator[Scripted]:
    server = Scripted(script)
    try:
        yield server
    finally:
        server.close()


def is_trial(asked: Asked) -> bool:
    return asked.question == "Hello"


def chat_reply(text: str | None = None, **message: Any) -> Reply:
    """A chat completion; `finish_reason` and `usage` are taken out of the message."""
    finish = message.pop("finish_reason", "stop")
    usage = message.pop("usage", {"prompt_tokens": 7, "completion_tokens": 3})
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
    }
    return Reply({"choices": [choice], "usage": usage})


def text_reply(text: str, finish: str = "stop") -> Reply:
    choice = {"index": 0, "text": text, "finish_reason": finish}
    return Reply({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})


def error_reply(status: int, message: str, **headers: str) -> Reply:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Reply({"error": {"message": message}}, status, named)


def polite(script: Script) -> Script:
    """`script` for the questions; the model list and trials are answered as they should be."""

    def answered(asked: Asked) -> Reply:
        if asked.path.endswith("/models"):
            return Reply({"data": [{"id": MODEL}]})
        if is_trial(asked):
            return chat_reply("Hi") if "messages" in asked.body else text_reply("Hi")
        return script(asked)

    return answered


def no_models(_: Asked) -> Reply:
    return Reply(None, 404)
