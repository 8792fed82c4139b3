"""Models: on this machine, in the hub's cache, on the hub, or nowhere."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_cli.doctor.hub import Hub
from batch_cli.doctor.models import look_at_models, weights_bytes
from batch_cli.doctor.place import Place
from batch_cli.standalone.folder import DataFolder
from batch_common.config import Config, Runner


def place(tmp_path: Path, *models: str, engine: str = "vllm") -> Place:
    config = Config(data_dir=str(tmp_path), runner=Runner(models=models))
    folder = DataFolder(tmp_path)
    return Place(config=config, folder=folder, standalone=True, running=False, engine=engine)


def model_folder(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_bytes(b"x" * 1000)
    return folder


OFF = Hub({"HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere"})


def status(where: Place, hub: Hub = OFF) -> tuple[str, str]:
    [finding], _ = look_at_models(where, hub)
    return finding.status, finding.says


def test_a_whole_folder_is_fine_and_its_weights_are_counted_once(tmp_path: Path) -> None:
    kinds = ("config.json", "a.safetensors", "b.safetensors", "pytorch_model.bin")
    folder = model_folder(tmp_path / "m", *kinds)
    findings, sizes = look_at_models(place(tmp_path, f"mine={folder}"), OFF)
    assert findings[0].status == "ok"
    assert sizes == {"mine": 2000}
    assert weights_bytes(folder / "config.json") == 1000


@pytest.mark.parametrize(
    ("files", "says"),
    [(("a.safetensors",), "no config.json"), (("config.json", "README.md"), "no weights")],
)
def test_a_folder_that_lacks_something(tmp_path: Path, files: tuple[str, ...], says: str) -> None:
    folder = model_folder(tmp_path / "m", *files)
    found, said = status(place(tmp_path, str(folder)))
    assert found == "fail"
    assert says in said


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    found, said = status(place(tmp_path, "/no/such/model"))
    assert found == "fail"
    assert "does not exist" in said


def test_a_gguf_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"<html>")
    assert status(place(tmp_path, str(file), engine="llamacpp"))[0] == "fail"
    file.write_bytes(b"GGUF....")
    assert status(place(tmp_path, str(file), engine="llamacpp"))[0] == "ok"
    assert status(place(tmp_path, str(tmp_path), engine="llamacpp"))[0] == "fail"


def test_what_the_cache_has_needs_no_hub(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / "abc"
    model_folder(snapshot, "config.json", "model.safetensors")
    hub = Hub({"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})
    findings, sizes = look_at_models(place(tmp_path, "org/name"), hub)
    assert findings[0].status == "ok"
    assert sizes == {"org/name": 1000}


def test_what_is_not_cached_while_the_hub_is_off(tmp_path: Path) -> None:
    found, said = status(place(tmp_path, "org/name"))
    assert found == "fail"
    assert "the hub is off" in said


class _Hub(http.server.BaseHTTPRequestHandler):
    """Answers by the model's name; /gated only with a token."""

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        code = {"open": 200, "closed": 401, "broken": 500}.get(name, 404)
        if name == "gated":
            code = 200 if self.headers.get("Authorization") == "Bearer mine" else 403
        self.send_response(code)
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def hub_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("model", "token", "expected"),
    [
        ("org/open", "", "ok"),
        ("org/closed", "", "fail"),
        ("org/gated", "", "fail"),
        ("org/gated", "mine", "ok"),
        ("org/typo", "", "fail"),
        ("org/broken", "", "warn"),
    ],
)
def test_the_hub_is_asked(
    tmp_path: Path, hub_url: str, model: str, token: str, expected: str
) -> None:
    hub = Hub({"HF_ENDPOINT": hub_url, "HF_HOME": str(tmp_path), "HF_TOKEN": token})
    assert status(place(tmp_path, model), hub)[0] == expected


def test_a_hub_that_does_not_answer_is_no_failure(tmp_path: Path) -> None:
    hub = Hub({"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)})
    assert status(place(tmp_path, "org/name"), hub)[0] == "warn"


@pytest.mark.parametrize("engine", ["openai", "sim"])
def test_models_that_are_not_loaded_here_are_not_looked_for(tmp_path: Path, engine: str) -> None:
    assert look_at_models(place(tmp_path, "anything", engine=engine), OFF) == ([], {})
