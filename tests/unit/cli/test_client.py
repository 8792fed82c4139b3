"""What the client shows, sends and reads, without a server."""

import io
from pathlib import Path
from typing import Any

import pytest

from batch_cli.client.api import Api
from batch_cli.client.batch import describe, error_lines, read_batch
from batch_cli.client.display import LineDisplay, choose_display, progress_line
from batch_cli.client.errors import BatchEndedError, UnreachableError
from batch_cli.client.follow import event_data
from batch_cli.client.meter import Meter, Rate, duration
from batch_cli.client.results import OutputFileError, whole_file
from batch_cli.client.submit import first_endpoint
from batch_cli.client.upload import InputFileError, Source, multipart
from batch_cli.client.watch import check_completed
from batch_common.errors import ConfigError
from batch_common.secret import Secret


def batch(status: str = "in_progress", done: int = 0, **more: Any) -> dict[str, Any]:
    counts = {"total": 100, "completed": done, "failed": 0}
    return {"id": "batch_1", "status": status, "request_counts": counts, **more}


def test_rates_are_of_the_last_half_minute() -> None:
    meter = Meter()
    assert meter.seen(0, done=0, tokens=0, total=1000) == Rate()
    assert meter.seen(10, done=100, tokens=500, total=1000) == Rate(10.0, 50.0, 90.0)
    for at in range(20, 60, 10):
        meter.seen(at, done=100, tokens=500, total=1000)
    assert meter.seen(60, done=130, tokens=500, total=1000) == Rate(1.0, 0.0, 870.0)


def test_a_count_that_falls_gives_no_negative_rate() -> None:
    meter = Meter()
    meter.seen(0, done=50, tokens=9, total=100)
    assert meter.seen(5, done=40, tokens=0, total=100) == Rate()


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (9.4, "0:09"), (75, "1:15"), (3723, "1:02:03")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_for_each_change_of_status_and_no_flood() -> None:
    stream = io.StringIO()
    display = LineDisplay(stream)
    for content in (batch("validating"), batch(), batch(done=5), batch("completed", 100)):
        display.show(content)
    assert stream.getvalue().splitlines() == [
        "batch_1 validating 0/100 done, 0 failed",
        "batch_1 in_progress 0/100 done, 0 failed",
        "batch_1 completed 100/100 done, 0 failed",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with choose_display(stream) as display:
        for content in (batch("validating"), batch(done=40), batch("completed", 100)):
            display.show(content)
    assert "100/100" in stream.getvalue()
    assert "completed" in stream.getvalue()


def test_the_line_has_rates_and_time_left() -> None:
    line = progress_line(read_batch(batch(done=40)), Rate(4.0, 812.3, 15.0))
    assert line.endswith("40/100 done, 0 failed, 4.0 requests/s, 812 tokens/s, 0:15 left")


def test_errors_name_line_and_parameter_and_end_after_ten() -> None:
    data = [{"message": "bad", "param": "body", "line": n} for n in range(1, 14)]
    lines = error_lines(read_batch(batch("failed", errors={"object": "list", "data": data})))
    assert lines[0] == "line 1: bad (body)"
    assert len(lines) == 11
    assert lines[-1].startswith("… and 3 more")


def test_only_completed_is_a_success() -> None:
    check_completed(read_batch(batch("completed")))
    with pytest.raises(BatchEndedError, match="ended as expired\n  40 of 100 requests"):
        check_completed(read_batch(batch("expired", 40)))


def test_show_leaves_out_what_there_is_not() -> None:
    labels = [label for label, _ in describe(read_batch(batch(metadata={"by": "me"})))]
    assert labels == ["batch", "status", "requests", "metadata.by"]


def test_what_is_no_batch_is_said_so() -> None:
    with pytest.raises(UnreachableError, match="not what the API promises"):
        read_batch({"detail": "Not Found"})


def test_events_are_read_over_comments_and_line_ends() -> None:
    lines = [
        b": keep-alive\n",
        b"\n",
        b"data: {}\r\n",
        b"\r\n",
        b"id: 1\n",
        b"data:a\n",
        b"data:b\n",
    ]
    assert list(event_data(iter([*lines, b"\n", b"data: cut off\n"]))) == [b"{}", b"a\nb"]


def test_a_form_has_the_length_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"0123456789")
    sent: list[int] = []
    body = multipart("file", 'a"b\n.jsonl', Source(path, 2, 5), sent.append, {"purpose": "batch"})
    content = b"".join(body.pieces)
    assert len(content) == body.size
    assert b'filename="a%22b%0A.jsonl"' in content
    assert b"\r\n\r\n23456\r\n" in content
    assert sum(sent) == 5


def test_a_file_that_shrinks_while_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"0123")
    with pytest.raises(InputFileError, match="became shorter"):
        list(Source(path, 0, 10).pieces(lambda _: None))


def test_the_endpoint_is_the_first_requests(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\n{"url": "/v1/embeddings"}\n{"url": "/v1/other"}\n')
    assert first_endpoint(path) == "/v1/embeddings"
    path.write_bytes(b'\n\r\n{"url": "/v1/embeddings"}\n{"url": "/v1/other"}\n')
    assert first_endpoint(path) == "/v1/embeddings"
    for content in (b"", b"nonsense\n", b'{"custom_id": 1}\n'):
        path.write_bytes(content)
        with pytest.raises(InputFileError, match="no JSON object with a `url`"):
            first_endpoint(path)


def test_urls() -> None:
    assert Api("http://h:1", Secret("")).url == "http://h:1/v1"
    assert Api("h:8000/api/v1/", Secret("")).url == "http://h:8000/api/v1"
    for url in ("ftp://h", "http://", "http://h:port/v1"):
        with pytest.raises(ConfigError, match="is no URL of a server"):
            Api(url, Secret(""))


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as file:  # noqa: PT012 - fails midway
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    with whole_file(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]
    with pytest.raises(OutputFileError, match="cannot write"), whole_file(tmp_path / "no" / "x"):
        pass
