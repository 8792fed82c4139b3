"""Where clients and receivers are: gateway and sinks."""

from typing import Final

from mutants.mutant import Mutant

_GATEWAY: Final = "services/gateway/batch_gateway"
_SINKS: Final = "services/sinks/batch_sinks"
_ENDPOINTS: Final = "tests/integration/sinks/test_webhook_endpoints.py"
_TARGETS: Final = "tests/integration/sinks/test_private_targets.py"
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
    Mutant(
        name="one endpoint may have all attempts",
        file=f"{_SINKS}/deliverer.py",
        old="        at_once = min(free, self._sink.for_each)\n",
        new="        at_once = free\n",
        tests=(f"{_ENDPOINTS}::test_many_that_hang_at_one_endpoint_hold_up_no_other[sqlite]",),
    ),
    Mutant(
        name="an error that nobody foresaw leaves its row as it was",
        file=f"{_SINKS}/deliverer.py",
        old="        except DatabaseUnavailableError:\n            raise\n"
        "        except Exception as error:\n",
        new="        except DatabaseUnavailableError:\n            raise\n"
        "        except LookupError as error:\n",
        tests=(
            (
                "tests/integration/sinks/test_one_bad_row.py"
                "::test_whatever_is_raised_is_a_failed_attempt_of_that_row"
            ),
        ),
    ),
    Mutant(
        name="a webhook has another id in each attempt",
        file=f"{_SINKS}/webhook/signature.py",
        old='f"{place}\\n{item.event_id}"',
        new='f"{place}\\n{item.event_id}{item.attempt}"',
        tests=(
            (
                "tests/integration/sinks/test_failures.py"
                "::test_repeats_carry_one_id_and_fresh_signatures[sqlite]"
            ),
        ),
    ),
    Mutant(
        name="a webhook's address is not looked at",
        file=f"{_SINKS}/webhook/sender.py",
        old="socket_factory=None if settings.allow_private else open_public_socket,",
        new="socket_factory=None,",
        tests=(f"{_TARGETS}::test_a_public_name_that_points_inside_is_refused[127.0.0.1]",),
    ),
)
