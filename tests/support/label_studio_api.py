"""What tests ask of a Label Studio themselves, be it the real one or the fake."""

from collections.abc import Iterable
from typing import Any

import aiohttp

LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"


class LabelStudioApi:
    """As the administrator."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """None for an answer without a body."""
        status, answer = await self.try_to(method, path, body)
        assert status < 400, (status, answer)
        return answer

    async def try_to(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession(headers={"authorization": f"Token {LEGACY_TOKEN}"}) as client,
            client.request(method, f"{self.url}{path}", json=body) as response,
        ):
            data = await response.read()
            return response.status, await response.json() if data else None

    async def personal_token(self) -> str:
        return str((await self.ask("POST", "/api/token/"))["token"])

    async def projects(self) -> list[dict[str, Any]]:
        answer = await self.ask("GET", "/api/projects/?page_size=100")
        found: list[dict[str, Any]] = answer["results"]
        return found

    async def delete_tasks(self, project_id: int, task_ids: Iterable[int]) -> None:
        path = f"/api/dm/actions/?id=delete_tasks&project={project_id}"
        chosen = {"all": False, "included": list(task_ids)}
        await self.ask("POST", path, {"selectedItems": chosen})

    async def count(self, project_id: int) -> int:
        """Of its tasks."""
        path = f"/api/tasks/?project={project_id}&page_size=1"
        return int((await self.ask("GET", path))["total"])

    async def tasks(self, project_id: int) -> list[dict[str, Any]]:
        """With their predictions."""
        path = f"/api/tasks/?project={project_id}&page_size=1000&fields=all"
        found: list[dict[str, Any]] = (await self.ask("GET", path))["tasks"]
        return found
