"""Where Label Studio is: by the settings, or by the environment of its own client."""

import pytest

from batch_common.config import LabelStudio
from batch_common.errors import ConfigError
from batch_common.secret import Secret
from batch_sinks.label_studio.target import find_target

ENVIRON = {"LABEL_STUDIO_URL": "http://labels:8080/", "LABEL_STUDIO_API_KEY": " key\n"}


def test_the_environment_is_enough() -> None:
    target = find_target(LabelStudio(), ENVIRON)
    assert (str(target.url), target.key.reveal(), target.project_id) == (
        "http://labels:8080",
        "key",
        None,
    )
    assert target.link(7) == "http://labels:8080/projects/7/data"
    assert find_target(LabelStudio(), ENVIRON | {"LABEL_STUDIO_PROJECT_ID": "7"}).project_id == 7


def test_settings_go_before_the_environment() -> None:
    own = LabelStudio(url="https://own/labels/", api_key=Secret("mine"), project_id=3)
    target = find_target(own, ENVIRON | {"LABEL_STUDIO_PROJECT_ID": "7"})
    assert (target.key.reveal(), target.project_id) == ("mine", 3)
    assert str(target.url / "api/projects/") == "https://own/labels/api/projects/"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, r"set result_handlers\.label_studio\.url or .* LABEL_STUDIO_URL"),
        ({"LABEL_STUDIO_URL": "http://l"}, r"label_studio\.api_key or .* LABEL_STUDIO_API_KEY"),
        ({**ENVIRON, "LABEL_STUDIO_URL": "labels:8080"}, "http://host:port"),
        ({**ENVIRON, "LABEL_STUDIO_URL": "http://u:hunter2@l"}, "room for the API key only"),
        ({**ENVIRON, "LABEL_STUDIO_PROJECT_ID": "x7"}, "as the 7 in /projects/7"),
    ],
)
def test_what_is_missing_or_wrong_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        find_target(LabelStudio(), environ)
    assert "hunter2" not in str(raised.value)


def test_the_key_is_not_shown() -> None:
    assert "mine" not in repr(find_target(LabelStudio(api_key=Secret("mine")), ENVIRON))
