import pytest

from batch_common.secret import ApiKeys
from batch_gateway.auth import DEFAULT_TENANT, authenticate
from batch_gateway.errors import ApiError

KEYS = ApiKeys({"sk-secret-a": "a"})


def test_a_key_names_its_tenant() -> None:
    assert authenticate("Bearer sk-secret-a", KEYS) == "a"
    assert authenticate("bearer  sk-secret-a ", KEYS) == "a"


@pytest.mark.parametrize("header", ["", "sk-secret-a", "Basic sk-secret-a", "Bearer", "Bearer "])
def test_no_key(header: str) -> None:
    with pytest.raises(ApiError, match="You didn't provide an API key") as caught:
        authenticate(header, KEYS)
    assert (caught.value.status, caught.value.detail.code) == (401, None)


def test_a_wrong_key_is_not_repeated_in_the_answer() -> None:
    with pytest.raises(ApiError, match="Incorrect API key provided") as caught:
        authenticate("Bearer sk-secret-b", KEYS)
    assert (caught.value.status, caught.value.detail.code) == (401, "invalid_api_key")
    assert b"secret" not in caught.value.body()


def test_without_keys_everybody_is_one_tenant() -> None:
    assert authenticate("Bearer anything", ApiKeys({})) == DEFAULT_TENANT
    assert authenticate("", ApiKeys({})) == DEFAULT_TENANT
