"""schemas/asyncapi.json against the schema that AsyncAPI publishes, from npm."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

DOCUMENT = Path(__file__).parents[2] / "schemas" / "asyncapi.json"
PACKAGE = "@asyncapi/specs@6.11.1"


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    npm = shutil.which("npm")
    folder = tmp_path_factory.mktemp("specs")
    if npm is None:
        pytest.skip("needs npm")
    packed = subprocess.run(
        [npm, "pack", "--silent", PACKAGE],
        cwd=folder,
        capture_output=True,
        timeout=120,
        check=False,
    )
    if packed.returncode:
        pytest.skip("needs a registry that npm reaches")
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        file = files.extractfile("package/schemas/3.0.0.json")
        assert file is not None
        return json.load(file)


@pytest.mark.slow
def test_the_document_is_valid(schema: Any) -> None:
    kind = jsonschema.validators.validator_for(schema)
    document = json.loads(DOCUMENT.read_text("utf-8"))
    assert [error.message for error in kind(schema).iter_errors(document)] == []
    document["operations"]["dead"]["action"] = "shout"
    assert list(kind(schema).iter_errors(document))
