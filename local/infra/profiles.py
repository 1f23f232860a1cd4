"""Whether the profiles, host.json, the templates and the settings agree."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from local.infra.appsettings import PLATFORM, known
from local.infra.bicep import BicepFile, literal
from local.infra.findings import Finding, line_of
from local.packaging.profiles import DEFAULT, PROFILES, Profile, profile_in, read_profiles

NAME = PROFILES.as_posix()
HUB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,44}")
"""3 to 45 letters and digits: a part of the names of queues and tables."""


def settings_of_all(root: Path) -> set[str]:
    """The app settings that every profile has; none where the profiles cannot be read."""
    try:
        each = [set(profile.app_settings()) for profile in read_profiles(root).values()]
    except (OSError, ValueError, KeyError, AttributeError):
        return set()
    return set.intersection(*each) if each else set()


def check(root: Path, main: BicepFile, host: object) -> Iterator[Finding]:
    """The profiles can be read and are possible, the templates offer them, and host.json is that of one."""
    try:
        profiles = read_profiles(root)
        found = profile_in(host, root) if isinstance(host, dict) and host else None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        yield Finding(NAME, getattr(error, "lineno", 1), f"cannot be read: {error!r}")
        return
    if host and found is None:
        yield Finding("host.json", 1, f"is that of no profile of {NAME}: run `python3 dev.py profile {DEFAULT}`")
    yield from _offered(main, list(profiles))
    partitions = defaultdict(set)
    for profile in profiles.values():
        partitions[profile.hub_name].add(profile.partitions)
        try:
            wrong = list(_wrong(root, main, profile))
        except (TypeError, ValueError) as error:
            wrong = [f"a value is of another kind: {error}"]
        for text in wrong:
            yield Finding(NAME, line_of(root / PROFILES, f'"{profile.name}"'), f"{profile.name}: {text}")
    for hub, counts in partitions.items():
        if len(counts) > 1:
            number = line_of(root / PROFILES, f'"{hub}"')
            yield Finding(NAME, number, f"the hub {hub!r} cannot have two numbers of partitions: name another")


def _offered(main: BicepFile, names: list[str]) -> Iterator[Finding]:
    parameter = next((each for each in main.of("parameter") if each.name == "profile"), None)
    if parameter is None:
        yield Finding(main.name, 1, "there is no parameter 'profile'")
        return
    if _allowed(main, "profile") != names:
        yield Finding(main.name, parameter.line, f"the profiles of {NAME} are {', '.join(names)}")
    if parameter.value is None or literal(parameter.value) != DEFAULT:
        yield Finding(main.name, parameter.line, f"the default profile is {DEFAULT}")


def _allowed(main: BicepFile, name: str) -> list[object]:
    """The values that a parameter of main.bicep may have; empty where it does not say."""
    parameter = next((each for each in main.of("parameter") if each.name == name), None)
    if parameter is None or "allowed" not in parameter.decorators:
        return []
    listed = parameter.decorators["allowed"].named_children[-1].named_children[0]
    return [literal(item) for item in listed.named_children]


def _wrong(root: Path, main: BicepFile, profile: Profile) -> Iterator[str]:
    """What cannot be in one profile."""
    settings = known((root / "shared" / "settings.py").read_text("utf-8"))
    if not HUB_NAME.fullmatch(profile.hub_name):
        yield "the hub's name must be 3 to 45 letters and digits, a letter first"
    if not 1 <= profile.partitions <= 16:
        yield "a hub has 1 to 16 partitions"
    for name, value, parameter in (
        ("driver", profile.driver, "driver"),
        ("durableBackend", profile.backend, "durableBackend"),
        ("instanceMemoryMB", profile.memory, "instanceMemoryMB"),
    ):
        if value not in _allowed(main, parameter):
            yield f"{name} cannot be {json.dumps(value)}"
    for name in {**profile.settings, **{key: "" for given in profile.sweep.values() for key in given}}:
        if name not in settings and name not in PLATFORM:
            yield f"nothing reads {name}"
    if set(profile.sweep) != set(_allowed(main, "driver")) - {""}:
        yield "sweep must say something for each driver"
    needed = profile.activities + profile.orchestrators
    if int(profile.settings.get("PYTHON_THREADPOOL_THREAD_COUNT", "0")) < needed:
        yield f"up to {needed} functions run on PYTHON_THREADPOOL_THREAD_COUNT threads"
