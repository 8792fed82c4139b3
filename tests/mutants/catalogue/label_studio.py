"""In the way to Label Studio: each task once, in one project, with predictions that fit."""

from typing import Final

from mutants.mutant import Mutant

_HANDLER: Final = "services/sinks/batch_sinks/label_studio"
_TESTS: Final = "tests/integration/sinks/label_studio"

MUTANTS: Final = (
    Mutant(
        name="Label Studio: an attempt does not look at what is there",
        file=f"{_HANDLER}/imports.py",
        old="        stored = await self._stored()\n",
        new="        stored = set[int]()\n",
        tests=(
            (
                f"{_TESTS}/test_faults.py"
                "::test_an_import_whose_answer_was_lost_is_not_made_again[sqlite]"
            ),
        ),
    ),
    Mutant(
        name="Label Studio: what came twice stays",
        file=f"{_HANDLER}/stored.py",
        old="    if not surplus:\n",
        new="    if surplus is not None:\n",
        tests=(
            f"{_TESTS}/test_contract.py::test_tasks_that_came_twice_are_taken_away_again[fake-sqlite]",
        ),
    ),
    Mutant(
        name="Label Studio: of several new projects each is somebody's",
        file=f"{_HANDLER}/projects.py",
        old="            found = await self._titled(title) or [made]\n",
        new="            found = [made]\n",
        tests=(
            (
                f"{_TESTS}/test_faults.py"
                "::test_three_that_make_a_project_at_once_keep_the_oldest[sqlite]"
            ),
        ),
    ),
    Mutant(
        name="Label Studio: an access token is bought once",
        file=f"{_HANDLER}/client.py",
        old="if status == 401 and self._token.renew():",
        new="if status == 401 and self._token is None:",
        tests=(
            f"{_TESTS}/test_faults.py::test_an_access_token_that_has_run_out_is_bought_again[sqlite]",
        ),
    ),
    Mutant(
        name="Label Studio: a prediction need not be an option",
        file=f"{_HANDLER}/predictions.py",
        old=" for name in map(writable, names) if name in options",
        new=" for name in map(writable, names) if options",
        tests=(
            (
                "tests/unit/sinks/test_label_studio_interface.py"
                "::test_only_what_fits_a_question_is_predicted"
            ),
        ),
    ),
)
