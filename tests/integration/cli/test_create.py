"""What the client creates it creates once, over servers that fail, restart and lose answers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from batch_cli.client import create as creating
from batch_cli.client.api import Api, json_body
from batch_cli.client.create import create
from batch_cli.client.errors import ApiError, NoServerError, NotOursError, UnreachableError
from batch_cli.client.upload import upload
from batch_common.secret import Secret
from support.ports import free_port

LOST = 0  # the object is made, its answer lost
GONE = -1  # the server restarts


class Server(ThreadingHTTPServer):
    """Makes an object for each key it has not seen; answers by a script, then with 200."""

    daemon_threads = True

    def __init__(self, script: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.keys: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.server_port}/v1", Secret(""))

    @property
    def made(self) -> int:
        return len(set(self.keys))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.script.pop(0) if self.server.script else 200
        if status in {200, LOST}:
            self.server.keys.append(self.headers["Idempotency-Key"])
        if status > 0:
            content = json.dumps({"id": "batch_1", "error": {"message": "said so"}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def serving(*script: int) -> Iterator[Server]:
    with Server(list(script)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creating, "_PAUSE_S", 0.01)


def post(server: Server) -> Any:
    return create(server.api, "/batches", lambda: json_body({"a": 1}))


def test_a_lost_answer_makes_no_second_batch() -> None:
    with serving(LOST, 503, GONE, LOST) as server:
        assert post(server)["id"] == "batch_1"
        assert (server.made, len(server.bodies)) == (1, 5)
        post(server)
        assert server.made == 2


@pytest.mark.parametrize("status", [400, 401, 404, 409, 507])
def test_a_refusal_stands(status: int) -> None:
    with serving(status) as server, pytest.raises(ApiError, match="said so"):
        post(server)
    assert len(server.bodies) == 1


def test_no_server_is_said_at_once() -> None:
    api = Api(f"http://127.0.0.1:{free_port()}/v1", Secret(""))
    with pytest.raises(NoServerError, match="vllm-batch up"):
        create(api, "/batches", json_body)


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creating, "_GIVE_UP_S", 0.2)
    with serving(*[GONE] * 1000) as server, pytest.raises(UnreachableError):
        post(server)
    assert len(server.bodies) > 1


def test_a_file_is_sent_again_whole_and_counted_once(tmp_path: Path) -> None:
    path, sent = tmp_path / "in.jsonl", list[int]()
    path.write_bytes(b"x" * 3_000_000)
    with serving(502, LOST) as server:
        assert upload(server.api, path, sent.append) == "batch_1"
        assert [body.count(b"x" * 3_000_000) for body in server.bodies] == [1, 1, 1]
        assert server.made == 1
    assert sum(sent) == 3_000_000


def test_something_else_at_that_address_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json, "dumps", lambda _: "<html>")
    with serving() as server, pytest.raises(NotOursError):
        post(server)
    assert len(server.bodies) == 1
