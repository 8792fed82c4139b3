"""Names of an engine's files."""

from pathlib import Path

import pytest

from batch_gpu_runner.engines.files import MAX_SOCKET_PATH_BYTES, engine_files


@pytest.mark.parametrize("model", ["../../etc/passwd", "/abs", "org/model", "ü", "..", "a" * 500])
def test_files_stay_in_their_folder(model: str, tmp_path: Path) -> None:
    files = engine_files(tmp_path, "sim", model)
    assert files.output.parent == tmp_path
    assert len(files.output.name) < 100


def test_names_that_look_alike_have_files_of_their_own(tmp_path: Path) -> None:
    outputs = {engine_files(tmp_path, "sim", name).output for name in ("a/b", "a-b", "a:b")}
    assert len(outputs) == 3


def test_a_plain_name_is_used_as_it_is(tmp_path: Path) -> None:
    assert engine_files(tmp_path, "vllm", "smol-2.1").output.name == "vllm-smol-2.1.log"


def test_a_socket_path_that_is_too_long_moves_to_the_temporary_folder(tmp_path: Path) -> None:
    files = engine_files(tmp_path / ("d" * 120), "sim", "m")
    socket = files.new_socket()
    assert len(bytes(socket)) <= MAX_SOCKET_PATH_BYTES
    socket.touch()
    files.remove_socket(socket)
    assert not socket.parent.exists()


def test_each_start_has_a_socket_of_its_own(tmp_path: Path) -> None:
    files = engine_files(tmp_path, "sim", "m")
    assert files.new_socket() != files.new_socket()
