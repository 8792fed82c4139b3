"""Turn a GGUF file into a Hugging Face model folder that vLLM reads.

    VLLM_ENV_PYTHON convert_gguf.py MODEL.gguf TARGET_FOLDER

Runs in the environment that holds vLLM (with `accelerate` and `gguf`) and imports nothing of ours.
The weights are de-quantised to bfloat16: about 2 bytes per parameter, 270 MB for the demo model.
TARGET_FOLDER appears complete or not at all; one that exists already is left as it is.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> int:
    """Exit status 0 when the folder is there, 1 when the file cannot be read."""
    parser = argparse.ArgumentParser(description="Turn a GGUF file into a Hugging Face folder.")
    parser.add_argument("gguf", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    if not arguments.gguf.is_file():
        print(f"{arguments.gguf}: no such file; give the path of a GGUF model", file=sys.stderr)
        return 1
    if not arguments.target.is_dir():
        _convert_whole(arguments.gguf, arguments.target)
    return 0


def _convert_whole(gguf: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _convert(gguf, unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _convert(gguf: Path, folder: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch  # noqa: PLC0415 - only this environment has it
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    # The loader marks the model as still quantised, and saving would refuse it.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
