"""Results as tasks: what is shown of a request, and what an answer is."""

from typing import Any

import pytest

from batch_common.formats.result import result_id
from batch_common.task_schema import Input, Question, TaskSchema
from batch_sinks import BatchMetadata
from batch_sinks.label_studio.columns import messages, shown_value
from batch_sinks.label_studio.tasks import default_schema, make_task

BATCH = "batch_1"
METADATA: Any = {"tenant": "acme", "model": "sim", "endpoint": "/v1/chat/completions"}
SAID = {"choices": [{"message": {"role": "assistant", "content": "fine"}}]}


def result(body: Any = SAID, status: int = 200, **more: Any) -> dict[str, Any]:
    request = {"messages": [{"role": "user", "content": "how?"}], "model": "of-request"}
    return {
        "id": result_id(BATCH, 7),
        "custom_id": "r7",
        "response": {"status_code": status, "request_id": "q", "body": body},
        "error": None,
        "request": {"custom_id": "r7", "body": request},
        **more,
    }


def task(result: dict[str, Any], schema: TaskSchema | None = None) -> dict[str, Any] | None:
    metadata: BatchMetadata = METADATA
    return make_task(BATCH, result, schema or default_schema("/v1/chat/completions"), metadata)


def data(result: dict[str, Any], schema: TaskSchema | None = None) -> dict[str, Any]:
    made = task(result, schema)
    assert made is not None
    columns: dict[str, Any] = made["data"]
    return columns


def test_a_batch_without_a_schema_shows_prompt_and_answer() -> None:
    made = task(result())
    assert made is not None
    assert made["data"] == {
        "batch_id": BATCH,
        "result_id": "batch_req_1_7",
        "custom_id": "r7",
        "tenant": "acme",
        "model": "of-request",
        "answer": "fine",
        "problems": "",
        "prompt": [{"role": "user", "content": "how?"}],
    }
    [prediction] = made["predictions"]
    assert prediction["model_version"] == "vllm-batch-server"
    [region] = prediction["result"]
    assert (region["from_name"], region["value"]) == ("edited", {"text": ["fine"]})


@pytest.mark.parametrize(
    "unanswered",
    [
        result(status=500),
        result(response=None, error={"code": "request_timeout", "message": "too late"}),
    ],
)
def test_a_request_that_failed_is_no_task(unanswered: dict[str, Any]) -> None:
    assert task(unanswered) is None


def test_without_its_request_a_task_has_the_batch_s_model() -> None:
    columns = data(result(request=None))
    assert (columns["model"], columns["prompt"]) == ("sim", [])


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"choices": [{"text": "once"}]}, "once"),
        ({"choices": [{"message": {"content": None, "refusal": "no"}}]}, "no"),
        ({"choices": [{"message": {"content": None, "tool_calls": [{"id": "t"}]}}]}, '"id": "t"'),
        ({"data": [{"embedding": [0.5]}]}, '"embedding": [0.5]'),
    ],
)
def test_an_answer_that_is_no_chat_text_is_shown_all_the_same(body: Any, answer: str) -> None:
    assert answer in data(result(body))["answer"]


def test_what_is_wrong_with_an_answer_stands_in_its_task() -> None:
    schema = TaskSchema(
        name="s",
        answer={"type": "object"},
        questions=(Question(name="n", title="n", type="number", source="/n"),),
    )
    errors = [{"at": "/n", "message": "3 is too much"}, {"at": "", "message": "m is required"}]
    marked = result(answer={"n": 3}, schema={"valid": False, "errors": errors})
    made = task(marked, schema)
    assert made is not None
    assert made["data"]["problems"] == "/n: 3 is too much; : m is required"
    assert made["predictions"][0]["result"][0]["value"] == {"number": 3}
    unusable = task(result(answer=None, schema={"valid": False, "errors": []}), schema)
    assert unusable is not None
    assert unusable["predictions"] == []


PARTS = [
    {"type": "text", "text": "look"},
    {"type": "image_url", "image_url": {"url": "https://i/1.png"}},
]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("hi", [("user", "hi")]),
        (None, []),
        ([{"role": "system", "content": "s"}], [("system", "s")]),
        ([{"role": "user", "content": PARTS}], [("user", "look\nhttps://i/1.png")]),
        ([{"role": "assistant", "content": None}], []),
        (["a", "b"], [("user", "a"), ("user", "b")]),
        ([[1, 2]], [("user", "[1, 2]")]),
        ([{"role": "assistant", "content": None, "tool_calls": 5}], [("assistant", "5")]),
    ],
)
def test_messages_of_every_form_are_a_dialogue(said: Any, shown: list[tuple[str, str]]) -> None:
    assert [(each["role"], each["content"]) for each in messages(said)] == shown


@pytest.mark.parametrize(
    ("show", "source", "value"),
    [
        ("text", "/messages/0/content", "how?"),
        ("text", "last_user_message", "how?"),
        ("text", "/nowhere", ""),
        ("text", "/n", "3"),
        ("json", "/n", "3"),
        ("json", "/nowhere", ""),
        ("image", "/image", "https://i/1.png"),
        ("chat", "/nowhere", []),
    ],
)
def test_inputs_are_found_in_the_request(show: Any, source: str, value: Any) -> None:
    body = {"messages": [{"role": "user", "content": "how?"}], "n": 3, "image": PARTS[1]}
    assert shown_value(Input(name="x", title="x", source=source, show=show), body) == value


@pytest.mark.parametrize("found", [10**310, -(10**4000), float("inf"), float("nan"), True])
def test_a_number_that_no_float_holds_is_no_prediction(found: Any) -> None:
    question = Question(name="n", title="n", type="number", source="/n")
    schema = TaskSchema(name="s", answer={"type": "object"}, questions=(question,))
    made = task(result(answer={"n": found}), schema)
    assert made is not None
    assert made["predictions"] == []
