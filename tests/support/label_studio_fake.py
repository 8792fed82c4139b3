"""As much of Label Studio as the handler needs, in memory, and told to fail when a test likes.

The same tests that run on it run on the real one: test_label_studio_contract.py.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

import msgspec
from aiohttp import web

from support.label_studio_api import LEGACY_TOKEN, LabelStudioApi
from support.ports import free_port

PERSONAL_TOKEN = "header.payload.signature"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(msgspec.Struct, frozen=True):
    """For the next request with this method whose path ends so: instead of its answer.

    status: nothing is done, this is answered, in no JSON where it is 200; 0: there is no answer;
        None: all is done, and the answer is lost
    """

    method: str
    path: str
    status: int | None


class FakeLabelStudio(LabelStudioApi):
    def __init__(self) -> None:
        super().__init__(f"http://127.0.0.1:{free_port()}")
        self.projects_by_id: dict[int, dict[str, Any]] = {}
        self.tasks_by_id: dict[int, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        # Method and path of each, in their order.
        self.requests: list[tuple[str, str]] = []
        # So many that make a project wait for one another.
        self.makers: asyncio.Barrier | None = None
        # Imports are done later, as the hosted editions have it; each needs so many looks.
        self.looks: int | None = None
        self.imports: dict[int, list[Any]] = {}
        self._accesses: set[str] = set()
        self._ids = iter(range(1, 1_000_000))
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=64 << 20)
        app.router.add_post("/api/token/", self._token)
        app.router.add_post("/api/token/refresh/", self._refresh)
        app.router.add_get("/api/projects/", self._list_projects)
        app.router.add_post("/api/projects/", self._make_project)
        app.router.add_route("*", r"/api/projects/{id:\d+}/", self._project)
        app.router.add_post(r"/api/projects/{id:\d+}/import", self._import)
        app.router.add_get(r"/api/projects/{id:\d+}/imports/{number:\d+}/", self._look)
        app.router.add_get("/api/tasks/", self._list_tasks)
        app.router.add_post(r"/api/tasks/{id:\d+}/annotations/", self._annotate)
        app.router.add_post("/api/dm/actions/", self._act)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", int(self.url.rpartition(":")[2])).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def forget_accesses(self) -> None:
        """As when their minutes are over."""
        self._accesses.clear()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        fault = next((f for f in self.faults if _meets(f, request)), None)
        if fault is not None:
            self.faults.remove(fault)
            if fault.status is not None:
                return await _as_told(fault.status)
        elif request.path != "/api/token/refresh/" and not self._is_known(request):
            return _said(401, "Invalid token.")
        response = await handler(request)
        if fault is not None:
            assert request.transport is not None
            request.transport.close()
        return response

    def _is_known(self, request: web.Request) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return token in {"Token": {LEGACY_TOKEN}, "Bearer": self._accesses}.get(kind, ())

    async def _token(self, _: web.Request) -> web.Response:
        return web.json_response({"token": PERSONAL_TOKEN}, status=201)

    async def _refresh(self, request: web.Request) -> web.Response:
        if (await request.json())["refresh"] != PERSONAL_TOKEN:
            return _said(401, "Token is invalid or expired")
        access = f"access-{next(self._ids)}"
        self._accesses.add(access)
        return web.json_response({"access": access})

    async def _list_projects(self, request: web.Request) -> web.Response:
        title = request.query.get("title", "").lower()
        found = [p for p in self.projects_by_id.values() if title in p["title"].lower()]
        shown = [self._shown(project) for project in found]
        return web.json_response({"count": len(found), "results": shown})

    async def _make_project(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.makers is not None:
            await self.makers.wait()
        if not 3 <= len(body["title"]) <= 50:
            return _invalid("title", "Project name must be between 3 and 50 characters long.")
        project = {"id": next(self._ids), "label_config": "<View></View>", **body}
        if (bad := _bad_config(project["label_config"])) is not None:
            return bad
        self.projects_by_id[project["id"]] = project
        return web.json_response(self._shown(project), status=201)

    async def _project(self, request: web.Request) -> web.Response:
        project = self.projects_by_id.get(int(request.match_info["id"]))
        if project is None:
            return _said(404, "No Project matches the given query.")
        if request.method == "DELETE":
            del self.projects_by_id[project["id"]]
            of_it = [t["id"] for t in self.tasks_by_id.values() if t["project"] == project["id"]]
            for task_id in of_it:
                del self.tasks_by_id[task_id]
            return web.Response(status=204)
        if request.method == "PATCH":
            changed = project | await request.json()
            if (bad := _bad_config(changed["label_config"])) is not None:
                return bad
            project |= changed
        return web.json_response(self._shown(project))

    def _shown(self, project: dict[str, Any]) -> dict[str, Any]:
        of_it = [t for t in self.tasks_by_id.values() if t["project"] == project["id"]]
        parsed = _controls(project["label_config"])
        return project | {"task_number": len(of_it), "parsed_label_config": parsed}

    async def _import(self, request: web.Request) -> web.Response:
        project = self.projects_by_id.get(int(request.match_info["id"]))
        if project is None:
            return _said(404, "No Project matches the given query.")
        tasks = await request.json()
        if (refused := _refusal(project["label_config"], tasks)) is not None:
            return refused
        if self.looks is not None:
            number = next(self._ids)
            self.imports[number] = [self.looks, project["id"], tasks]
            return web.json_response({"import": number}, status=201)
        self._keep(project["id"], tasks)
        return web.json_response({"task_count": len(tasks)}, status=201)

    def _keep(self, project_id: int, tasks: list[dict[str, Any]]) -> None:
        for task in tasks:
            task_id = next(self._ids)
            more = {"id": task_id, "project": project_id, "total_annotations": 0}
            self.tasks_by_id[task_id] = task | more

    async def _look(self, request: web.Request) -> web.Response:
        running = self.imports[int(request.match_info["number"])]
        running[0] -= 1
        if running[0] < 0:
            return web.json_response({"status": "failed"})
        if running[0] == 0:
            self._keep(running[1], running[2])
        return web.json_response({"status": "in_progress" if running[0] else "completed"})

    async def _list_tasks(self, request: web.Request) -> web.Response:
        project_id = int(request.query["project"])
        if project_id not in self.projects_by_id:
            return _said(404, "No Project matches the given query.")
        query = msgspec.json.decode(request.query.get("query", "{}"))
        found = self._chosen(project_id, query)
        size = int(request.query["page_size"])
        return web.json_response({"total": len(found), "tasks": found[:size]})

    async def _act(self, request: web.Request) -> web.Response:
        """A choice of none is one of all, as with the real one."""
        assert request.query["id"] == "delete_tasks"
        body = await request.json()
        included = set(body["selectedItems"]["included"])
        for task in self._chosen(int(request.query["project"]), body):
            if not included or task["id"] in included:
                del self.tasks_by_id[task["id"]]
        return web.json_response({"processed_items": len(included)})

    def _chosen(self, project_id: int, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = [t for t in self.tasks_by_id.values() if t["project"] == project_id]
        for item in query.get("filters", {}).get("items", []):
            found = [task for task in found if _holds(item, task)]
        return found

    async def _annotate(self, request: web.Request) -> web.Response:
        self.tasks_by_id[int(request.match_info["id"])]["total_annotations"] += 1
        return web.json_response({}, status=201)


def _meets(fault: Fault, request: web.Request) -> bool:
    return fault.method == request.method and request.path.endswith(fault.path)


async def _as_told(status: int) -> web.Response:
    if not status:
        await asyncio.Event().wait()
    if status == 200:
        return web.Response(text="<html></html>", content_type="text/html")
    return _said(status, "as a test has asked for")


def _said(status: int, detail: str) -> web.Response:
    return web.json_response({"status_code": status, "detail": detail}, status=status)


def _invalid(field: str, *words: str) -> web.Response:
    errors = {field: list(words)}
    body = {"status_code": 400, "detail": "Validation error", "validation_errors": errors}
    return web.json_response(body, status=400)


def _holds(item: dict[str, Any], task: dict[str, Any]) -> bool:
    name = item["filter"].removeprefix("filter:tasks:")
    if name == "id":
        assert item["operator"] == "greater"
        return bool(task["id"] > item["value"])
    assert item["operator"] == "equal"
    return bool(task["data"].get(name.removeprefix("data.")) == item["value"])


def _parsed(config: str) -> Element:
    return fromstring(config)  # noqa: S314 - the test's own


def _bad_config(config: str) -> web.Response | None:
    try:
        tree = _parsed(config)
    except ParseError as error:
        return _invalid("label_config", str(error))
    names = [tag.get("name") for tag in tree.iter() if tag.get("name")]
    if len(names) != len(set(names)):
        return _invalid("label_config", "Label config contains non-unique names")
    lost = [n for tag in tree.iter() if (n := tag.get("toName")) is not None and n not in names]
    return _invalid("label_config", f"toName={lost[0]!r} not found in names") if lost else None


def _controls(config: str) -> dict[str, Any]:
    return {
        tag.attrib["name"]: {
            "type": tag.tag,
            "to_name": [tag.attrib["toName"]],
            "labels": [each.get("alias") or each.get("value") for each in tag],
        }
        for tag in _parsed(config).iter()
        if "toName" in tag.attrib
    }


def _refusal(config: str, tasks: list[dict[str, Any]]) -> web.Response | None:
    """Columns that the interface shows must be there. That predictions must fit its questions is
    what the real one has a switch for, which is off in its open edition.
    """
    columns = [
        match[1]
        for tag in _parsed(config).iter()
        if "name" in tag.attrib and (match := re.fullmatch(r"\$(\w+)", tag.get("value", "")))
    ]
    for number, task in enumerate(tasks):
        if lost := [name for name in columns if name not in task["data"]]:
            said = f'Error at item {number}: "{lost[0]}" key is expected in task data :: {task}'
            return _invalid("non_field_errors", said)
    wrong = [*_wrong_regions(_controls(config), tasks)]
    return _invalid("predictions", *wrong) if wrong else None


def _wrong_regions(controls: dict[str, Any], tasks: list[dict[str, Any]]) -> Iterator[str]:
    for number, task in enumerate(tasks):
        regions = [r for prediction in task["predictions"] for r in prediction["result"]]
        for region in regions:
            control = controls.get(region["from_name"])
            if control is None or control["type"].lower() != region["type"]:
                yield f"Task {number}: no such control: {region['from_name']}"
            elif set(region["value"].get("choices", ())) - set(control["labels"]):
                yield f"Task {number}: unknown choices"
