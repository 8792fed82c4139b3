"""Which names of sinks a batch's metadata may hold."""

import pytest

from batch_gateway.errors import ApiError
from batch_gateway.sink_choice import check_sinks

ENABLED = ("postgres", "acme")


@pytest.mark.parametrize(
    "choice", ["", "acme", " acme , postgres", "webhook", "we_01k", "acme,,", ","]
)
def test_names_that_there_are(choice: str) -> None:
    check_sinks({"sinks": choice, "other": "nowhere"}, ENABLED)


def test_no_choice() -> None:
    check_sinks(None, ENABLED)
    check_sinks({"a": "b"}, ())


@pytest.mark.parametrize("choice", ["acne", "acme,acne", "Acme acne", "webhook,acne"])
def test_a_name_that_there_is_not(choice: str) -> None:
    with pytest.raises(ApiError) as raised:
        check_sinks({"sinks": choice}, ENABLED)
    detail = raised.value.detail
    assert (raised.value.status, detail.param, detail.code) == (
        400,
        "metadata.sinks",
        "invalid_value",
    )
    assert "no sink '" in detail.message
    assert "It has postgres, acme, webhook;" in detail.message
