"""A server that answers as a test says: what proxies, other web sites and broken networks do, and no platform does."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = {"Datarun-Version": "0.1.0"}


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """`cut`: the connection ends after this many bytes of the body; -1: before anything is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


Script = Callable[[Asked], Answer]


def datarun(content: Any, status: int = 200, **headers: str) -> Answer:
    """As datarun answers: JSON and its version."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        status, json.dumps(content).encode(), VERSION | {"Content-Type": "application/json"} | named
    )


def problem(
    status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Answer:
    body = {"type": f"/problems/{kind}", "title": "No", "status": status, "detail": detail, **members}
    media_type = {"Content-Type": "application/problem+json"}
    return Answer(status, json.dumps(body).encode(), VERSION | media_type | dict(headers or {}))


def page(text: str, status: int = 200, **headers: str) -> Answer:
    """A web page of something else."""
    return Answer(status, text.encode(), {"Content-Type": "text/html", **headers})


DROPPED = Answer(cut=-1)


class Scripted(ThreadingHTTPServer):
    """Answers with what `answers` has, in order, then with what `script` says; `asked` are all requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.answers: deque[Answer] = deque()
        self.script: Script = lambda asked: problem(404, "not-found", "There is no such route.")
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, dict(self.headers), body)
        self.server.asked.append(asked)
        answer = self.server.answers.popleft() if self.server.answers else self.server.script(asked)
        if answer.cut is not None:
            self.close_connection = True
            if answer.cut < 0:
                return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut])

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815 - the library's names

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    with Scripted() as server:
        server.answers.extend(answers)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
