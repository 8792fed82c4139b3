"""Answers held against a task schema."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from jsonschema_rs import Draft202012Validator

from batch_common.task_schema import Problem, TaskSchema
from batch_common.validation import problem_of
from batch_sinks.answer import answer_text, is_cut_off
from batch_sinks.json_line import MAX_LEVELS, is_shallow
from batch_sinks.metrics import ANSWERS

# Of one answer: a long list that is all wrong need not be told item by item.
_TOLD: Final = 10


class AnswerCheck:
    """Made once for a batch's results."""

    def __init__(self, schema: TaskSchema) -> None:
        self.schema = schema
        answer = schema.answer
        self._validator = None if answer is None else Draft202012Validator(answer, offline=True)

    def mark(self, results: Sequence[dict[str, Any]]) -> None:
        """Gives each result its `answer` and its `schema`, as docs/SCHEMAS.md has them."""
        valid = invalid = 0
        for result in results:
            self._mark(result)
            flag = result["schema"]["valid"]
            valid += flag is True
            invalid += flag is False
        for outcome, count in (("valid", valid), ("invalid", invalid)):
            ANSWERS.labels(self.schema.name, outcome).inc(count)

    def _mark(self, result: dict[str, Any]) -> None:
        response = result["response"]
        answer, flag = None, None
        problems: list[Problem] = []
        if response is not None and 200 <= response["status_code"] < 300:
            answer, problems = self._judge(response["body"])
            flag = not problems
        result["answer"] = answer
        result["schema"] = {
            "name": self.schema.name,
            "version": self.schema.version,
            "valid": flag,
            "errors": [{"at": each.at, "message": each.message} for each in problems],
        }

    def _judge(self, body: Any) -> tuple[Any, list[Problem]]:
        text = answer_text(body)
        if text is None:
            return None, [Problem("", "the response holds no text")]
        if self._validator is None:
            return text, []
        try:
            answer = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            cut = " (it was cut off at the limit of tokens)" if is_cut_off(body) else ""
            return None, [Problem("", f"the answer is not JSON: {error}{cut}")]
        if not is_shallow(text.encode()):
            return None, [Problem("", f"the answer is nested deeper than {MAX_LEVELS} levels")]
        return answer, self._problems(answer)

    def _problems(self, answer: Any) -> list[Problem]:
        assert self._validator is not None  # noqa: S101 - the caller has looked
        try:
            if self._validator.is_valid(answer):
                return []
            return [problem_of(each) for each in islice(self._validator.iter_errors(answer), _TOLD)]
        except ValueError as error:  # deeper than the validator goes
            return [Problem("", f"the answer cannot be checked: {error}")]
