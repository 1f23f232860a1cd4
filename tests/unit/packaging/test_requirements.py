"""The lock against what was asked for, and what was asked for against what the code imports."""

from __future__ import annotations

import ast
import importlib.metadata
import os.path
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local import ROOT
from local.packaging.lock import LOCKS

ENVIRONMENTS = [
    {"python_version": version, "python_full_version": f"{version}.4", "sys_platform": system, "extra": ""}
    for version in ("3.11", "3.12", "3.13")
    for system in ("linux", "darwin", "win32")
]
COMES_WITH = {
    "httpcore2": "httpx2",
    "pydantic_core": "pydantic",
    "typing_extensions": "pydantic",  # its TypedDict is the one that pydantic takes before Python 3.12
    "yarl": "aiohttp",
}
"""Modules that are part of the interface of a package which pins or re-exports them."""

_ADAPTER = {"shared/agentkit/framework.py", "shared/agentkit/framework_tools.py"}
OF_AN_EXTRA = {"agent_framework": _ADAPTER, "agent_framework_openai": _ADAPTER}
"""Modules of packages that are asked for by an extra of ours alone, and the files that may import them."""


def asked_for(source: str) -> list[Requirement]:
    """The requirements a person wrote, those of files named by `-r` too."""
    found = []
    for line in (ROOT / source).read_text("utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found += asked_for(str(Path(os.path.normpath(Path(source).parent / line[3:].strip()))))
        elif line and not line.startswith("-"):
            found.append(Requirement(line))
    return found


@cache
def locked(lock: str) -> list[tuple[Requirement, int]]:
    """The pins of a lock, each with the number of its hashes."""
    lines = (ROOT / lock).read_text("utf-8").replace("\\\n", " ").splitlines()
    pins = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [
        (Requirement(pin.partition(" --hash")[0]), len(re.findall(r"--hash=sha256:[0-9a-f]{64}", pin))) for pin in pins
    ]


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize(("source", "lock"), LOCKS.items())
def test_every_requirement_is_pinned_to_a_version_that_fits_on_every_python_and_system(source: str, lock: str) -> None:
    for environment in ENVIRONMENTS:
        pins: dict[str, str] = {}
        for pin, hashes in locked(lock):
            assert hashes, f"{pin} has no hash"
            if applies(pin, environment):
                name = canonicalize_name(pin.name)
                assert name not in pins, f"{name} twice in {environment}"
                (only,) = pin.specifier
                assert only.operator == "=="
                pins[name] = only.version
        for wanted in asked_for(source):
            if applies(wanted, environment):
                version = pins.get(canonicalize_name(wanted.name))
                assert version is not None, f"{wanted} is not locked: run `python3 dev.py lock`"
                assert wanted.specifier.contains(version), f"{wanted} is locked to {version}: run `python3 dev.py lock`"


def test_development_has_the_versions_that_ship() -> None:
    development = {(pin.name, str(pin.specifier), str(pin.marker or "")) for pin, _ in locked("requirements-dev.txt")}
    shipped = {(pin.name, str(pin.specifier), str(pin.marker or "")) for pin, _ in locked("requirements.txt")}
    assert shipped <= development


@pytest.mark.parametrize("lock", LOCKS.values())
def test_a_lock_names_no_registry_and_no_folder(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^--?(?!hash)", text, re.MULTILINE)
    assert "python3 dev.py lock" in text


def imported_modules() -> Iterator[tuple[str, str]]:
    """Each module that the app imports, anywhere in its code, with the file that does."""
    for file in (ROOT / "function_app.py", *sorted((ROOT / "shared").rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                if name.partition(".")[0] not in {*sys.stdlib_module_names, "shared"}:
                    yield name, file.relative_to(ROOT).as_posix()


def modules_of(distribution: str) -> set[str]:
    """The dotted names of all modules that a distribution installs."""
    files = importlib.metadata.files(distribution) or []
    paths = (Path(file).with_suffix("") for file in files if file.suffix == ".py")
    return {".".join(path.parts).removesuffix(".__init__") for path in paths}


FOR_THE_STANDARD_LIBRARY = {"tzdata"}
"""What no code of ours imports, but Python's own does: `zoneinfo` has no time zones of its own."""


def test_nothing_ships_that_no_code_imports() -> None:
    imported = {name for name, _ in imported_modules()}
    for name in {wanted.name for wanted in asked_for("requirements.in")} - FOR_THE_STANDARD_LIBRARY:
        assert imported & modules_of(name), f"no code imports {name}"


def test_nothing_that_ships_with_the_app_needs_an_extra() -> None:
    names = {file.removesuffix(".py").replace("/", ".") for file in _ADAPTER}
    inward = {
        (file.relative_to(ROOT).as_posix(), node.module)
        for file in (ROOT / "function_app.py", *(ROOT / "shared").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in names
    }
    assert {file for file, _ in inward} <= _ADAPTER


def test_everything_that_the_code_imports_is_asked_for() -> None:
    wanted = {wanted.name for wanted in asked_for("requirements.in")}
    modules = set().union(*(modules_of(name) for name in wanted))
    for name, file in imported_modules():
        top = name.partition(".")[0]
        if file in OF_AN_EXTRA.get(top, ()):
            continue
        assert name in modules or COMES_WITH.get(top) in wanted, f"{file} imports {name}: not in requirements.in"
