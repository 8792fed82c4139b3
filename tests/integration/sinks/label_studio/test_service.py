"""The sinks service with Label Studio, real and fake: retried, killed, given up and redriven."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from batch_common.config import LabelStudio
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_common.secret import Secret
from batch_common.task_schema import TaskSchema
from batch_sinks.admin import redrive
from support.label_studio_api import LEGACY_TOKEN, LabelStudioApi
from support.task_schemas import keep_schema
from support.tcp_proxy import TcpProxy
from support.wait import until

from .conftest import TEXTS, on_sqlite

pytestmark = [on_sqlite, pytest.mark.timeout(300)]

SINK = "label_studio"
PROCESS = """
import sys
from pathlib import Path
from batch_common.config_file import load_config
from batch_common.service import run_service
from batch_sinks import deliverer
from batch_sinks.app import run
deliverer._CLAIM_S = 1.5  # what a killed process holds is free again after this
sys.exit(run_service("sinks", load_config(Path(sys.argv[1])), run))
"""


def handlers(url: str, key: str = LEGACY_TOKEN, **more: Any) -> dict[str, Any]:
    """Settings of the service, as `serve` and `settings` take them."""
    own = LabelStudio(url=url, api_key=Secret(key), **more)
    return {"handlers": {"enabled": (SINK,), SINK: own}}


@pytest.fixture
async def batch_values(database: Database, schema: TaskSchema) -> dict[str, Any]:
    kept = await keep_schema(database, schema)
    return {"lines": 25, "texts": TEXTS, "sinks": (SINK,), "task_schema": kept}


async def project_of(label_studio: LabelStudioApi, schema: TaskSchema) -> int | None:
    found = [p for p in await label_studio.projects() if p["title"].startswith(schema.title)]
    return found[0]["id"] if found else None


async def names(label_studio: LabelStudioApi, schema: TaskSchema) -> list[str]:
    """Of all tasks in the schema's project."""
    project_id = await project_of(label_studio, schema)
    tasks = await label_studio.tasks(project_id) if project_id else []
    return sorted(task["data"]["custom_id"] for task in tasks)


def numbered(lines: int) -> list[str]:
    return sorted(f"r{n}" for n in range(1, lines + 1))


async def test_the_delivery_links_to_the_project(
    label_studio: LabelStudioApi,
    schema: TaskSchema,
    serve: Any,
    end_batch: Any,
    in_state: Any,
    find_row: Any,
    batch_values: dict[str, Any],
) -> None:
    async with serve(**handlers(label_studio.url)):
        batch_id = await end_batch(**batch_values)
        await until(in_state("delivered", batch_id, sink=SINK), within_s=60)
    assert await names(label_studio, schema) == numbered(25)
    project_id = await project_of(label_studio, schema)
    row = await find_row(batch_id, SINK)
    assert row.link == f"{label_studio.url}/projects/{project_id}/data"


async def test_killed_in_mid_import_no_task_comes_twice(
    label_studio: LabelStudioApi,
    schema: TaskSchema,
    settings: Any,
    end_batch: Any,
    in_state: Any,
    tmp_path: Path,
    batch_values: dict[str, Any],
) -> None:
    """Race: an import is on its way, or done, when the process dies without a note of it."""
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings(**handlers(label_studio.url, tasks_at_once=20))))
    batch_id = await end_batch(**batch_values | {"lines": 300, "event": False})

    async def begun() -> bool:
        project_id = await project_of(label_studio, schema)
        return project_id is not None and await label_studio.count(project_id) >= 40

    process = start(path)
    try:
        await until(begun, within_s=60, what="the first imports")
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait, 20)
    assert len(await names(label_studio, schema)) < 300
    process = start(path)
    try:
        await until(in_state("delivered", batch_id, sink=SINK), within_s=120)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)
    assert await names(label_studio, schema) == numbered(300)


def start(config: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", PROCESS, str(config)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


async def test_a_server_that_is_down_is_tried_until_it_is_up(
    label_studio: LabelStudioApi,
    schema: TaskSchema,
    serve: Any,
    end_batch: Any,
    in_state: Any,
    find_row: Any,
    batch_values: dict[str, Any],
) -> None:
    proxy = TcpProxy(URL(label_studio.url).port or 0)
    await proxy.start()
    await proxy.stop()
    async with serve(**handlers(f"http://127.0.0.1:{proxy.port}")):
        batch_id = await end_batch(**batch_values)

        async def failing() -> bool:
            return "cannot be reached" in ((await find_row(batch_id, SINK)).last_error or "")

        await until(failing)
        await proxy.start()
        await until(in_state("delivered", batch_id, sink=SINK), within_s=60)
    await proxy.stop()
    assert await names(label_studio, schema) == numbered(25)
    assert (await find_row(batch_id, SINK)).last_error is None


async def test_a_wrong_key_is_given_up_with_a_clear_error_and_redriven(
    label_studio: LabelStudioApi,
    schema: TaskSchema,
    serve: Any,
    end_batch: Any,
    in_state: Any,
    find_row: Any,
    database: Database,
    batch_values: dict[str, Any],
) -> None:
    wrong = "f" * 40
    async with serve(retry_for_s=0.001, **handlers(label_studio.url, wrong)):
        batch_id = await end_batch(**batch_values)
        await until(in_state("failed", batch_id, sink=SINK))
    error = (await find_row(batch_id, SINK)).last_error
    assert "answered 401" in error
    assert "LABEL_STUDIO_API_KEY" in error
    assert wrong not in error
    assert await redrive(database, sink=SINK)
    async with serve(**handlers(label_studio.url)):
        await until(in_state("delivered", batch_id, sink=SINK), within_s=60)
    assert await names(label_studio, schema) == numbered(25)


async def test_a_deleted_project_is_given_up_with_a_clear_error_and_redriven(
    label_studio: LabelStudioApi,
    schema: TaskSchema,
    serve: Any,
    end_batch: Any,
    in_state: Any,
    find_row: Any,
    database: Database,
    batch_values: dict[str, Any],
) -> None:
    project = await label_studio.ask("POST", "/api/projects/", {"title": "Short-lived"})
    await label_studio.ask("DELETE", f"/api/projects/{project['id']}/")
    gone = handlers(label_studio.url, project_id=project["id"])
    async with serve(retry_for_s=0.001, **gone):
        batch_id = await end_batch(**batch_values)
        await until(in_state("failed", batch_id, sink=SINK))
    error = (await find_row(batch_id, SINK)).last_error
    assert f"project {project['id']} has been deleted" in error
    assert "LABEL_STUDIO_PROJECT_ID" in error
    assert await redrive(database, sink=SINK)
    async with serve(**handlers(label_studio.url)):
        await until(in_state("delivered", batch_id, sink=SINK), within_s=60)
    assert await names(label_studio, schema) == numbered(25)
