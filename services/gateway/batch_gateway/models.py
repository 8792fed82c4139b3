"""The routes of Models: what a batch may name. Known are the configured models and those that
runners have announced, whether or not a runner serves them now.
"""

from collections.abc import Iterable
from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy import select

from batch_common.db import Database
from batch_common.tables import models
from batch_gateway.documented import ERRORS
from batch_gateway.errors import ApiError
from batch_gateway.objects import Model, ModelList

_OWNER: Final = "vllm-batch-server"


class ModelStore:
    """`since`: Unix seconds, shown for models that no runner has announced yet."""

    def __init__(self, database: Database, configured: Iterable[str], since: int) -> None:
        self._database = database
        self._configured = frozenset(configured)
        self._since = since

    async def list(self) -> list[Model]:
        """By name."""
        async with self._database.read() as conn:
            rows = (await conn.execute(select(models.c.name, models.c.first_seen))).all()
        seen = {row.name: row.first_seen for row in rows}
        known = {**dict.fromkeys(self._configured, self._since), **seen}
        return [
            Model(id=name, created=created, owned_by=_OWNER)
            for name, created in sorted(known.items())
        ]


@get("/v1/models", responses=ERRORS, tags=["Models"])
async def list_models(model_store: NamedDependency[ModelStore]) -> ModelList:
    return ModelList(data=await model_store.list())


@get("/v1/models/{model:path}", responses=ERRORS, tags=["Models"])
async def retrieve_model(model: FromPath[str], model_store: NamedDependency[ModelStore]) -> Model:
    """Names may hold slashes, escaped or not."""
    name = model.removeprefix("/")
    for found in await model_store.list():
        if found.id == name:
            return found
    raise ApiError(
        404, f"The model '{name}' does not exist.", param="model", code="model_not_found"
    )


ROUTES = [list_models, retrieve_model]
