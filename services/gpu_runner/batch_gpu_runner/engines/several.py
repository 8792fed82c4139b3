"""Several models on one runner, each in a server of its own, all of them running."""

import asyncio

from batch_gpu_runner.engines.base import Engine, EngineAnswer, EngineConnectionError, EngineLoad
from batch_gpu_runner.engines.rename import model_of


class SeveralEngines:
    """An `Engine` that passes each request to the engine that has its model."""

    def __init__(self, engines: tuple[Engine, ...]) -> None:
        self._engines = engines
        self._by_model = {model: engine for engine in engines for model in engine.models}

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self._by_model)

    @property
    def default_window(self) -> int:
        return sum(engine.default_window for engine in self._engines)

    async def start(self) -> None:
        """One after another: two that load at once misjudge the memory that is left."""
        try:
            for engine in self._engines:
                await engine.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await asyncio.gather(*(engine.stop() for engine in self._engines))

    async def died(self) -> str:
        """When the first one is gone."""
        waits = [asyncio.create_task(engine.died()) for engine in self._engines]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def is_serving(self) -> bool | None:
        """All of them: the first that does not is started again with the others."""
        said = await asyncio.gather(*(engine.is_serving() for engine in self._engines))
        return all(each is not False for each in said)

    def spare_memory(self, steps: int) -> None:
        for engine in self._engines:
            engine.spare_memory(steps)

    def supports(self, endpoint: str) -> bool:
        """Whether all of them do: a batch of one of the models must not depend on which."""
        return all(engine.supports(endpoint) for engine in self._engines)

    async def post(self, endpoint: str, body: bytes, timeout_s: float) -> EngineAnswer:
        model = model_of(body)
        engine = self._by_model.get(model or "")
        if engine is None:
            raise EngineConnectionError(f"this runner serves no model {model!r}")
        return await engine.post(endpoint, body, timeout_s)

    async def load(self) -> EngineLoad | None:
        loads = [load for engine in self._engines if (load := await engine.load()) is not None]
        if not loads:
            return None
        return EngineLoad(
            waiting=sum(load.waiting or 0 for load in loads),
            running=sum(load.running or 0 for load in loads),
            kv_cache_usage=max(
                (load.kv_cache_usage for load in loads if load.kv_cache_usage is not None),
                default=None,
            ),
        )
