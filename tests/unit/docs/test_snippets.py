"""The code that the pages show: Python and shell can be read, imports and names are there, agents can be built."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dormouse_client import AsyncDormouse, Dormouse
from local import ROOT
from shared.agentkit.agent import Agent
from shared.agentkit.framework import FrameworkAgent
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import ToolContext, by_name, tool
from shared.settings import Settings
from tests.unit.docs.pages import Found, blocks

KNOWN: dict[str, Callable[..., Any]] = {
    "ResponsesAgent": ResponsesAgent,
    "FrameworkAgent": FrameworkAgent,
    "tool": tool,
    "Dormouse": Dormouse,
    "AsyncDormouse": AsyncDormouse,
}
"""What is called in the snippets by these names."""

PYTHON = [pytest.param(block, id=str(block)) for block in blocks("python")]


def parsed(block: Found) -> ast.Module:
    """The snippet, which may be a piece of a function. A line of `…,` stands for arguments that are left out."""
    text = re.sub(r"^( *)…,$", r"\1...,", textwrap.dedent(block.text), flags=re.MULTILINE)
    return ast.parse("async def snippet():\n" + textwrap.indent(text, "    "))


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Each module that is imported, with the name that is taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


@pytest.mark.parametrize("block", PYTHON)
def test_python_compiles_and_what_it_imports_and_calls_is_there(block: Found) -> None:
    tree = parsed(block)
    for module, name in imports(tree):
        found = importlib.import_module(module)
        assert name is None or hasattr(found, name), f"{module} has no {name}"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in KNOWN:
            called = KNOWN[call.func.id]
        elif isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "dormouse":
            called = getattr(Dormouse, call.func.attr)
        else:
            continue
        taken = inspect.signature(called).parameters
        if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
            continue
        given = {each.arg for each in call.keywords if each.arg}
        assert given <= taken.keys(), f"{ast.unparse(call.func)} takes no {given - taken.keys()}"


def readable(text: str) -> str:
    """JSON that was shortened with `…` between its values, or is a piece of an object, as JSON."""
    whole = re.sub(r",\s*…(?=\s*[}\]])", "", text)
    return f"{{{whole}}}" if whole.startswith('"') else whole


@pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in blocks("json")])
def test_json_can_be_read(block: Found) -> None:
    assert json.loads(readable(block.text))


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in blocks("bash")])
def test_a_shell_can_read_what_is_for_it(block: Found) -> None:
    text = re.sub(r"<[a-z][^<>\n]*>", "in-place-of", block.text)  # `<name of the deployment>` is what one fills in
    read = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert not read.returncode, read.stderr


@pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in blocks("js", "jsx")])
def test_what_javascript_imports_and_calls_of_the_client_is_there(block: Found) -> None:
    source = {name: (ROOT / f"clients/js/src/{name}.js").read_text("utf-8") for name in ("client", "index", "react")}
    for names, of_react in re.findall(r'import \{ ([^}]+) \} from "dormouse-client(/react)?"', block.text):
        exported = re.findall(r"export \{ (\w+) \}|export function (\w+)", source["react" if of_react else "index"])
        assert {name.strip() for name in names.split(",")} <= {name for both in exported for name in both}
    methods = set(re.findall(r"^  (?:async )?\*?(\w+)\(", source["client"], re.MULTILINE))
    assert set(re.findall(r"\bdormouse\.(\w+)\(", block.text)) <= methods


def snippet(page: str, begins: str) -> dict[str, Any]:
    """What the first snippet of a page that has this in it defines."""
    (text, *_) = (each.text for each in blocks("python") if each.page == ROOT / page and begins in each.text)
    defined: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(text.replace("from __future__ import annotations\n", ""), page, "exec", dont_inherit=True), defined)
    return defined


@pytest.mark.parametrize(
    ("page", "begins", "name"),
    [("README.md", "The clerk", "clerk"), ("docs/agents.md", "The storyteller", "storyteller")],
)
def test_an_agent_that_is_shown_can_be_built(page: str, begins: str, name: str) -> None:
    settings = Settings.model_validate({"OPENAI_API_KEY": "sk-unused-in-this-test"})
    built: Agent = snippet(page, begins)["build"](settings, None)
    assert built.name == name
    assert built.tools


async def test_the_tools_that_are_shown_can_be_called() -> None:
    shown = [snippet("README.md", "The clerk"), snippet("docs/tools.md", "find_flights")]
    tools = by_name(shown[0][name] for name in ("find_order", "refund", "send_letter"))
    flights = shown[1]["find_flights"]
    context = ToolContext(
        run_id="run_1", session_id="s", owner="function", call_id="c", idempotency_key="run_1:1:0", start=1
    )
    with ThreadPoolExecutor(1) as threads:
        assert await tools["find_order"].invoke('{"number": 7}', context, threads) == "one alarm clock, 12.50 EUR"
        assert "There is no order 8" in await tools["find_order"].invoke('{"number": 8}', context, threads)
        assert "run_1:1:0" in await tools["refund"].invoke('{"number": 7, "reason": null}', context, threads)
        assert json.loads(await flights.invoke('{"city": "Oslo", "day": null}', context, threads)) == [
            {"to": "Oslo", "day": "today", "departs": "09:40"}
        ]
        assert "Nobody flies there" in await flights.invoke('{"city": "Atlantis", "day": "today"}', context, threads)
