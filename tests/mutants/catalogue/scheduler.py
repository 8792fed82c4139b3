"""In the scheduler: release, claims, commit, repair, endings."""

from typing import Final

from mutants.mutant import Mutant

_SCHEDULER: Final = "services/scheduler/batch_scheduler"
_TESTS: Final = "tests/integration/scheduler"
_RIVALS: Final = f"{_TESTS}/test_rivals.py"
_RULE: Final = f"{_TESTS}/test_commit_rule.py::test_each_result_counts_once_in_any_order_of_events"
_COMMITS: Final = f"{_TESTS}/test_commits.py"
_ENDINGS: Final = f"{_TESTS}/test_endings.py"
_CLAIMS: Final = f"{_TESTS}/test_claims.py"

MUTANTS: Final = (
    Mutant(
        name="counts in a transaction of their own",
        file=f"{_SCHEDULER}/commit.py",
        old=(
            '        async with context.database.write("chunk settle") as conn:\n'
            "            number = (await conn.execute(_counted(chunk.batch_id, manifest)))"
            ".scalar_one()\n"
        ),
        new=(
            '        async with context.database.write("chunk count") as conn:\n'
            "            number = (await conn.execute(_counted(chunk.batch_id, manifest)))"
            ".scalar_one()\n"
            '        async with context.database.write("chunk settle") as conn:\n'
        ),
        tests=(f"{_RIVALS}::test_of_two_that_commit_a_chunk_one_counts",),
    ),
    Mutant(
        name="release without compare-and-set",
        file=f"{_SCHEDULER}/cut.py",
        old="            spans.c.next_line == span.next_line,\n",
        new="",
        tests=(f"{_RIVALS}::test_what_another_scheduler_has_released_is_not_released_again",),
    ),
    Mutant(
        name="release without the batch's status",
        file=f"{_SCHEDULER}/cut.py",
        old="            unmoved,\n",
        new="",
        tests=(f"{_RIVALS}::test_nothing_is_released_of_a_batch_that_was_just_cancelled",),
    ),
    Mutant(
        name="claim answered go to two attempts",
        file=f"{_SCHEDULER}/claims.py",
        old="chunks.c.attempt == claim.attempt, unclaimed(",
        new='chunks.c.attempt != "", unclaimed(',
        tests=(f"{_RIVALS}::test_of_two_that_claim_a_chunk_one_may_go",),
    ),
    Mutant(
        name="claim answered go for a cancelled batch",
        file=f"{_SCHEDULER}/claims.py",
        old="        batches.c.status == BatchStatus.IN_PROGRESS,\n",
        new="",
        tests=(f"{_CLAIMS}::test_cancellation_and_expiry_stop_a_runner[sqlite]",),
    ),
    Mutant(
        name="chunk published again under its old id",
        file=f"{_SCHEDULER}/reconcile.py",
        old="generation = clock.now(), chunk.generation + 1",
        new="generation = clock.now(), chunk.generation",
        tests=(f"{_RIVALS}::test_a_lost_chunk_is_offered_under_a_new_id",),
    ),
    Mutant(
        name="a lost chunk gets a row and no event",
        file=f"{_SCHEDULER}/reconcile.py",
        old="        await offer(\n            conn,\n",
        new="        (lambda *_, **__: None)(\n            conn,\n",
        tests=(f"{_RIVALS}::test_a_lost_chunk_is_offered_under_a_new_id",),
    ),
    Mutant(
        name="chunk released without its event",
        file=f"{_SCHEDULER}/release.py",
        old="    await offer(\n        conn,\n",
        new="    (lambda *_, **__: None)(\n        conn,\n",
        tests=(f"{_RIVALS}::test_a_released_chunk_is_offered_by_its_own_transaction",),
    ),
    Mutant(
        name="outbox skipped: a batch ends without its event",
        file=f"{_SCHEDULER}/endings.py",
        old="event_id = await add_batch_event(conn, event, SOURCE, batch.traceparent)",
        new='event_id = f"evt_{batch.id}"',
        tests=(_RULE,),
    ),
    Mutant(
        name="a manifest is believed without a look",
        file=f"{_SCHEDULER}/manifests.py",
        old="    if manifest.lines != lines:\n",
        new="    if manifest.lines < 0:\n",
        tests=(f"{_COMMITS}::test_a_manifest_that_does_not_cover_its_chunk_is_not_taken[sqlite]",),
    ),
    Mutant(
        name="torn results are committed",
        file=f"{_SCHEDULER}/manifests.py",
        old="    if size != ref.bytes:\n",
        new="    if size > ref.bytes:\n",
        tests=(f"{_COMMITS}::test_a_manifest_whose_objects_are_torn_is_not_taken[sqlite]",),
    ),
    Mutant(
        name="finalise before all chunks are settled",
        file=f"{_SCHEDULER}/finalise.py",
        old="through & no_more & ~running",
        new="through & no_more",
        tests=(f"{_RIVALS}::test_a_batch_with_a_chunk_in_hand_is_not_finalised",),
    ),
    Mutant(
        name="cancel drops finished results",
        file=f"{_SCHEDULER}/salvage.py",
        old="segments = sorted(info.key for info in listed if is_segment(info.key))",
        new="segments = sorted(info.key for info in listed if not info.key)",
        tests=(f"{_RIVALS}::test_a_batch_cut_short_keeps_results_and_lists_each_other_line_once",),
    ),
    Mutant(
        name="cancel ignores a finished attempt",
        file=f"{_SCHEDULER}/close.py",
        old="found = await find_manifest(context.blobs, chunk, unfinished=True)",
        new="found: tuple[str, Manifest] | None = None",
        tests=(
            f"{_ENDINGS}::test_a_finished_attempt_is_kept_whole_when_its_batch_is_cancelled[sqlite]",
        ),
    ),
    Mutant(
        name="a chunk is closed under its runner",
        file=f"{_SCHEDULER}/close.py",
        old="if is_unclaimed(chunk, clock.now(), context.config.scheduler.claim_ttl_s):",
        new="if chunk:",
        tests=(f"{_RIVALS}::test_a_chunk_is_not_closed_under_its_runner",),
    ),
    Mutant(
        name="unfinished lines are listed twice",
        file=f"{_SCHEDULER}/salvage.py",
        old='            lines += encode_result(result) + b"\\n"\n',
        new='            lines += 2 * (encode_result(result) + b"\\n")\n',
        tests=(f"{_RIVALS}::test_a_batch_cut_short_keeps_results_and_lists_each_other_line_once",),
    ),
    Mutant(
        name="lines with a result are listed as unfinished too",
        file=f"{_SCHEDULER}/salvage.py",
        old="        if listed:\n",
        new="        if listed or sizes:\n",
        tests=(f"{_RIVALS}::test_a_batch_cut_short_keeps_results_and_lists_each_other_line_once",),
    ),
    Mutant(
        name="a lease is taken that is alive",
        file=f"{_SCHEDULER}/lease.py",
        old="leases.c.until < now, ",
        new="leases.c.until > 0, ",
        tests=(f"{_RIVALS}::test_a_lease_has_one_holder_at_a_time",),
    ),
    Mutant(
        name="a lease keeps its epoch",
        file=f"{_SCHEDULER}/lease.py",
        old="else_=leases.c.epoch + 1)",
        new="else_=leases.c.epoch)",
        tests=(f"{_RIVALS}::test_a_lease_has_one_holder_at_a_time",),
    ),
    Mutant(
        name="the sweep takes results along",
        file=f"{_SCHEDULER}/sweep.py",
        old="kept = {chunk.manifest_key, chunk.output_key, chunk.error_key}",
        new="kept = {chunk.manifest_key}",
        tests=(_RULE,),
    ),
    Mutant(
        name="segments are swept before the commit",
        file=f"{_SCHEDULER}/sweep.py",
        old=".where(chunks.c.swept_at.is_(None), chunks.c.state != ChunkState.RELEASED)",
        new=".where(chunks.c.swept_at.is_(None))",
        tests=(f"{_RIVALS}::test_what_a_chunk_in_hand_has_saved_is_not_swept",),
    ),
    Mutant(
        name="the plan's index keeps the file's order",
        file=f"{_SCHEDULER}/plan.py",
        old='np.frombuffer(columns.length, np.uint32)[block]\n        records["tokens"]',
        new='np.frombuffer(columns.length, np.uint32)[np.sort(block)]\n        records["tokens"]',
        tests=(
            (
                "tests/unit/scheduler/test_plan.py"
                "::test_every_line_is_planned_once_and_the_index_tells_where"
            ),
        ),
    ),
)
