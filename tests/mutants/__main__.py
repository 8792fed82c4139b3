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
        if not _sound(copy, chosen):
            return 1
        verdicts = [_judge(copy, number, mutant) for number, mutant in enumerate(chosen, 1)]
    print(f"{verdicts.count(True)} of {len(verdicts)} caught")
    return 0 if all(verdicts) else 1


def _sound(copy: Path, chosen: list[Mutant]) -> bool:
    """Without a bug every test passes: else a failure would say nothing."""
    tests = tuple(sorted({test for mutant in chosen for test in mutant.tests}))
    verdict = tree.run(copy, tests)
    missing = sorted(set(tests) - verdict.ran)
    if verdict.failed or missing:
        print(verdict.output[-4000:])
        print(f"without any bug: failed {sorted(verdict.failed)}, did not run {missing}")
        return False
    print(f"without any bug {len(tests)} tests pass")
    return True


def _judge(copy: Path, number: int, mutant: Mutant) -> bool:
    began = time.monotonic()
    try:
        with tree.broken(copy, mutant):
            verdict = tree.run(copy, mutant.tests)
    except DoesNotApplyError as error:
        print(f"{number:3}  DOES NOT APPLY  {error}", flush=True)
        return False
    caught = verdict.failed == set(mutant.tests)
    seconds = time.monotonic() - began
    word = "caught" if caught else "SURVIVED"
    print(f"{number:3}  {word:8}  {seconds:5.1f} s  {mutant.name}", flush=True)
    for test in mutant.tests:
        if test not in verdict.failed:
            state = "passed" if test in verdict.ran else "did not run"
            print(f"               {state}: {test}")
    if not caught and not verdict.ran:
        print(verdict.output[-2000:])
    return caught


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
