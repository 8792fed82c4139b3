"""In what a task schema does: frozen for a batch, laid into requests, held against answers."""

from typing import Final

from mutants.mutant import Mutant

_GATEWAY: Final = "services/gateway/batch_gateway"
_SCHEDULER: Final = "services/scheduler/batch_scheduler"
_RUNNER: Final = "services/gpu_runner/batch_gpu_runner"
_SINKS: Final = "services/sinks/batch_sinks"
_CREATION: Final = "tests/integration/gateway/test_task_schemas.py"
_PLANS: Final = "tests/integration/scheduler/test_task_schemas.py"
_FORMS: Final = "tests/unit/gpu_runner/test_response_format.py"
_COLUMNS: Final = "tests/integration/sinks/test_postgres_schemas.py"

MUTANTS: Final = (
    Mutant(
        name="task schema: a retry has none",
        file=f"{_GATEWAY}/retry.py",
        old="        task_schema=row.task_schema,\n",
        new="",
        tests=(f"{_CREATION}::test_a_retry_has_the_schema_that_the_first_batch_had",),
    ),
    Mutant(
        name="task schema: its content is kept by name",
        file=f"{_GATEWAY}/task_schemas.py",
        old="hashlib.sha256(content)",
        new="hashlib.sha256(name.encode())",
        tests=(f"{_CREATION}::test_an_edit_of_the_folder_changes_no_batch_that_is_there",),
    ),
    Mutant(
        name="task schema: a chunk that is offered again has none",
        file=f"{_SCHEDULER}/reconcile.py",
        old="has_schema=chunk.task_schema is not None",
        new="has_schema=False",
        tests=(f"{_PLANS}::test_a_chunk_that_is_offered_again_names_it_too[sqlite]",),
    ),
    Mutant(
        name="task schema: lost beside its plan for good",
        file=f"{_SCHEDULER}/plans.py",
        old="                await _keep_schema(self._context, batch)\n",
        new="",
        tests=(f"{_PLANS}::test_a_lost_schema_comes_back_from_the_database[sqlite]",),
    ),
    Mutant(
        name="task schema: requests are sent without it",
        file=f"{_RUNNER}/load.py",
        old="    return ResponseFormat(schema, ready.endpoint)\n",
        new="    return None if schema else ResponseFormat(schema, ready.endpoint)\n",
        tests=(
            (
                "tests/integration/gpu_runner/test_task_schemas.py"
                "::test_every_request_asks_for_the_schema"
            ),
        ),
    ),
    Mutant(
        name="task schema: laid over a request's own form",
        file=f"{_RUNNER}/response_format.py",
        old="        if any(_is_given(fields, name) for name in _FORMS):\n",
        new="        if False:\n",
        tests=(f"{_FORMS}::test_a_request_with_a_form_of_its_own_keeps_it",),
    ),
    Mutant(
        name="task schema: properties sorted by name",
        file="libs/common/batch_common/task_schema.py",
        old="    return msgspec.json.encode(schema)\n",
        new='    return msgspec.json.encode(schema, order="deterministic")\n',
        tests=("tests/unit/common/test_task_schema.py::test_properties_stay_in_their_order",),
    ),
    Mutant(
        name="task schema: answers are not held against it",
        file=f"{_SINKS}/answer_check.py",
        old="            if self._validator.is_valid(answer):\n",
        new="            if answer:\n",
        tests=(
            "tests/integration/sinks/test_task_schemas.py::test_each_result_is_flagged[sqlite]",
        ),
    ),
    Mutant(
        name="task schema: a value of another type is handed to its column",
        file=f"{_SINKS}/postgres/answer_columns.py",
        old="    fitting = _fitting(value, kind)\n",
        new="    fitting = value\n",
        tests=(f"{_COLUMNS}::test_answers_that_do_not_follow_it_are_rows_too[sqlite]",),
    ),
    Mutant(
        name="two custom_ids under one key",
        file=f"{_SINKS}/postgres/rows.py",
        old='    return f"{clean}#{digest[:32]}"\n',
        new="    return clean if digest else clean\n",
        tests=(
            "tests/unit/sinks/test_postgres_rows.py::test_keys_are_as_different_as_custom_ids",
            f"{_COLUMNS}::test_custom_ids_that_postgres_stores_alike_are_rows_of_their_own[sqlite]",
        ),
    ),
)
