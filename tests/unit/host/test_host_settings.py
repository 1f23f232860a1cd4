"""host.json and local.settings.json."""

from pathlib import Path
from typing import Any

import pytest

from local.host.settings import (
    HostSettings,
    SettingsError,
    load_host_settings,
    load_local_settings,
    read_host_settings,
)


def durable(**settings: Any) -> dict[str, Any]:
    return {"extensions": {"durableTask": settings}}


def test_without_host_json_the_platforms_defaults_hold(tmp_path: Path) -> None:
    settings = load_host_settings(tmp_path)

    assert (settings.route_prefix, settings.function_timeout) == ("api", 1800)
    assert settings.hub_name == HostSettings().hub_name
    assert not settings.any_state_overridable


@pytest.mark.parametrize(
    ("content", "field", "expected"),
    [
        ({"extensions": {"http": {"routePrefix": ""}}}, "route_prefix", ""),
        ({"Extensions": {"HTTP": {"routePrefix": "/v1/"}}}, "route_prefix", "v1"),
        ({"extensions": {"http": {"customHeaders": {"X-A": "b"}}}}, "headers", {"X-A": "b"}),
        ({"functionTimeout": "00:05:00"}, "function_timeout", 300),
        ({"functionTimeout": "-1"}, "function_timeout", None),
        (durable(maxConcurrentActivityFunctions=3), "max_activities", 3),
        (durable(overridableExistingInstanceStates="AnyState"), "any_state_overridable", True),
        (durable(hubName="mine"), "hub_name", "mine"),
    ],
)
def test_what_host_json_says_is_followed(content: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(read_host_settings(content), field) == expected


@pytest.mark.parametrize(
    "content",
    [
        {"functionTimeout": "soon"},
        durable(overridableExistingInstanceStates="Some"),
        durable(maxConcurrentActivityFunctions="many"),
        durable(hubName="%NOT_SET_ANYWHERE%"),
    ],
)
def test_what_cannot_be_followed_is_named(content: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        read_host_settings(content)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "host.json").write_text(text)

    with pytest.raises(SettingsError, match=r"host\.json"):
        load_host_settings(tmp_path)


def test_local_settings_give_values_port_and_origins(tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").write_text(
        '{"Values": {"A": "1", "B": true}, "Host": {"LocalHttpPort": 7072, "CORS": "http://a, http://b"}}'
    )
    settings = load_local_settings(tmp_path)

    assert settings.values == {"A": "1", "B": "True"}
    assert (settings.port, settings.cors) == (7072, ("http://a", "http://b"))


def test_encrypted_local_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").write_text('{"IsEncrypted": true}')

    with pytest.raises(SettingsError, match="encrypted"):
        load_local_settings(tmp_path)
