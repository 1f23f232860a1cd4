"""Other people's tools on the contract: two linters, and two generators whose clients call the running app."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from local.openapi.document import described
from local.stack import NodeTools, find_node
from local.stack.node import version_of
from local.stack.setup import ensure_environment, ensure_packages, venv_python
from tests.acceptance.conftest import CLIENT_KEYS, Stack, Target
from tests.parts.contract import FILE, contract

HERE = Path(__file__).parent
NODE_HOME = ROOT / ".dormouse" / "contract-npm"
PYTHON_HOME = ROOT / ".dormouse" / "contract-python" / f"{sys.version_info.major}.{sys.version_info.minor}"
OLDEST_NODE = (20, 19)  # what the packages ask for
# One asks home whether it is the newest, and tells what it is used for.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "CI": "true"}
STRICT = [
    *("--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--noImplicitOverride"),
    *("--noPropertyAccessFromIndexSignature", "--noUnusedLocals", "--target", "es2022", "--module", "nodenext"),
]

Tool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@pytest.fixture
def node() -> NodeTools:
    """A Node.js that is new enough for the packages, with these installed."""
    venv = Path(sys.prefix)
    tools = find_node(venv)
    if version_of(tools.version) < OLDEST_NODE:
        tools = find_node(venv, path="")
    needed = NODE_HOME / "node_modules" / "typescript" / "bin" / "tsc"
    ensure_packages("the tools for the contract", HERE / "contract_npm", NODE_HOME, needed, tools)
    return tools


@pytest.fixture
def tool(node: NodeTools, tmp_path: Path) -> Tool:
    """Run one of them by its name, in a folder with the contract in it."""
    shutil.copyfile(FILE, tmp_path / "contract.json")
    # Packages are looked for from the script upwards.
    (tmp_path / "node_modules").symlink_to(NODE_HOME / "node_modules", target_is_directory=True)
    shutil.copyfile(NODE_HOME / "package.json", tmp_path / "package.json")

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(node.node), str((NODE_HOME / "node_modules" / ".bin" / name).resolve()), *arguments]
        environment = {**os.environ, **QUIET}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def broken(tmp_path: Path) -> None:
    """Put a mistake into the contract that every linter must find: a proof that it looks."""
    document = json.loads(FILE.read_text("utf-8"))
    del document["paths"]["/api/runs"]["post"]["summary"]
    document["paths"]["/api/runs"]["post"]["responses"] = {}
    (tmp_path / "contract.json").write_text(json.dumps(document))


def test_spectral_finds_nothing(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / ".spectral.yaml").write_text('extends: ["spectral:oas"]\n')
    lint = ("spectral", "lint", "contract.json", "--fail-severity", "hint", "--display-only-failures", "false")
    found = tool(*lint)
    assert (found.returncode, "No results" in found.stdout) == (0, True), found.stdout + found.stderr
    broken(tmp_path)
    found = tool(*lint)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "operation-success-response" in found.stdout


def test_redocly_finds_nothing(tool: Tool, tmp_path: Path) -> None:
    def totals() -> tuple[int, dict[str, int]]:
        found = tool("redocly", "lint", "contract.json", "--extends", "recommended", "--format", "json")
        return found.returncode, json.loads(found.stdout)["totals"]

    assert totals() == (0, {"errors": 0, "warnings": 0, "ignored": 0})
    broken(tmp_path)
    code, found = totals()
    assert code == 1
    assert found["errors"] >= 1


async def test_openapi_typescript_makes_types_by_which_a_client_compiles_and_calls(
    target: Target, tool: Tool, node: NodeTools, tmp_path: Path
) -> None:
    await target.model.script("stuck", [{"stuck": True, "text": "Never."}])
    shutil.copyfile(HERE / "contract_npm" / "client.ts", tmp_path / "client.ts")
    made = await asyncio.to_thread(tool, "openapi-typescript", "contract.json", "-o", "contract.ts")
    assert made.returncode == 0, made.stdout + made.stderr
    compiled = await asyncio.to_thread(tool, "tsc", *STRICT, "client.ts")
    assert compiled.returncode == 0, compiled.stdout
    said = await printed(node.node, tmp_path / "client.js", target.api.url, CLIENT_KEYS["ada"])
    done = await target.api.run(said["begun"])
    assert said["done"] == ["completed", done["text"], ["finished", "finished"]]
    assert said["cancelled"] == ["cancelled", "12"]
    assert said["head"] == [200, True]
    assert (said["kinds"][0], said["kinds"][-1]) == ("state", "end")
    assert len(said["page"]) == 2
    assert said["refused"] == ["invalid_request", "input", "invalid_request"]
    assert said["response"] == 0, "it has no output before it has ended"


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """The interpreter of an environment with the generator, which has written its client beside the caller."""
    lock = HERE / "contract_python" / "requirements.txt"
    python = ensure_environment("a generator of clients", lock, PYTHON_HOME)
    # It formats what it has made with a program that is installed beside it.
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    command: Sequence[str | Path] = [python.with_name("openapi-python-client"), "generate", "--path", FILE]
    made = subprocess.run(
        [*command, "--meta", "none", "--output-path", tmp_path / "generated", "--fail-on-warning"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    said = made.stdout + made.stderr
    assert (made.returncode, "WARNING" in said, "ERROR" in said) == (0, False, False), said
    return venv_python(PYTHON_HOME)


async def test_openapi_python_client_drops_nothing_and_its_client_calls(
    target: Target, generated: Path, tmp_path: Path, own_stack: Callable[..., Stack]
) -> None:
    files = {file.stem for file in (tmp_path / "generated" / "api").glob("*/*.py")} - {"__init__"}
    operations = [each for path in contract().document["paths"].values() for each in path.values()]
    assert files == {each["operationId"] for each in operations}
    assert files >= described().keys()

    await target.model.script("stuck", [{"stuck": True, "text": "Never."}])
    shutil.copyfile(HERE / "contract_python" / "caller.py", tmp_path / "caller.py")
    locked = await asyncio.to_thread(lambda: own_stack("timer").host(args=["--function-key", "the-key"]))
    said = await printed(generated, tmp_path / "caller.py", target.api.url, CLIENT_KEYS["ada"], locked.url)
    done = await target.api.run(said["begun"])
    assert said["done"] == ["completed", done["text"], ["finished", "finished"]]
    assert said["cancelled"] == ["cancelled", {"case": "12"}]
    assert said["events"][0] == "event: state"
    assert said["events"][-1] == "event: end"
    assert said["head"] == [200, None, True]
    assert len(said["page"]) == 2
    assert said["refused"] == ["invalid_request", 404, "run_not_found"]
    assert said["batch"] in ("queued", "in_progress")
    assert (said["response"], said["completion"]) == ("response", "chat.completion")
    assert said["stranger"] == [401, None], "what the platform answers has no body to read"


async def printed(*command: str | Path) -> Any:
    """What a program printed as JSON."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(90):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(out)
