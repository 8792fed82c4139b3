"""Writes docs/CONFIGURATION.md from the structs and comments of batch_common/config.py.

python scripts/configuration_page.py [--check]
"""

import argparse
import ast
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from batch_common import config
from batch_common.secret import ApiKeys, Options, Secret

PAGE = Path(__file__).parents[1] / "docs" / "CONFIGURATION.md"
HEAD = """\
# Configuration

One YAML file, given as `--config FILE` to `vllm-batch up` or to a single service. Every key has a
default; unknown keys are refused. `${NAME}` takes an environment variable, `${NAME:-default}` one
that may be missing. Each setting is also an environment variable, which goes before the file, and a
command-line option goes before both.

```yaml
gateway:
  host: 0.0.0.0
  api_keys:
    ${ACME_KEY}: acme        # key: tenant
database:
  url: postgresql://batch:${DB_PASSWORD}@db.internal/batch
blobs:
  url: s3://batches/production
  options: {region: eu-central-1}
runner:
  engine: vllm
  models: [Qwen/Qwen3-4B]
  options: {max_model_len: "8192"}
```

A variable is called `VLLM_BATCH_` and the way to the setting, with two underscores between its
steps; capitals stand for small letters, and values are YAML:

| variable | of |
|---|---|
| `VLLM_BATCH_DATA_DIR=/srv/batch` | `data_dir` |
| `VLLM_BATCH_MODELS='[a, b]'` | `models` |
| `VLLM_BATCH_GATEWAY__PORT=8080` | `gateway` |
| `VLLM_BATCH_RESULT_HANDLERS__WEBHOOK__URL=https://…` | `result_handlers.webhook` |
| `VLLM_BATCH_RUNNER__OPTIONS__MAX_MODEL_LEN=8192` | `runner.options`; taken as it stands |
| `VLLM_BATCH_GATEWAY__API_KEYS='{sk-One: acme}'` | `gateway`: API keys keep their capitals |

A variable for a whole section (`VLLM_BATCH_RESULT_HANDLERS__WEBHOOK='{url: …}'`) adds its keys to
those of the file, and variables for single keys go before it.

Exit code 3 means that the configuration is wrong; the message names the key.
"""


def page() -> str:
    return HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    yield _section("Top level", config.Config, skip_structs=True)
    for field in msgspec.structs.fields(config.Config):
        if _is_section(field.type):
            yield _section(f"`{field.encode_name}`", field.type)
            for inner in msgspec.structs.fields(field.type):
                if _is_section(inner.type):
                    yield _section(f"`{field.encode_name}.{inner.name}`", inner.type)
                elif named := _named_section(inner.type):
                    yield _section(f"`{field.encode_name}.{inner.name}.NAME`", named)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _named_section(kind: Any) -> Any:
    """Of a mapping of names to sections; None for every other type."""
    return next(filter(_is_section, typing.get_args(kind)), None)


def _section(title: str, kind: type[msgspec.Struct], *, skip_structs: bool = True) -> str:
    comments = _comments(kind)
    rows = [
        f"| `{field.name}` | {_default(field)} | {comments.get(field.name, '')} |"
        for field in msgspec.structs.fields(kind)
        if not (skip_structs and (_is_section(field.type) or _named_section(field.type)))
    ]
    about = inspect.cleandoc(kind.__doc__ or "")
    head = ["", f"## {title}", "", about, "", "| key | default | |", "|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _comments(kind: type) -> dict[str, str]:
    """The comment lines above each field."""
    lines = inspect.getsource(kind).splitlines()
    [body] = ast.parse("\n".join(lines)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = " ".join(reversed(list(_above(lines, node.lineno))))
    return found


def _above(lines: list[str], lineno: int) -> Iterator[str]:
    for line in reversed(lines[: lineno - 1]):
        text = line.strip()
        if not text.startswith("#"):
            return
        yield text.removeprefix("#").strip().replace("|", "\\|")


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()  # type: ignore[misc]
    if isinstance(value, Secret | ApiKeys | Options):
        value = value.reveal()
    if value in ("", (), {}):
        return ""
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return f"`{text.strip(chr(34))}`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is out of date")
    if not parser.parse_args().check:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit("docs/CONFIGURATION.md is out of date: run python scripts/configuration_page.py")


if __name__ == "__main__":
    main()
