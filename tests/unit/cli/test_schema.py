"""`vllm-batch schema`: what it prints, what it writes, and how it ends."""

import json
from pathlib import Path

import pytest

from batch_cli.main import main
from batch_common.task_schema_folder import read_task_schema

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, **content: object) -> None:
    Path(f"{name}.json").write_text(json.dumps({"name": name, **content}))


@pytest.mark.parametrize("source", [(), ("--from", "candidate_evaluation")])
def test_a_new_one_is_valid(source: tuple[str, ...], capsys: Captured) -> None:
    assert main(["schema", "new", "tickets", *source]) == 0
    said = capsys.readouterr()
    assert said.out == "tickets.json\n"
    assert "next: edit it, then `vllm-batch schema check tickets.json`" in said.err
    assert main(["schema", "check", "tickets.json"]) == 0
    assert capsys.readouterr().out.startswith("tickets.json: valid; an answer with ")
    assert read_task_schema(Path("tickets.json")).name == "tickets"


def test_a_new_one_replaces_nothing(capsys: Captured) -> None:
    write("mine", title="precious")
    assert main(["schema", "new", "mine"]) == 1
    assert "mine.json is there already" in capsys.readouterr().err
    assert "precious" in Path("mine.json").read_text()


def test_a_folder_or_a_source_that_is_not_there(capsys: Captured) -> None:
    assert main(["schema", "new", "mine", "--folder", "nowhere"]) == 1
    assert "nowhere/mine.json cannot be written: No such file" in capsys.readouterr().err
    assert main(["schema", "new", "mine", "--from", "clasification"]) == 1
    assert "chat_completion, classification" in capsys.readouterr().err
    assert not Path("mine.json").exists()


@pytest.mark.parametrize("name", ["../mine", "", "-x", "a b", "x" * 65])
def test_a_name_that_is_none_is_a_usage_error(name: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        main(["schema", "new", "--folder=.", "--", name])
    assert left.value.code == 2
    assert "is no name for a schema" in capsys.readouterr().err


def test_every_problem_of_every_file_is_a_line(capsys: Captured) -> None:
    write("good")
    write("bad", answer={"type": "object", "properties": {"n": {"type": "int"}}}, version=1)
    write("other")
    Path("other.json").rename("else.json")
    assert main(["schema", "check", "bad.json", "good.json", "else.json", "gone.json"]) == 1
    said = capsys.readouterr()
    assert said.out == "good.json: valid; an answer in words, 0 inputs, 0 questions\n"
    lines = [line.split(": ")[:2] for line in said.err.splitlines()]
    assert lines == [
        ["bad.json", "at /answer/properties/n/type"],
        ["bad.json", "at /version"],
        ["else.json", "at /name"],
        ["gone.json", "at the top level"],
    ]


def test_the_list_has_mine_and_the_built_in_ones(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name, content in {"classification": {"title": "Mine"}, "typo": {"titel": "x"}}.items():
        (tmp_path / "mine" / f"{name}.json").write_text(json.dumps({"name": name, **content}))
    Path("config.yml").write_text("schemas: {folder: mine}")
    assert main(["schema", "list", "--config", "config.yml"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "VERSION", "FROM", "TITLE"]
    assert [row.split()[0] for row in rows] == [
        "candidate_evaluation",
        "chat_completion",
        "classification",
        "typo",
    ]
    assert "built in" in rows[0]
    assert rows[2].endswith("mine/classification.json  Mine")
    assert "NOT VALID at the top level: Additional properties" in rows[3]
    assert main(["schema", "list", "--config", "config.yml", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in listed if each.get("problem")] == ["typo"]
    assert [each["built_in"] for each in listed] == [True, True, False, False]


def test_only_what_comes_with_the_package_is_built_in(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a clone, a folder of one's own may well be the one above the examples."""
    examples = tmp_path / "schemas" / "examples"
    examples.mkdir(parents=True)
    for path in (examples / "theirs.json", tmp_path / "schemas" / "mine.json"):
        path.write_text(json.dumps({"name": path.stem}))
    for module in ("batch_common.task_schema_folder", "batch_cli.schema"):
        monkeypatch.setattr(f"{module}.schemas_folder", lambda: tmp_path / "schemas")
    assert main(["schema", "list", "--folder", "schemas", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["name"]: each["built_in"] for each in listed} == {"mine": False, "theirs": True}


def test_a_folder_that_is_none_is_a_configuration_error(capsys: Captured) -> None:
    Path("config.yml").write_text("schemas: {folder: nowhere}")
    assert main(["schema", "list", "--config", "config.yml"]) == 3
    assert "schemas.folder 'nowhere' is no folder" in capsys.readouterr().err


def test_two_names_for_one_batch_are_a_usage_error(capsys: Captured) -> None:
    Path("f.jsonl").write_text('{"url": "/v1/chat/completions"}\n')
    with pytest.raises(SystemExit) as left:
        main(["submit", "f.jsonl", "--schema", "a", "--metadata", "schema=b"])
    assert left.value.code == 2
    assert "--schema and --metadata schema=… differ" in capsys.readouterr().err
