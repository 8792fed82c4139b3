"""Where clients and receivers are: gateway and sinks."""

from typing import Final

from mutants.mutant import Mutant

_GATEWAY: Final = "services/gateway/batch_gateway"
_SINKS: Final = "services/sinks/batch_sinks"
_IDEMPOTENCY: Final = "tests/integration/gateway/test_idempotency.py"

MUTANTS: Final = (
    Mutant(
        name="the idempotency key's row is in another transaction",
        file=f"{_GATEWAY}/batch_store.py",
        old="            return await insert_batch(conn, tenant, wanted, traceparent, keep)\n\n"
        "    async def create_with_file(",
        new="            made = await insert_batch(conn, tenant, wanted, traceparent)\n"
        '        async with self._database.write("idempotency keep") as conn:\n'
        "            await keep(conn, made)\n"
        "            return made\n\n"
        "    async def create_with_file(",
        tests=(
            (
                "tests/integration/gateway/test_one_transaction.py"
                "::test_a_gateway_that_dies_after_its_commit_has_kept_the_key"
            ),
        ),
    ),
    Mutant(
        name="a submitted batch has no event",
        file=f"{_GATEWAY}/batch_store.py",
        old="    await _announce(conn, BatchSubmitted, row, at)\n",
        new="",
        tests=(f"{_IDEMPOTENCY}::test_a_batch_is_created_once",),
    ),
    Mutant(
        name="a delivery is marked before it was sent",
        file=f"{_SINKS}/deliverer.py",
        old="        try:\n            async with asyncio.timeout(self._sink.limit_s):\n",
        new="        await self._rows.delivered(item)\n"
        "        try:\n            async with asyncio.timeout(self._sink.limit_s):\n",
        tests=(
            (
                "tests/integration/sinks/test_failures.py"
                "::test_a_receiver_that_is_down_is_tried_until_it_is_up[sqlite]"
            ),
        ),
    ),
)
