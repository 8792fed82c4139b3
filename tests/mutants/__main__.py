"""`python -m mutants [WORD…]`: every deliberate bug, or those with a WORD in their name.

Exit 1 when one is not caught, when its patch does not apply any more, or when a test fails
without any bug.
"""

import sys
import tempfile
import time
from pathlib import Path

from mutants import tree
from mutants.catalogue import MUTANTS
from mutants.mutant import DoesNotApplyError, Mutant


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = tree.make(Path(folder))
        sound = _sound(copy, chosen)
        caught = [_judge(copy, number, mutant, sound) for number, mutant in enumerate(chosen, 1)]
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


def _judge(copy: Path, number: int, mutant: Mutant, sound: frozenset[str]) -> bool:
    began = time.monotonic()
    try:
        with tree.broken(copy, mutant):
            verdict = tree.run(copy, mutant.tests)
    except DoesNotApplyError as error:
        print(f"{number:3}  DOES NOT APPLY  {error}", flush=True)
        return False
    caught = verdict.failed >= set(mutant.tests) and sound >= set(mutant.tests)
    seconds = time.monotonic() - began
    word = "caught" if caught else "SURVIVED"
    print(f"{number:3}  {word:8}  {seconds:5.1f} s  {mutant.name}", flush=True)
    for test in mutant.tests:
        if test not in sound:
            print(f"               does not pass without any bug: {test}", flush=True)
        elif test not in verdict.failed:
            state = "passed" if test in verdict.ran else "did not run"
            print(f"               {state}: {test}", flush=True)
    if not verdict.ran:
        print(verdict.output[-2000:], flush=True)
    return caught


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
