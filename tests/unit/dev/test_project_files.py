"""The files that editors, hooks and containers read: their commands are ones that there are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import dev
from local import ROOT
from local.packaging.lock import NODE_PROJECTS


def jsonc(path: Path) -> Any:
    """JSON with comments on lines of their own."""
    return json.loads(re.sub(r"^\s*//.*$", "", path.read_text("utf-8"), flags=re.MULTILINE))


def commands() -> list[list[str]]:
    """The arguments of every call of dev.py in them."""
    tasks = [task["args"] for task in jsonc(ROOT / ".vscode/tasks.json")["tasks"]]
    hooks = [
        hook["entry"].split()[1:]
        for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    ]
    container = [jsonc(ROOT / ".devcontainer/devcontainer.json")["postCreateCommand"].split()[1:]]
    launched = [["dev.py", *each["args"]] for each in jsonc(ROOT / ".vscode/launch.json")["configurations"]]
    return [*tasks, *hooks, *container, *launched]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_is_one_of_dev_py(command: list[str]) -> None:
    script, *arguments = command
    assert script == "dev.py"
    options, rest = dev.parser().parse_known_args(arguments)
    assert callable(options.action)
    assert rest in ([], ["${file}"])


def test_what_runs_under_the_debugger_is_followed_into_the_host() -> None:
    run, _ = jsonc(ROOT / ".vscode/launch.json")["configurations"]
    assert (run["program"], run["subProcess"]) == ("${workspaceFolder}/dev.py", True)
    assert run["args"] == ["run", "--host", "local"], "tests/unit/dev/test_run.py runs exactly this"


def test_the_dev_container_has_a_python_that_the_app_is_deployed_on_and_shows_its_port() -> None:
    container = jsonc(ROOT / ".devcontainer/devcontainer.json")
    assert container["image"].startswith("python:3.12-")
    assert container["forwardPorts"] == [dev.parser().parse_args(["run"]).port]


def test_every_lock_is_looked_after() -> None:
    listed = subprocess.run(["git", "ls-files", "--", "*package-lock.json"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no checkout")
    found = {Path(line).parent.as_posix() for line in listed.stdout.split()}
    assert found == set(NODE_PROJECTS)
    npm = next(
        each
        for each in yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
        if each["package-ecosystem"] == "npm"
    )
    assert {folder.removeprefix("/") for folder in npm["directories"]} == set(NODE_PROJECTS)
