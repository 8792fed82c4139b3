"""Following a batch on servers of all kinds, and on one that goes away for a moment."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from typing import Any

import pytest

from batch_cli.client import follow as following
from batch_cli.client.api import Api
from batch_cli.client.errors import ApiError, UnreachableError
from batch_common.secret import Secret


class Server(ThreadingHTTPServer):
    """Answers GETs from a script: path → answers in turn, the last one for ever."""

    daemon_threads = True

    def __init__(self, script: dict[str, list[tuple[int, bytes]]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.asked: list[str] = []
        self.keys: set[str | None] = set()

    @property
    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.server_port}/v1", Secret("sk-1"))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v1")
        self.server.asked.append(path)
        self.server.keys.add(self.headers["Authorization"])
        answers = self.server.script.get(path) or [(404, b'{"error": {"message": "no route"}}')]
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 0:  # cut off: the length that was promised does not come
            status, more = 200, 10
        else:
            more = 0
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) + more))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def serving(script: dict[str, list[tuple[int, bytes]]]) -> Iterator[Server]:
    with Server(script) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def state(status: str, completed: int = 0) -> bytes:
    counts = {"total": 9, "completed": completed, "failed": 0}
    return json.dumps({"id": "batch_1", "status": status, "request_counts": counts}).encode()


def events(*states: bytes) -> bytes:
    return b"".join(b"data: " + one + b"\n\n" for one in states)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_POLL_S", 0.01)
    monkeypatch.setattr(following, "_RETRY_S", 0.01)


def statuses(server: Server) -> list[str]:
    """Without those that came again."""
    seen = [content["status"] for content in following.follow(server.api, "batch_1")]
    return [status for status, _ in groupby(seen)]


def test_events_to_the_end() -> None:
    stream = events(state("in_progress"), state("completed"))
    script = {
        "/batches/batch_1": [(200, state("validating"))],
        "/batches/batch_1/events": [(200, stream)],
    }
    with serving(script) as server:
        assert statuses(server) == ["validating", "in_progress", "completed"]
        assert server.keys == {"Bearer sk-1"}


def test_while_nothing_is_new_the_last_state_comes_again() -> None:
    """So that a display can say for how long."""
    silence = b": keep-alive\n\n"
    stream = events(state("in_progress", 3)) + 2 * silence + events(state("completed", 9))
    script = {
        "/batches/batch_1": [(200, state("validating"))],
        "/batches/batch_1/events": [(200, stream)],
    }
    with serving(script) as server:
        counts = [
            content["request_counts"]["completed"]
            for content in following.follow(server.api, "batch_1")
        ]
    assert counts == [0, 3, 3, 3, 9]


def test_polling_where_there_are_no_events() -> None:
    states = [(200, state(s)) for s in ("validating", "in_progress", "completed")]
    with serving({"/batches/batch_1": states}) as server:
        assert statuses(server) == ["validating", "in_progress", "completed"]
        assert server.asked.count("/batches/batch_1/events") == 1


def test_a_stream_that_breaks_is_taken_up_again() -> None:
    script = {
        "/batches/batch_1": [(200, state("validating"))],
        "/batches/batch_1/events": [
            (0, events(state("in_progress", 1))),
            (503, b"{}"),
            (200, events(state("in_progress", 5), state("completed"))),
        ],
    }
    with serving(script) as server:
        seen = statuses(server)
    assert seen[-1] == "completed"
    assert server.asked.count("/batches/batch_1/events") == 3


def test_an_unknown_batch_is_not_waited_for() -> None:
    with serving({}) as server, pytest.raises(ApiError, match="no route"):
        statuses(server)


def test_a_download_that_is_cut_off_is_no_success() -> None:
    script = {"/files/f/content": [(0, b"half of the file")]}
    with (
        serving(script) as server,
        pytest.raises(UnreachableError, match="broke in the middle"),
        server.api.stream("GET", "/files/f/content") as answer,
    ):
        list(answer.pieces())


def test_a_page_of_something_else_is_said_to_be_that() -> None:
    script = {"/batches": [(200, b"<html>")], "/models": [(502, b"<html>")]}
    with serving(script) as server:
        with pytest.raises(UnreachableError, match="not what the API promises"):
            server.api.get("/batches")
        with pytest.raises(ApiError, match="HTTP status 502"):
            server.api.get("/models")
