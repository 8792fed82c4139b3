"""What is wrong with a line, in OpenAI's words."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scheduler.problems import MAX_PROBLEMS
from batch_scheduler.rules import RequestReader, Rules, explain

from .examined import CHAT, envelope, examined, line, problems

RULES = Rules(CHAT, frozenset({"m"}))

MISSING = "missing_required_parameter"
ONE_LINE = [
    (b"{", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    (b"[1]", "invalid_json_line", None, "This line is not a JSON object."),
    (envelope(custom_id=...), MISSING, "custom_id", "Missing required parameter: 'custom_id'."),
    (envelope(custom_id=None), MISSING, "custom_id", "Missing required parameter: 'custom_id'."),
    (envelope(method=...), MISSING, "method", "Missing required parameter: 'method'."),
    (envelope(url=...), MISSING, "url", "Missing required parameter: 'url'."),
    (envelope(body=...), MISSING, "body", "Missing required parameter: 'body'."),
    (
        envelope(custom_id=7),
        "invalid_type",
        "custom_id",
        "Invalid type for 'custom_id': expected a string, but got an integer instead.",
    ),
    (
        envelope(body="x"),
        "invalid_type",
        "body",
        "Invalid type for 'body': expected an object, but got a string instead.",
    ),
    (line(messages=...), MISSING, "body.messages", "Missing required parameter: 'messages'."),
    (line(messages=None), MISSING, "body.messages", "Missing required parameter: 'messages'."),
    (line(model=...), "invalid_request", "body.model", "Model parameter is required."),
    (
        line(model="gpt-5"),
        "model_not_found",
        "body.model",
        "The provided model 'gpt-5' is not supported by the Batch API.",
    ),
    (
        line(stream=True),
        "streaming_unsupported",
        "body.stream",
        "Chat Completions: Streaming is not supported in the Batch API.",
    ),
    (
        envelope(url="/chat/completions"),
        "invalid_url",
        "url",
        "The URL provided for this request does not match the batch endpoint.",
    ),
    (
        envelope(method="GET"),
        "invalid_method",
        "method",
        "Invalid method: 'GET'. Only 'POST' is supported.",
    ),
]


@pytest.mark.parametrize(("text", "code", "param", "message"), ONE_LINE)
def test_each_rule_has_its_code_and_words(
    text: bytes, code: str, param: str | None, message: str
) -> None:
    found = [p for p in examined(text).problems if p.code == code and p.param == param]
    assert [(p.message, p.line) for p in found] == [(message, 1)]


def test_a_line_tells_everything_that_is_wrong_with_it_in_order() -> None:
    text = json.dumps({"method": "GET", "url": "/v1/x", "body": {"stream": True}}).encode()
    assert problems(text) == [
        (MISSING, "custom_id", 1),
        ("invalid_method", "method", 1),
        ("invalid_url", "url", 1),
        ("invalid_request", "body.model", 1),
        (MISSING, "body.messages", 1),
        ("streaming_unsupported", "body.stream", 1),
    ]


@pytest.mark.parametrize("stream", [False, None])
def test_a_stream_that_is_off_is_fine(stream: bool | None) -> None:
    assert problems(line(stream=stream)) == []


def test_every_bad_line_is_told_by_its_number_in_order() -> None:
    lines = [line("a"), b"nonsense", b"", line("a"), b"  ", line("b", model="no"), line("c")]
    assert problems(b"\n".join(lines)) == [
        ("invalid_json_line", None, 2),
        ("duplicate_custom_id", "custom_id", 4),
        ("model_not_found", "body.model", 6),
    ]


@pytest.mark.parametrize(
    "text",
    [
        line().replace(b"hi", b"\xff\xfe"),
        line().replace(b'"a"', b'"\xc3"'),
        line().replace(b"hi", b"\x01"),
        line().replace(b"hi", b"\\ud800"),
        line().replace(b'"hi"', b"[" * 100_000 + b"]" * 100_000),
        line()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        line() + b" {}",
        line().replace(b'"hi"', b"NaN"),
    ],
    ids=["utf8", "utf8 in id", "control", "surrogate", "deep", "deep aside", "two", "nan"],
)
def test_what_no_reader_takes_is_not_json(text: bytes) -> None:
    assert problems(text) == [("invalid_json_line", None, 1)]


@pytest.mark.parametrize("separator", [b"\r\n", b"\n", b"\n\n  \n"])
def test_lines_end_as_editors_end_them(separator: bytes) -> None:
    report = examined(b"\xef\xbb\xbf" + separator.join([line("a"), line("b"), line("c")]))
    assert (report.requests, report.problems) == (3, ())


def test_a_line_separator_inside_a_string_ends_no_line() -> None:
    body = json.loads(line("a\N{LINE SEPARATOR}b\x85c", messages=[{"role": "user"}]))
    text = json.dumps(body, ensure_ascii=False).encode()
    assert "\N{LINE SEPARATOR}".encode() in text
    assert examined(text + b"\n" + line("z")).requests == 2


def test_a_line_of_ten_megabytes_is_read_and_one_above_the_limit_is_told() -> None:
    large = line("big", messages=[{"role": "user", "content": "x" * 10_000_000}])
    assert examined(large).problems == ()
    assert problems(line("a") + b"\n" + large + b"\n" + line("a"), max_line_bytes=1_000_000) == [
        ("request_too_large", None, 2),
        ("duplicate_custom_id", "custom_id", 3),
    ]


@pytest.mark.parametrize("text", [b"\n", b"\n \r\n\t\n", b"\xef\xbb\xbf\n"])
def test_a_file_without_requests_fails(text: bytes) -> None:
    assert problems(text) == [("empty_file", None, None)]


def test_one_line_over_the_limit_fails_and_the_limit_itself_does_not() -> None:
    lines = [line(str(n)) for n in range(4)]
    assert problems(b"\n".join(lines[:3]), max_requests=3) == []
    assert problems(b"\n".join(lines), max_requests=3) == [("too_many_requests", None, None)]
    assert problems(b"\n".join([*lines[:3], b"", b" "]), max_requests=3) == []


def test_one_model_only_where_that_is_asked_for() -> None:
    text = b"\n".join([line("a"), line("b", model="n"), line("c")])
    assert problems(text) == []
    assert problems(text, single_model=True) == [("mismatched_model", "body.model", 2)]


@pytest.mark.parametrize(
    ("given_inputs", "count"),
    [("text", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2, 3]], 2), ([], 1)],
)
def test_embedding_inputs_are_added_up(given_inputs: object, count: int) -> None:
    endpoint = "/v1/embeddings"
    text = envelope(url=endpoint, body={"model": "m", "input": given_inputs})
    assert problems(text, endpoint=endpoint, max_embedding_inputs=count) == []
    over = problems(text, endpoint=endpoint, max_embedding_inputs=count - 1)
    assert over == [("too_many_embedding_inputs", "body.input", None)]


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("/v1/completions", "prompt"),
        ("/v1/embeddings", "input"),
        ("/v1/responses", "input"),
        ("/v1/moderations", "input"),
    ],
)
def test_each_endpoint_needs_its_prompt(endpoint: str, name: str) -> None:
    bare = envelope(url=endpoint, body={"model": "m"})
    assert problems(bare, endpoint=endpoint) == [(MISSING, f"body.{name}", 1)]
    assert problems(envelope(url=endpoint, body={"model": "m", name: "x"}), endpoint=endpoint) == []


def test_no_more_errors_are_kept_than_anybody_reads() -> None:
    report = examined(b"x\n" * (MAX_PROBLEMS + 5), max_requests=MAX_PROBLEMS + 5)
    assert (len(report.problems), report.problem_count) == (MAX_PROBLEMS, MAX_PROBLEMS + 5)


def test_a_strange_custom_id_is_shown_without_its_control_characters() -> None:
    odd = "a\x00\x1b[31m" + "é" * 500
    [found] = examined(line(odd) + b"\n" + line(odd)).problems
    assert (found.code, found.line) == ("duplicate_custom_id", 2)
    assert "\x00" not in found.message
    assert "\x1b" not in found.message
    assert len(found.message) < 500


_JSON = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 10**30, "", "x", "a\x00", [], [1], {}, {"a": [None]}]
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "custom_id": _JSON,
            "method": st.just("POST") | _JSON,
            "url": st.just(CHAT) | _JSON,
            "body": _JSON
            | st.fixed_dictionaries(
                {},
                optional={
                    "model": st.just("m") | _JSON,
                    "messages": _JSON,
                    "stream": _JSON,
                    "max_tokens": _JSON,
                },
            ),
        },
    )
)
def test_a_line_is_taken_exactly_when_nothing_is_wrong_with_it(request_: dict[str, object]) -> None:
    text = msgspec.json.encode(request_)
    taken = RequestReader(RULES).read(text) is not None
    found, _custom_id = explain(text, 1, RULES)
    assert taken == (not found)
