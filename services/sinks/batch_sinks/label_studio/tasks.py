"""One result as one task."""

from collections.abc import Mapping
from typing import Any, Final

from batch_common.task_schema import Input, Question, TaskSchema
from batch_sinks.handler import BatchMetadata
from batch_sinks.label_studio.answers import shown_answer
from batch_sinks.label_studio.columns import (
    ANSWER,
    PROBLEMS,
    column_names,
    our_columns,
    shown_value,
)
from batch_sinks.label_studio.predictions import make_regions

MODEL_VERSION: Final = "vllm-batch-server"
"""Of every prediction: Label Studio shows reviewers those of one version only, and a batch of
another model shall not go without. The model is a column of its own."""

_PROMPTS: Final = {
    "/v1/chat/completions": "/messages",
    "/v1/completions": "/prompt",
}


def default_schema(endpoint: str) -> TaskSchema:
    """For a batch that names none: the prompt is shown, and the answer can be edited."""
    source = _PROMPTS.get(endpoint, "/input")
    return TaskSchema(
        name="batch_results",
        title="Batch results",
        inputs=(Input(name="prompt", title="Prompt", source=source, show="chat"),),
        questions=(Question(name="edited", title="Edited answer", type="text", source=""),),
    )


def make_task(
    batch_id: str, result: Mapping[str, Any], schema: TaskSchema, metadata: BatchMetadata
) -> dict[str, Any] | None:
    """As Label Studio imports it; None for a result without an answer, which nobody can review."""
    said = shown_answer(result["response"])
    if said is None:
        return None
    body = (result["request"] or {}).get("body") or {}
    columns = column_names(schema)
    data = our_columns(batch_id, result, metadata)
    data |= {ANSWER: said, PROBLEMS: _problems(result)}
    data |= {columns[shown.name]: shown_value(shown, body) for shown in schema.inputs}
    # Without a schema of the batch's nobody has parsed its answers.
    regions = make_regions(schema, result.get("answer", said))
    predictions = [{"model_version": MODEL_VERSION, "result": regions}] if regions else []
    return {"data": data, "predictions": predictions}


def _problems(result: Mapping[str, Any]) -> str:
    """What in the answer is against the schema; empty: nothing."""
    errors = result.get("schema", {}).get("errors", ())
    return "; ".join(f"{error['at']}: {error['message']}" for error in errors)
