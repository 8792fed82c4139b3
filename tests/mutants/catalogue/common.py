"""In the shared ground: database, states, outbox, blobs, settling."""

from typing import Final

from mutants.mutant import Mutant

_COMMON: Final = "libs/common/batch_common"
_DATABASE: Final = "tests/integration/common/test_database.py"
_STATES: Final = "tests/integration/common/test_state_machine.py"
_RELAY: Final = "tests/integration/common/test_relay.py"
_BLOBS: Final = "tests/integration/common/test_blobs.py"
_BUS: Final = "tests/integration/common/test_bus.py"
_RIVALS: Final = "tests/integration/scheduler/test_rivals.py"

MUTANTS: Final = (
    Mutant(
        name="SQLite without BEGIN IMMEDIATE",
        file=f"{_COMMON}/db.py",
        old='("BEGIN", "BEGIN IMMEDIATE")',
        new='("BEGIN", "BEGIN DEFERRED")',
        tests=(f"{_DATABASE}::test_two_processes_lose_no_update[sqlite]",),
    ),
    Mutant(
        name="commit of a chunk without compare-and-set",
        file=f"{_COMMON}/state.py",
        old=".where(chunks.c.id == chunk_id, chunks.c.state == source)",
        new=".where(chunks.c.id == chunk_id)",
        tests=(
            f"{_STATES}::test_a_chunk_is_settled_once",
            f"{_RIVALS}::test_of_two_that_commit_a_chunk_one_counts",
            f"{_RIVALS}::test_a_commit_that_comes_after_the_close_changes_nothing",
        ),
    ),
    Mutant(
        name="a late commit overwrites a closed chunk",
        file=f"{_COMMON}/state.py",
        old=".where(chunks.c.id == chunk_id, chunks.c.state == source)",
        new='.where(chunks.c.id == chunk_id, chunks.c.state.in_((source, "closed")))',
        tests=(f"{_RIVALS}::test_a_commit_that_comes_after_the_close_changes_nothing",),
    ),
    Mutant(
        name="status of a batch without compare-and-set",
        file=f"{_COMMON}/state.py",
        old=".where(batches.c.id == batch_id, batches.c.status == source)",
        new=".where(batches.c.id == batch_id)",
        tests=(
            f"{_STATES}::test_a_batch_moves_only_along_the_table",
            f"{_DATABASE}::test_of_many_that_move_a_batch_one_wins[sqlite]",
        ),
    ),
    Mutant(
        name="relay marks before it publishes",
        file=f"{_COMMON}/relay.py",
        old="        sent = await asyncio.gather(",
        new=(
            "        await self._mark("
            '[{"row": row.id, "created": "", "number": 0} for row in rows])\n'
            "        sent = await asyncio.gather("
        ),
        tests=(f"{_RELAY}::test_what_could_not_be_sent_is_free_at_once[sqlite]",),
    ),
    Mutant(
        name="outbox rows are claimed by two relays",
        file=f"{_COMMON}/relay.py",
        old=".values(claimed_until=now + _CLAIM_S)",
        new=".values(claimed_until=0.0)",
        tests=(
            f"{_RELAY}::test_killed_between_publish_and_mark_the_stream_drops_the_repeat[sqlite]",
        ),
    ),
    Mutant(
        name="events of a lost stream are not sent again",
        file=f"{_COMMON}/relay.py",
        old="or_(outbox.c.stream_created != head.created, outbox.c.seq > head.last_seq)",
        new="outbox.c.seq > head.last_seq + 1_000_000",
        tests=(f"{_RELAY}::test_a_lost_store_gets_its_events_again[sqlite]",),
    ),
    Mutant(
        name="put without fsync",
        file=f"{_COMMON}/local_put.py",
        old="        os.fsync(file.fileno())\n    return len(data)",
        new="    return len(data)",
        tests=(f"{_BLOBS}::test_a_put_is_durable_before_it_is_visible",),
    ),
    Mutant(
        name="rename without fsync of the folder",
        file=f"{_COMMON}/local_put.py",
        old="        _sync_folder(path.parent)\n\n\ndef _make_folders",
        new="        pass\n\n\ndef _make_folders",
        tests=(f"{_BLOBS}::test_a_put_is_durable_before_it_is_visible",),
    ),
    Mutant(
        name="put in place, so that a torn object can be seen",
        file=f"{_COMMON}/local_put.py",
        old="temporary = self._incoming / uuid.uuid4().hex",
        new="temporary = path",
        tests=(f"{_BLOBS}::test_an_interrupted_put_leaves_what_was_there[folder]",),
    ),
    Mutant(
        name="settle on a wiped stream",
        file=f"{_COMMON}/pull.py",
        old="return head.created == stream_created",
        new="return bool(head.created)",
        tests=(f"{_BUS}::test_nothing_from_before_a_lost_store_is_settled",),
    ),
)
