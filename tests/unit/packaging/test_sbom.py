"""The bill of materials: what is under a licence that nobody has decided on is not packed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from local.packaging import sbom
from local.stack.child import StackError
from local.stack.node import NodeTools


def component(name: str, *licences: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "licenses": [*licences]}


def named(identity: str) -> dict[str, Any]:
    return {"license": {"id": identity}}


@pytest.mark.parametrize(
    ("licences", "said"),
    [
        ([named("MIT")], []),
        ([{"expression": "Apache-2.0 OR BSD-3-Clause"}], []),
        ([{"expression": "(MIT AND PSF-2.0)"}], []),
        ([named("MIT"), {"license": {"name": "License :: OSI Approved :: MIT License"}}], []),
        ([named("GPL-3.0-only")], ["p 1.0 is under GPL-3.0-only."]),
        ([{"expression": "MIT OR GPL-2.0-only"}], ["p 1.0 is under GPL-2.0-only."]),
        ([named("MIT"), named("SSPL-1.0")], ["p 1.0 is under SSPL-1.0."]),
        (
            [{"license": {"name": "Proprietary, all rights reserved"}}],
            ["p 1.0 is under Proprietary, all rights reserved."],
        ),
        ([], ["p 1.0 says nothing of its licence."]),
        ([{"license": {}}], ["p 1.0 says nothing of its licence."]),
    ],
)
def test_a_licence_that_is_not_allowed_is_named(licences: list[Any], said: list[str]) -> None:
    assert sbom.problems({"components": [component("good", named("MIT")), component("p", *licences)]}) == said


def test_what_somebody_has_read_counts_where_a_package_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "CONCLUDED", {"silent": "MIT", "loud": "MIT"})
    bill = {"components": [component("silent"), component("loud", named("GPL-3.0-only")), component("other")]}
    sbom.conclude(bill)
    assert bill["components"][0]["licenses"] == [{"license": {"acknowledgement": "concluded", "id": "MIT"}}]
    assert sbom.problems(bill) == ["loud 1.0 is under GPL-3.0-only.", "other 1.0 says nothing of its licence."]


@pytest.fixture
def bills(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """What the tools say of the app's packages, of the wheel's and of npm's."""
    found = {"app": [component("openai", named("Apache-2.0"))], "wheel": [], "npm": [component("htm", named("MIT"))]}
    monkeypatch.setattr(sbom, "ensure_environment", lambda *_: Path("python"))
    monkeypatch.setattr(sbom, "of_python", lambda *_: {"components": [*found["app"]]})
    monkeypatch.setattr(sbom, "_of_wheel", lambda *_: {"components": [*found["wheel"]]})
    monkeypatch.setattr(sbom, "of_npm", lambda *_: {"components": [*found["npm"]]})
    return found


def write(folder: Path) -> list[Path]:
    tools = cast(NodeTools, SimpleNamespace())
    wheel, tarball = folder / "client-1-py3.whl", folder / "client-1.tgz"
    return sbom.write_bills(Path("venv/bin/python"), tools, folder / "app-1.0.0", wheel, tarball)


def test_each_file_that_ships_has_a_bill_beside_it(tmp_path: Path, bills: dict[str, list[dict[str, Any]]]) -> None:
    bills["wheel"] = [component("httpx2", named("BSD-3-Clause"))]
    files = write(tmp_path)
    assert [file.name for file in files] == ["app-1.0.0.cdx.json", "client-1-py3.cdx.json", "client-1.cdx.json"]
    of_app = json.loads(files[0].read_text("utf-8"))
    assert [each["name"] for each in of_app["components"]] == ["openai", "htm"], "the page's packages ship with the app"
    assert of_app["metadata"]["component"]["version"] == sbom.version()
    assert "2 packages: 1 Apache-2.0, 1 MIT" in sbom.report(files[:1])


@pytest.mark.parametrize("place", ["app", "wheel", "npm"])
def test_nothing_is_packed_with_a_licence_that_nobody_has_decided_on(
    tmp_path: Path, bills: dict[str, list[dict[str, Any]]], place: str
) -> None:
    bills[place].append(component("copyleft", named("AGPL-3.0-only")))
    with pytest.raises(StackError, match=r"copyleft 1.0 is under AGPL-3.0-only\.(.|\n)*Take another package"):
        write(tmp_path)
