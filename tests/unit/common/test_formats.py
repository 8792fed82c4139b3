"""What the objects in the blob store hold, read back."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.formats.content import Content, Part, decode_content, encode_content
from batch_common.formats.manifest import Manifest, ObjectRef, decode_manifest, encode_manifest
from batch_common.formats.plan import RECORD, RECORD_BYTES, read_index, record_range
from batch_common.formats.request import REQUEST_DECODER
from batch_common.formats.result import (
    BATCH_CANCELLED,
    BATCH_EXPIRED,
    Response,
    ResultLine,
    encode_result,
    result_id,
)
from batch_common.formats.segment import Record, Segment, decode_segment, encode_segment
from batch_common.formats.usage import Usage, total

COUNTS = st.integers(0, 2**53)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
REFS = st.none() | st.builds(ObjectRef, TEXTS, COUNTS, COUNTS)


@given(st.lists(st.builds(Part, TEXTS, COUNTS)).map(tuple))
def test_content(parts: tuple[Part, ...]) -> None:
    content = Content(parts)
    assert decode_content(encode_content(content)) == content
    assert content.bytes == sum(part.bytes for part in parts)


@given(
    st.builds(
        Manifest,
        chunk=TEXTS,
        attempt=TEXTS,
        segments=st.lists(TEXTS).map(tuple),
        output=REFS,
        errors=REFS,
        completed=COUNTS,
        failed=COUNTS,
        unfinished=COUNTS,
        usage=USAGES,
    )
)
def test_manifest(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert manifest.lines == manifest.completed + manifest.failed + manifest.unfinished


RECORDS = st.lists(
    st.builds(
        Record,
        line=COUNTS,
        succeeded=st.booleans(),
        data=st.binary(max_size=50),
        usage=st.none() | USAGES,
    ),
    max_size=20,
)


@given(RECORDS)
def test_segment(records: list[Record]) -> None:
    segment = Segment("chunk_1", "att_1", records)
    assert decode_segment(encode_segment(segment)) == segment


def test_half_an_object_is_no_object() -> None:
    segment = encode_segment(Segment("c", "a", [Record(0, True, b"{}")]))
    manifest = encode_manifest(
        Manifest(
            chunk="c", attempt="a", segments=(), output=None, errors=None, completed=0, failed=0
        )
    )
    for whole, decode in ((segment, decode_segment), (manifest, decode_manifest)):
        for end in range(len(whole)):
            with pytest.raises(msgspec.DecodeError):
                decode(whole[:end])


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 3), min_size=1, max_size=30))
def test_plan_index(records: list[tuple[int, int, int]]) -> None:
    index = np.array(records, dtype=RECORD)
    data = index.tobytes()
    assert len(data) == RECORD_BYTES * len(records) == 12 * len(records)
    first, end = record_range(1, len(records))
    assert [tuple(map(int, record)) for record in read_index(data[first:end])] == records[1:]


def test_a_plan_record_is_little_endian_on_every_machine() -> None:
    [record] = read_index(bytes([1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 1]))
    assert (record["length"], record["tokens"], record["line"]) == (1, 258, 1 << 24)


def test_a_request_keeps_its_body_byte_for_byte() -> None:
    line = b'{"custom_id": "a", "method": "POST", "url": "/x", "body": {"b" : 1.0, "a":"\\u00e9"}}'
    request = REQUEST_DECODER.decode(line)
    assert request.custom_id == "a"
    assert bytes(request.body) == b'{"b" : 1.0, "a":"\\u00e9"}'


def test_a_result_line_has_its_four_keys_always() -> None:
    answered = encode_result(
        ResultLine("i", "a", Response(200, "req", msgspec.Raw(b'{"x":1}')), None)
    )
    assert answered == (
        b'{"id":"i","custom_id":"a","response":{"status_code":200,"request_id":"req",'
        b'"body":{"x":1}},"error":null}'
    )
    for error in (BATCH_EXPIRED, BATCH_CANCELLED):
        line = msgspec.json.decode(encode_result(ResultLine("i", "a", None, error)))
        assert line == {
            "id": "i",
            "custom_id": "a",
            "response": None,
            "error": {"code": error.code, "message": error.message},
        }


def test_a_result_id_is_of_the_line_alone() -> None:
    assert result_id("batch_01k", 7) == "batch_req_01k_7"
    assert len({result_id(b, n) for b in ("batch_a", "batch_b") for n in range(50)}) == 100


@given(st.lists(USAGES))
def test_usage_adds_up(usages: list[Usage]) -> None:
    summed = Usage()
    for usage in usages:
        summed += usage
    assert total(usages) == summed
