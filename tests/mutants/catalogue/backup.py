"""Backups: what is copied when, and what counts as one."""

from typing import Final

from mutants.mutant import Mutant

_BACKUP: Final = "libs/cli/batch_cli/backup"
_TEST: Final = "tests/integration/cli/test_backup.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        name="a backup copies no object after the rows",
        file=f"{_BACKUP}/create.py",
        old="        began = time.monotonic()\n        await copier.copy()\n",
        new="        began = time.monotonic()\n",
        tests=(f"{_TEST}::test_what_comes_before_the_rows_moment_is_there",),
    ),
    Mutant(
        name="a backup copies no object before the rows",
        file=f"{_BACKUP}/create.py",
        old='        await copier.copy()\n        report.say(f"{copier.copied} objects',
        new='        report.say(f"{copier.copied} objects',
        tests=(f"{_TEST}::test_what_goes_after_the_rows_moment_is_there",),
    ),
    Mutant(
        name="a backup is restored without a look at its bytes",
        file=f"{_BACKUP}/restore.py",
        old="    if digested.sha256 != entry.sha256:",
        new="    if digested.bytes != entry.bytes:",
        tests=(f"{_TEST}::test_damage_is_found_and_not_restored[changed-objects/files/file-1]",),
    ),
    Mutant(
        name="a backup is restored over what is there",
        file=f"{_BACKUP}/restore.py",
        old="    await check_empty(database)\n",
        new="",
        tests=(f"{_TEST}::test_nothing_is_restored_over_something",),
    ),
)
