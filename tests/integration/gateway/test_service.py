"""What surrounds the routes: errors, headers, health, the OpenAPI document, start and stop."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from prometheus_client import REGISTRY

from batch_common import presence
from batch_common.bus import connect
from batch_common.config import Config, Gateway
from batch_common.config import Database as DatabaseSettings
from batch_common.errors import StartError
from batch_common.events import GpuState, ModelState, RunnerState
from batch_common.secret import Secret
from batch_gateway.app import run
from batch_gateway.server import listen
from support.gateway import LINE, make_batch, make_file
from support.nats_process import NatsProcess
from support.ports import free_port


async def test_every_error_has_openais_form(served: Any) -> None:
    for method, path, status, message in [
        ("POST", "/v1/x", 404, "Invalid URL (POST /v1/x)"),
        ("GET", "/", 404, "Invalid URL (GET /)"),
        ("GET", "/v1/files/a/b/c", 404, "Invalid URL (GET /v1/files/a/b/c)"),
        ("DELETE", "/v1/batches", 405, "Not allowed to DELETE on /v1/batches"),
        ("PUT", "/v1/files/file-x", 405, "Not allowed to PUT on /v1/files/file-x"),
        ("POST", "/v1/batches", 400, "The body of the request is not valid JSON"),
    ]:
        answer = await served.http.request(method, path)
        assert answer.status_code == status, path
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"].startswith(message)
        assert error["type"] == "invalid_request_error"
        assert answer.headers["x-request-id"].startswith("req_")
        assert int(answer.headers["openai-processing-ms"]) >= 0


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/files HTTP/1.1\r\nhost: x\r\nx-note: a\x7fb\r\n\r\n",
        b"GET /v1/files HTTP/1.1\r\nhost: x\r\nx note: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS",
    ],
)
async def test_what_is_no_http_is_told_so_in_openais_form(served: Any, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.config.gateway.port)
    writer.write(sent)
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == "HTTP/1.1 400 Bad Request"
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["content-length"]) == len(body)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].startswith("The request is not valid HTTP/1.1")


async def test_a_json_body_beyond_reason(served: Any) -> None:
    answer = await served.http.post("/v1/batches", content=b"{" + b" " * (3 << 20))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The request body is too large."


async def test_no_spelling_of_a_path_goes_around_the_keys(two_tenants: Any) -> None:
    for path in ["/v1/files", "//v1/files", "/v1//files", "/V1/files", "/v1/x", "/schema/../v1"]:
        answer = await two_tenants.http.get(f"{two_tenants.url}{path}")
        assert answer.status_code == 401, path
        assert answer.headers["x-request-id"]
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_health_needs_no_key(two_tenants: Any) -> None:
    for path in ("/healthz", "/readyz", "/schema"):
        assert (await two_tenants.http.get(path)).status_code == 200


async def test_ready_counts_runners_that_are_ready(served: Any) -> None:
    async with connect(served.config.nats, "test") as bus:
        lost = GpuState(
            index=0, uuid="GPU-1", name="A100", health="critical", reason="Xid 79", temperature_c=95
        )
        for name, status, reason, gpus in (
            ("r1", "ready", None, ()),
            ("r2", "down", "GPU 0: Xid 79", (lost,)),
        ):
            models = (ModelState(name="org/m", endpoints=("/v1/embeddings",)),)
            state = RunnerState(
                runner=name, engine="sim", models=models, status=status, reason=reason, gpus=gpus
            )
            await presence.announce(bus, state)
    answer = await served.http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "nats": "ok", "blobs": "ok"},
        "models": {"org/m": {"runners": 1}},
        "runners": [
            {
                "id": "r1",
                "engine": "sim",
                "status": "ready",
                "reason": None,
                "models": ["org/m"],
                "in_flight": 0,
                "gpus": [],
            },
            {
                "id": "r2",
                "engine": "sim",
                "status": "down",
                "reason": "GPU 0: Xid 79",
                "models": ["org/m"],
                "in_flight": 0,
                "gpus": [
                    {
                        "index": 0,
                        "name": "A100",
                        "health": "critical",
                        "reason": "Xid 79",
                        "temperature_c": 95,
                    }
                ],
            },
        ],
    }


async def test_without_nats_it_is_alive_but_not_ready_and_still_accepts(
    served: Any, nats_process: NatsProcess
) -> None:
    """Batches are rows first; their events wait in the outbox."""
    await nats_process.stop()
    answer = await served.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["checks"]["nats"] != "ok"
    assert answer.json()["checks"]["database"] == "ok"
    assert (await served.http.get("/healthz")).json() == {"status": "ok"}
    assert (await make_batch(served.http))["status"] == "validating"
    await nats_process.start()


async def test_the_openapi_document_is_valid_and_complete(served: Any) -> None:
    document = (await served.http.get("/schema")).json()
    validate(document)
    assert set(document["paths"]) == {
        "/v1/files",
        "/v1/files/{file_id}",
        "/v1/files/{file_id}/content",
        "/v1/uploads",
        "/v1/uploads/{upload_id}/parts",
        "/v1/uploads/{upload_id}/complete",
        "/v1/uploads/{upload_id}/cancel",
        "/v1/batches",
        "/v1/batches/{batch_id}",
        "/v1/batches/{batch_id}/cancel",
        "/v1/batches/{batch_id}/retry",
        "/v1/batches/{batch_id}/results",
        "/v1/batches/{batch_id}/events",
        "/v1/batches/{batch_id}/deliveries",
        "/v1/webhook_endpoints",
        "/v1/webhook_endpoints/{endpoint_id}",
        "/v1/webhook_endpoints/{endpoint_id}/rotate_secret",
        "/v1/webhook_endpoints/{endpoint_id}/test",
        "/v1/webhook_event_types",
        "/v1/models",
        "/v1/models/{model}",
        "/healthz",
        "/readyz",
    }
    form = document["paths"]["/v1/files"]["post"]["requestBody"]["content"]
    assert set(form["multipart/form-data"]["schema"]["required"]) == {"file", "purpose"}
    ids = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))


async def test_metrics_count_by_route_template(served: Any) -> None:
    def count(**labels: str) -> float:
        return REGISTRY.get_sample_value("vllm_batch_gateway_requests_total", labels) or 0.0

    def uploaded() -> float:
        return REGISTRY.get_sample_value("vllm_batch_gateway_upload_bytes_total") or 0.0

    labels = {"method": "GET", "route": "/v1/files/{file_id}", "status": "404"}
    before, bytes_before = count(**labels), uploaded()
    await served.http.get("/v1/files/file-x")
    await make_file(served.http)
    assert count(**labels) == before + 1
    assert uploaded() == bytes_before + len(LINE)


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as caught:
            listen(Gateway(port=port))
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "gateway.port" in str(caught.value)


def test_a_host_that_is_not_ours() -> None:
    with pytest.raises(StartError, match=r"gateway\.host"):
        listen(Gateway(host="localhost.invalid", api_keys={"k": "t"}))  # type: ignore[arg-type]


async def test_a_taken_port_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(data_dir=str(folder), gateway=Gateway(port=taken.getsockname()[1]))
        with pytest.raises(StartError, match="another process listens there"):
            await run(config, asyncio.Event())
    assert not folder.exists()


async def test_a_request_in_flight_ends_before_the_service_does(serve: Any) -> None:
    """The drain: no new connections, but the answer still comes."""
    served = await serve(gateway={"drain_s": 20.0})
    body = json.dumps(
        {"input_file_id": "file-x", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.config.gateway.port)
    head = f"POST /v1/batches HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[:10])
    await writer.drain()
    await asyncio.sleep(0)
    assert (await served.http.get("/healthz")).status_code == 200
    served.stop.set()

    async def refused() -> None:
        while True:
            try:
                async with httpx.AsyncClient(base_url=served.url) as other:
                    await other.get("/healthz")
            except httpx.ConnectError:
                return
            except httpx.TransportError:
                continue  # accepted by the kernel just before the listener closed

    await asyncio.wait_for(refused(), 5)
    assert not served.task.done()
    writer.write(body[10:])
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 200")
    await asyncio.wait_for(served.task, 5)
    writer.close()


async def test_two_gateways_one_port() -> None:
    port = free_port()
    first = listen(Gateway(port=port))
    with pytest.raises(StartError, match=str(port)):
        listen(Gateway(port=port))
    for sock in first:
        sock.close()


async def test_a_database_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    url = Secret(f"postgresql://user:hidden@127.0.0.1:{free_port()}/x")
    config = Config(
        data_dir=str(tmp_path), database=DatabaseSettings(url=url), gateway=Gateway(port=0)
    )
    with pytest.raises(StartError, match=r"database\.url") as caught:
        await run(config, asyncio.Event())
    assert "hidden" not in str(caught.value)
