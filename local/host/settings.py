"""host.json and local.settings.json, as far as this host follows them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.host.schedules import parse_timespan, substitute

DEFAULT_TIMEOUT = 1800.0


class SettingsError(Exception):
    """A settings file cannot be used."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What host.json asks of the host."""

    route_prefix: str = "api"
    headers: Mapping[str, str] = field(default_factory=dict)
    """What every answer of a function has besides its own headers (`customHeaders`)."""
    function_timeout: float | None = DEFAULT_TIMEOUT
    """Seconds an invocation may take; None is no limit. The platform's default on Flex Consumption."""
    hub_name: str = "TestHubName"
    any_state_overridable: bool = False
    """Whether starting an instance replaces one that still runs (`overridableExistingInstanceStates`)."""
    max_activities: int = 10
    """Activities at a time (`maxConcurrentActivityFunctions`)."""
    max_orchestrators: int = 10
    """Orchestrator episodes at a time (`maxConcurrentOrchestratorFunctions`)."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What local.settings.json holds."""

    values: Mapping[str, str]
    port: int | None = None
    cors: tuple[str, ...] = ()
    cors_credentials: bool = False
    allowed_hosts: tuple[str, ...] = ()
    """Names besides the loopback ones that the host may be called by."""


def read_host_settings(content: Mapping[str, Any]) -> HostSettings:
    """Read host.json's content. Raises SettingsError naming what is wrong."""
    extensions = _section(content, "extensions")
    http = _section(extensions, "http")
    durable = _section(extensions, "durableTask")
    # The extension's own default: ten for each core.
    default_limit = 10 * (os.cpu_count() or 1)
    states = str(durable.get("overridableExistingInstanceStates", "NonRunningStates")).lower()
    if states not in ("nonrunningstates", "anystate"):
        raise SettingsError("overridableExistingInstanceStates is NonRunningStates or AnyState")
    try:
        # The extension resolves %SETTING% in the name of the hub as well.
        hub_name = substitute(str(durable.get("hubName", "TestHubName")), os.environ.get)
        return HostSettings(
            route_prefix=str(http.get("routePrefix", "api")).strip("/"),
            headers={name: str(value) for name, value in _section(http, "customHeaders").items()},
            function_timeout=_timeout(content.get("functionTimeout")),
            hub_name=hub_name,
            any_state_overridable=states == "anystate",
            max_activities=int(durable.get("maxConcurrentActivityFunctions", default_limit)),
            max_orchestrators=int(durable.get("maxConcurrentOrchestratorFunctions", default_limit)),
        )
    except (TypeError, ValueError) as error:
        raise SettingsError(f"host.json: {error}") from error


def load_host_settings(app_dir: Path) -> HostSettings:
    """Read the app's host.json; the defaults when there is none."""
    return read_host_settings(_load(app_dir / "host.json"))


def load_local_settings(app_dir: Path) -> LocalSettings:
    """Read the app's local.settings.json; empty when there is none."""
    content = _load(app_dir / "local.settings.json")
    # Only Core Tools have the key, so that its values would be nonsense here.
    if content.get("IsEncrypted"):
        raise SettingsError("local.settings.json is encrypted; run `func settings decrypt`")
    host = _section(content, "Host")
    port = host.get("LocalHttpPort")
    return LocalSettings(
        values={str(name): str(value) for name, value in _section(content, "Values").items()},
        port=None if port is None else int(port),
        cors=_listed(host.get("CORS", "")),
        cors_credentials=bool(host.get("CORSCredentials", False)),
        allowed_hosts=_listed(host.get("AllowedHosts", "")),
    )


def _listed(text: object) -> tuple[str, ...]:
    return tuple(part.strip() for part in str(text).split(",") if part.strip())


def _timeout(text: object) -> float | None:
    if text is None:
        return DEFAULT_TIMEOUT
    # No limit, on plans that allow it.
    if str(text) == "-1":
        return None
    span = parse_timespan(str(text))
    if span is None or not span:
        raise SettingsError(f"functionTimeout is hh:mm:ss or -1, not {text!r}")
    return span.total_seconds()


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    # .NET's configuration ignores the case of keys, and so does whoever writes these files.
    for key, value in content.items():
        if key.lower() == name.lower() and isinstance(value, dict):
            return value
    return {}


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        # Editors on Windows begin a file with a byte order mark.
        content = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise SettingsError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path.name} is not a JSON object")
    return content
