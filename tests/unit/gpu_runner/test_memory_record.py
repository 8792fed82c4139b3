"""What was spared is remembered, for this engine on this GPU."""

from pathlib import Path

import msgspec
import pytest

from batch_common import clock
from batch_common.config import Runner
from batch_gpu_runner.gpu.reading import Gpu
from batch_gpu_runner.memory_record import FILE, MemoryRecord, Spared, memory_key

A100 = Gpu(index=0, uuid="GPU-1", name="A100", memory_bytes=80 << 30)
SETTINGS = Runner(models=("org/model",))


async def test_it_outlives_the_runner(tmp_path: Path) -> None:
    await MemoryRecord(tmp_path / "new", "key").save(Spared(2, 96))
    assert await MemoryRecord(tmp_path / "new", "key").load() == Spared(2, 96)
    assert await MemoryRecord(tmp_path / "new", "another").load() is None


async def test_what_need_not_be_spared_any_more_is_forgotten(tmp_path: Path) -> None:
    for key in ("one", "two"):
        await MemoryRecord(tmp_path, key).save(Spared(1, 8))
    await MemoryRecord(tmp_path, "one").save(None)
    assert await MemoryRecord(tmp_path, "one").load() is None
    assert await MemoryRecord(tmp_path, "two").load() == Spared(1, 8)


async def test_after_a_week_it_is_tried_again_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await MemoryRecord(tmp_path, "key").save(Spared(2, 96))
    later = clock.wall() + 8 * 86400
    monkeypatch.setattr("batch_gpu_runner.memory_record.wall", lambda: later)
    assert await MemoryRecord(tmp_path, "key").load() is None


async def test_a_damaged_file_is_no_more_than_a_loss(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"key": ')
    record = MemoryRecord(tmp_path, "key")
    assert await record.load() is None
    await record.save(Spared(1, 8))
    assert await record.load() == Spared(1, 8)


def test_the_key_changes_with_engine_model_options_and_gpu() -> None:
    change = msgspec.structs.replace
    keys = {
        memory_key("vllm", "0.32.0", SETTINGS, (A100,)),
        memory_key("vllm", "0.33.0", SETTINGS, (A100,)),
        memory_key("vllm", "0.32.0", SETTINGS, (A100, A100)),
        memory_key("vllm", "0.32.0", SETTINGS, ()),
        memory_key("vllm", "0.32.0", change(SETTINGS, models=("org/other",)), (A100,)),
        memory_key("vllm", "0.32.0", change(SETTINGS, options={"max_num_seqs": "8"}), (A100,)),
        memory_key("vllm", "0.32.0", change(SETTINGS, window=8), (A100,)),
    }
    assert len(keys) == 7
    same = memory_key("vllm", "0.32.0", SETTINGS, (change(A100, uuid="GPU-2", index=3),))
    assert same in keys, "another card of the same kind is as good"
