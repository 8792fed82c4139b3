"""The real vLLM, for tests that are marked slow."""

from collections.abc import Iterator

import pytest

from support.vllm_environment import ENVIRONMENT, VllmSetup, find_vllm


@pytest.fixture(scope="session")
def vllm() -> Iterator[VllmSetup]:
    """An interpreter that has vLLM and a model folder; engines started meanwhile inherit what
    they need in the environment.
    """
    found = find_vllm()
    if found is None:
        pytest.fail("vLLM's environment is missing: run python tests/support/vllm_environment.py")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield found
