"""Handlers are found as entry points and by MODULE:CLASS; what is wrong is said in words."""

from pathlib import Path

import pytest

from batch_common.config import CustomHandler, Sinks
from batch_common.errors import ConfigError
from batch_common.secret import Options
from batch_sinks.handler_sink import HandlerSink
from batch_sinks.registry import make_sinks
from batch_sinks.sink import Sink

PACKAGE = """
from batch_sinks import ResultHandler
class Warehouse(ResultHandler):
    def __init__(self, table: str = "results") -> None:
        self.table = table
    async def handle(self, batch_id, results, metadata):
        return True
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two entry points, as `pip install` leaves one; the second leads nowhere."""
    (tmp_path / "acme_warehouse.py").write_text(PACKAGE)
    info = tmp_path / "acme_warehouse-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-warehouse\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vllm_batch.result_handlers]\n"
        "acme = acme_warehouse:Warehouse\nbroken = acme_warehouse:Nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def make(name: str, *, folder: str = "", **own: object) -> Sink:
    custom = {name: CustomHandler(**own)} if own else {}  # type: ignore[arg-type]
    [sink] = make_sinks(Sinks(enabled=(name,), folder=folder, custom=custom))
    return sink


def handler_of(sink: Sink) -> object:
    assert isinstance(sink, HandlerSink)
    return sink._handler


@pytest.mark.usefixtures("installed")
async def test_an_entry_point_is_enabled_by_its_name() -> None:
    sink = make("acme")
    assert (sink.name, sink.limit_s, sink.side_by_side) == ("acme", 3600.0, 1)
    assert type(handler_of(sink)).__name__ == "Warehouse"


@pytest.mark.usefixtures("installed")
async def test_an_entry_point_under_another_name_with_options() -> None:
    options = Options({"table": "facts"})
    sink = make("facts", handler="acme", options=options, limit_s=5.0, parallel=3)
    assert (sink.name, sink.limit_s, sink.side_by_side) == ("facts", 5.0, 3)
    assert handler_of(sink).table == "facts"  # type: ignore[attr-defined]


async def test_a_class_in_the_configured_folder(tmp_path: Path) -> None:
    (tmp_path / "our_handlers.py").write_text(PACKAGE)
    sink = make("mine", handler="our_handlers:Warehouse", folder=str(tmp_path))
    assert type(handler_of(sink)).__name__ == "Warehouse"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("acne", {}, r"'acne', which is no handler: choose from .*webhook.*acme.*MODULE:CLASS"),
        (
            "mine",
            {"handler": "nowhere_here:X"},
            r"mine\.handler: no module 'nowhere_here'; install",
        ),
        ("mine", {"handler": "support.handlers:X"}, r"module 'support\.handlers' has no attribute"),
        ("mine", {"handler": "support.handlers:NOT_A_HANDLER"}, r"no subclass of batch_sinks\."),
        (
            "mine",
            {"handler": "support.handlers:Sync"},
            r"mine\.options do not fit Sync: .*'folder'; it takes folder: str, token: str = ''",
        ),
        ("mine", {"handler": "support.handlers:Books"}, r"Books has no method handle: write it"),
        ("mine", {"handler": "support.handlers"}, r"mine\.handler 'support\.handlers' is neither"),
        ("mine", {"handler": "acne"}, r"neither an entry point .*\(acme, broken\) nor .*MODULE:"),
        ("mine", {"handler": "support.handlers:"}, r"is not of the form MODULE:CLASS"),
        ("mine", {"handler": ":Sync"}, r"is not of the form MODULE:CLASS"),
        ("mine", {"handler": "support.wait:until"}, r"until is no subclass of batch_sinks\."),
        ("broken", {}, r"entry point 'broken' \(acme_warehouse:Nothing\) cannot be loaded"),
        ("a:B", {}, r"names 'a:B': names are letters.*custom\.NAME\.handler"),
        ("x.y", {}, r"names 'x\.y'"),
    ],
)
async def test_what_is_wrong_is_said(name: str, own: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(name, **own)


async def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "our_broken_module.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=r"importing our_broken_module raised ZeroDivisionError"):
        make("mine", handler="our_broken_module:X", folder=str(tmp_path))


async def test_an_option_that_the_class_does_not_take() -> None:
    options = Options({"folder": "f", "fodler": "hunter2"})
    with pytest.raises(ConfigError, match=r"unexpected keyword argument 'fodler'; it takes") as no:
        make("mine", handler="support.handlers:Sync", options=options)
    assert "hunter2" not in str(no.value)


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    folder = str(tmp_path / "handlers")
    with pytest.raises(ConfigError, match=r"result_handlers\.folder: .*/handlers is no folder"):
        make("mine", handler="our_handlers:Warehouse", folder=folder)


async def test_what_a_constructor_says_of_its_options_stays_unsaid() -> None:
    options = Options({"folder": "f", "token": "hunter2"})
    with pytest.raises(ConfigError, match=r"CannotBeMade could not be made.*ValueError") as raised:
        make("mine", handler="support.handlers:CannotBeMade", options=options)
    assert "hunter2" not in str(raised.value)


async def test_a_built_in_name_is_not_for_a_custom_one() -> None:
    with pytest.raises(ConfigError, match=r"custom\.webhook has the name of a built-in"):
        make_sinks(Sinks(custom={"webhook": CustomHandler(handler="a:B")}))
