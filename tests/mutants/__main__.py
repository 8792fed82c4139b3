"""`python -m mutants [WORD…]`: every deliberate bug, or those with a WORD in their name.

Exit 1 when one is not caught, when its patch does not apply any more, or when a test fails
without any bug.
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Final

from mutants import tree
from mutants.catalogue import MUTANTS
from mutants.mutant import DoesNotApplyError, Mutant

# Bugs judged side by side, each in a copy of its own: most of a run is waiting.
_AT_ONCE: Final = 3


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        copies = [tree.make(Path(folder, str(number))) for number in range(_AT_ONCE)]
        sound = _sound(copies[0], chosen)
        free: Queue[Path] = Queue()
        for copy in copies:
            free.put(copy)

        def judge(mutant: Mutant) -> bool:
            copy = free.get()
            try:
                return _judge(copy, mutant, sound)
            finally:
                free.put(copy)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            caught = list(pool.map(judge, chosen))
    print(f"{caught.count(True)} of {len(caught)} caught")
    return 0 if all(caught) else 1


def _sound(copy: Path, chosen: list[Mutant]) -> frozenset[str]:
    """The tests that pass without a bug: of the others a failure would say nothing."""
    tests = tuple(sorted({test for mutant in chosen for test in mutant.tests}))
    verdict = tree.run(copy, tests)
    sound = verdict.ran - verdict.failed
    print(f"without any bug {len(sound)} of {len(tests)} tests pass", flush=True)
    if len(sound) < len(tests):
        print(verdict.output[-4000:], flush=True)
    return sound


def _judge(copy: Path, mutant: Mutant, sound: frozenset[str]) -> bool:
    began = time.monotonic()
    try:
        with tree.broken(copy, mutant):
            verdict = tree.run(copy, mutant.tests)
    except DoesNotApplyError as error:
        print(f"DOES NOT APPLY  {error}", flush=True)
        return False
    caught = verdict.failed >= set(mutant.tests) and sound >= set(mutant.tests)
    word, seconds = "caught" if caught else "SURVIVED", time.monotonic() - began
    lines = [f"{word:8}  {seconds:5.1f} s  {mutant.name}"]
    for test in mutant.tests:
        if test not in sound:
            lines.append(f"          does not pass without any bug: {test}")
        elif test not in verdict.failed:
            state = "passed" if test in verdict.ran else "did not run"
            lines.append(f"          {state}: {test}")
    if not verdict.ran:
        lines.append(verdict.output[-2000:])
    print("\n".join(lines), flush=True)
    return caught


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
