"""Settings of the handler s3 that cannot work; how keys and parts are made of those that can."""

import pytest

from batch_common.config import S3, Sinks
from batch_common.errors import ConfigError
from batch_sinks.registry import make_sinks
from batch_sinks.s3.prefix import check_template, fill_in
from batch_sinks.s3.upload import part_size

MIB = 1 << 20
ABOUT = {"tenant": "a/b", "model": None, "status": "completed", "ended_at": 1700000000}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (S3(), r"set result_handlers\.s3\.bucket"),
        (S3(bucket="b", prefix="results"), r"must hold \{batch_id\}, and may hold \{tenant\}"),
        (S3(bucket="b", prefix="{batch_id}/{user}"), r"must hold \{batch_id\}"),
        (S3(bucket="b", prefix="{batch_id}/{0}"), r"must hold \{batch_id\}"),
        (S3(bucket="b", prefix="{batch_id}/{"), r"must hold \{batch_id\}"),
        (S3(bucket="b", prefix="{batch_id.__class__}"), r"must hold \{batch_id\}"),
    ],
)
async def test_settings_that_cannot_work(settings: S3, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_sinks(Sinks(enabled=("s3",), s3=settings))


def test_a_tenants_slash_opens_no_other_tenants_folder() -> None:
    template = check_template("/{tenant}/{model}/{date}/{status}/{batch_id}/")
    filled = fill_in(template, "batch_1", ABOUT)  # type: ignore[arg-type]
    assert filled == "a%2Fb/several/2023-11-14/completed/batch_1"


def test_parts_grow_where_ten_thousand_are_too_few() -> None:
    assert part_size(8 * MIB, 0) == 8 * MIB
    assert part_size(8 * MIB, 80_000 * MIB) == 8 * MIB
    assert part_size(8 * MIB, 80_000 * MIB + 1) * 10_000 >= 80_000 * MIB + 1
