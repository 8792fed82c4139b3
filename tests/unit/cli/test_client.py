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
from batch_cli.client.look import _summary
from batch_cli.client.meter import Meter, Rate, duration, pace
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
    for at in range(20, 50, 10):
        meter.seen(at, done=100 + at // 10, tokens=500, total=1000)
    assert meter.seen(50, done=132, tokens=500, total=1000) == Rate(1.0, 0.0, 868.0)


def test_an_outage_is_told_and_then_forgotten() -> None:
    """Else it would be in the rate, and in what is left, for half a minute more."""
    meter = Meter()
    for at in range(0, 40, 2):
        assert meter.seen(at, done=at * 10, tokens=0, total=10_000).still_s is None
    for at in range(40, 48):
        assert meter.seen(at, done=380, tokens=0, total=10_000).still_s is None
    for at in range(49, 100):
        assert meter.seen(at, done=380, tokens=0, total=10_000) == Rate(still_s=at - 38.0)
    # What had been done in secret comes at once, and says nothing of the rate.
    assert meter.seen(100, done=700, tokens=0, total=10_000) == Rate()
    meter.seen(101, done=700, tokens=0, total=10_000)
    assert meter.seen(102, done=720, tokens=0, total=10_000) == Rate(10.0, 0.0, 928.0)


def test_a_slow_batch_does_not_stand_still() -> None:
    meter = Meter()
    rates = [meter.seen(at, done=at // 25, tokens=0, total=100) for at in range(300)]
    assert [rate.still_s for rate in rates[60:]] == [None] * 240
    assert rates[-1].requests == pytest.approx(1 / 25, rel=0.2)


def test_words_for_a_pace() -> None:
    assert pace(Rate()) == []
    assert pace(Rate(0.03, 0.0, 4000.0)) == ["1.8 requests/min", "1:06:40 left"]
    assert pace(Rate(0.1, 2.4, 9.0)) == ["0.1 requests/s", "2 tokens/s", "0:09 left"]
    assert pace(Rate(still_s=42.3)) == ["nothing new for 0:42"]


def test_a_count_that_falls_gives_no_negative_rate() -> None:
    meter = Meter()
    meter.seen(0, done=50, tokens=9, total=100)
    assert meter.seen(5, done=40, tokens=0, total=100) == Rate()


@pytest.mark.parametrize(("seconds", "text"), [(9.4, "0:09"), (75, "1:15"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
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


def test_the_list_counts_as_the_progress_does() -> None:
    content = batch() | {"request_counts": {"total": 100, "completed": 40, "failed": 3}}
    assert " 43/100 " in _summary(read_batch(content))
    assert " 43/100 done, 3 failed" in progress_line(read_batch(content), Rate())


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
    assert list(event_data(iter([*lines, b"\n", b"data: cut off\n"]))) == [None, b"{}", b"a\nb"]


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
