"""In the runner: segments, resumption, finishing, poison."""

from typing import Final

from mutants.mutant import Mutant

_RUNNER: Final = "services/gpu_runner/batch_gpu_runner"
_TESTS: Final = "tests/integration/gpu_runner"
_FINISHING: Final = f"{_TESTS}/test_finishing.py"
_RESUMPTION: Final = (
    "tests/unit/gpu_runner/test_resumption.py::test_each_line_is_in_the_manifest_once"
)
_SEGMENTS: Final = "tests/unit/gpu_runner/test_segments.py"
_SUSPECTS: Final = (
    f"{_TESTS}/test_suspects_recorded.py::test_the_next_runner_goes_on_with_what_was_known"
)

MUTANTS: Final = (
    Mutant(
        name="ack before the completion is published",
        file=f"{_RUNNER}/hold.py",
        old="            await complete(self._bench.bus, self._bench.blobs, finished)\n",
        new=(
            "            await self._delivery.settle(Done())\n"
            "            await complete(self._bench.bus, self._bench.blobs, finished)\n"
        ),
        tests=(f"{_FINISHING}::test_first_the_results_then_the_completion_then_the_ack",),
    ),
    Mutant(
        name="completion published before the manifest stands",
        file=f"{_RUNNER}/finish.py",
        old="    manifest_key = await _persistently(lambda: write_results(blobs, finished))\n",
        new=(
            "    manifest_key = keys.chunk_manifest(finished.ready.prefix, finished.attempt)\n"
            "    await _persistently(lambda: _publish(bus, finished, manifest_key))\n"
            "    await _persistently(lambda: write_results(blobs, finished))\n"
        ),
        tests=(f"{_FINISHING}::test_first_the_results_then_the_completion_then_the_ack",),
    ),
    Mutant(
        name="a manifest names another attempt's later segment",
        file=f"{_RUNNER}/hold.py",
        old="            segments = (*earlier.keys, *chunk.segments.keys)\n",
        new="            segments = (await find_earlier(self._bench.blobs, self.ready)).keys\n",
        tests=(f"{_FINISHING}::test_a_manifest_names_no_segment_that_came_later_from_another",),
    ),
    Mutant(
        name="a segment is ignored on resumption",
        file=f"{_RUNNER}/load.py",
        old="    for key in listed:\n",
        new="    for key in [each for each in listed if keys.is_segment(each)][1:]:\n",
        tests=(
            f"{_RESUMPTION}",
            f"{_SEGMENTS}::test_the_first_result_of_a_line_wins_over_all_attempts",
        ),
    ),
    Mutant(
        name="a torn segment ends the resumption",
        file=f"{_RUNNER}/load.py",
        old='            log.warning("segment_damaged", key=key, error=str(error))\n'
        "            continue\n",
        new='            log.warning("segment_damaged", key=key, error=str(error))\n'
        "            break\n",
        tests=(_RESUMPTION,),
    ),
    Mutant(
        name="a line done twice is gathered twice",
        file=f"{_RUNNER}/segments.py",
        old="if 0 <= position < len(self.has) and not self.has[position]:",
        new="if 0 <= position < len(self.has):",
        tests=(_RESUMPTION,),
    ),
    Mutant(
        name="results count before they are durable",
        file=f"{_RUNNER}/segments.py",
        old="        self._records.append(record)\n",
        new="        self._records.append(record)\n        self._count([record])\n",
        tests=(f"{_SEGMENTS}::test_nothing_counts_before_it_is_durable",),
    ),
    Mutant(
        name="a result's id comes from the attempt",
        file=f"{_RUNNER}/chunk.py",
        old="name = result_id(self.ready.batch_id, self._lines.number(request.position))",
        new="name = result_id(self.attempt, self._lines.number(request.position))",
        tests=(f"{_FINISHING}::test_a_result_has_the_same_id_in_every_attempt",),
    ),
    Mutant(
        name="a zombie does not notice that it was suspended",
        file=f"{_RUNNER}/keep_alive.py",
        old="return time.clock_gettime(_CLOCK) - self._last > self._ack_wait_s",
        new="return self._last > time.clock_gettime(_CLOCK) + self._ack_wait_s",
        tests=(f"{_TESTS}/test_claims.py::test_a_zombie_settles_nothing",),
    ),
    Mutant(
        name="poison suspects are not recorded",
        file=f"{_RUNNER}/suspect_record.py",
        old="await blobs.put(keys.suspects(chunk.ready.prefix, chunk.attempt), ",
        new="_ = (blobs, chunk, ",
        tests=(_SUSPECTS,),
    ),
    Mutant(
        name="the next runner begins the hunt for poison anew",
        file=f"{_RUNNER}/load.py",
        old="    suspects = await read_record(blobs, listed)\n",
        new="    suspects = await read_record(blobs, [])\n",
        tests=(_SUSPECTS,),
    ),
)
