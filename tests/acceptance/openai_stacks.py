"""Other people's clients as their users have them, each in an environment of its own, step by step against the app.

A program in `openai_python/` or `openai_npm/` does the steps; what passes between it and the app is kept by a proxy and
held against OpenAI's types, runs are counted at the model, and what came of each step is a row of docs/clients.md.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from local import ROOT
from local.openapi.clients import Measured
from local.packaging.uv import run_uv
from local.stack import find_node
from local.stack.node import version_of
from local.stack.setup import ensure_packages, fingerprint, install_lock, is_current, venv_python
from tests.acceptance.conftest import CLIENT_KEYS, Target
from tests.parts.openai_shapes import events_of, problems_of
from tests.parts.recording_proxy import DROPPED, Exchange, RecordingProxy, recording_proxy
from tests.parts.strict_reader import StrictReader

PYTHON, NPM = Path(__file__).parent / "openai_python", Path(__file__).parent / "openai_npm"
HOMES = ROOT / ".dormouse" / "openai-python"
NPM_HOME = ROOT / ".dormouse" / "openai-npm"
OLDEST_NODE = (22, 0)  # what the packages ask for

WORDS = "Once upon a time there was a dormouse, and it slept. " * 3
HALF = "Half of a sentence"
PIRATE = "Be a pirate."
WORK: dict[str, Any] = {"calls": [{"name": "work", "arguments": {"label": "stack"}}]}
SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "text": [{"think": 0, "text": "Here it is."}],
    "stream": [{"think": 0.4, "text": WORDS}],
    "helper": [{"think": 0.1, **WORK}, {"think": 0.4, "text": WORDS}],
    "turns": [{"think": 0, "text": "One."}],
    "turns2": [{"think": 0, "text": "Two."}],
    "turns_unstored": [{"think": 0, "text": "One."}],
    "turns_unstored2": [{"think": 0, "text": "Two."}],
    "system": [{"think": 0, "text": "Arr."}],
    "options": [{"think": 0, "text": "Fine."}],
    "tools": [
        {"think": 0, "calls": [{"name": "lookup", "arguments": {"word": "dormouse"}}]},
        {"think": 0, "text": "In a nest."},
    ],
    "failed": [{"think": 0, "status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}],
    "failed_stream": [
        {"think": 0.1, "text": HALF, "status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}
    ],
    "tools_first": [{"think": 0.1, **WORK}, {"think": 0.1, **WORK}, {"think": 0.4, "text": WORDS}],
    "lost": [{"think": 0.2, "text": "Once."}],
    "lost_key": [{"think": 0.2, "text": "Once."}],
}
"""What the model plays in each step: `helper` and `tools_first` call the agent's own tools before they speak."""

SAID: dict[str, Any] = {
    "text": "Here it is.",
    "stream": WORDS,
    "helper": WORDS,
    "turns": ["One.", "Two."],
    "turns_unstored": ["One.", "Two."],
    "system": "Arr.",
    "options": "Fine.",
    "tools": "In a nest.",
    "tools_first": WORDS,
    "lost": "Once.",
    "lost_key": "Once.",
}
"""What the user of a client sees."""

TURNS = ("turns", "turns_unstored")
"""Steps of two turns, each with a script of its own."""

LOSSES = [DROPPED, 500]
"""What becomes of the first two answers to the create in `lost`, and in `lost_key`, which sends an Idempotency-Key."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client, and how it is run."""

    title: str
    """As docs/clients.md has it, without the version."""

    program: str
    environment: str = "npm"
    """A folder of `openai_python`, or `npm`."""

    arguments: tuple[str, ...] = ()
    repeats: Literal["marked", "unmarked", "never"] = "marked"
    """Whether it repeats a create whose answer is lost, and says so: else each is a run."""

    wraps: bool = False
    """Whether it wants a JSON object for an answer."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """What one client's program said, and what passed between it and the app."""

    version: str
    steps: dict[str, dict[str, Any]]
    prefix: str
    proxy: RecordingProxy

    def exchanges(self, step: str) -> list[Exchange]:
        """The requests of a step that name its script."""
        return self.proxy.about(f"[script:{self.prefix}-{step}]")


def environment(name: str) -> Path:
    """The interpreter of an environment with what that lock names; installed by uv, which takes seconds for it."""
    home, lock = HOMES / name, PYTHON / name / "requirements.txt"
    HOMES.mkdir(parents=True, exist_ok=True)
    python, stamp = venv_python(home), home / ".dormouse-requirements"
    wanted = fingerprint([lock], f"{sys.version_info.major}.{sys.version_info.minor}")
    with install_lock(HOMES):
        if not is_current(stamp, wanted):
            mine = Path(sys.executable)
            run_uv(mine, ["venv", "--clear", "--python", mine, home])
            run_uv(mine, ["pip", "sync", "--python", python, "--require-hashes", lock])
            stamp.write_text(wanted, "utf-8")
    return python


def node() -> Path:
    """A Node.js that is new enough for the packages, which are installed where the programs are copied to."""
    venv = Path(sys.prefix)
    tools = find_node(venv)
    if version_of(tools.version) < OLDEST_NODE:
        tools = find_node(venv, path="")
    ensure_packages("clients of OpenAI's", NPM, NPM_HOME, NPM_HOME / "node_modules" / "openai" / "index.mjs", tools)
    with install_lock(NPM_HOME):  # no process may find half of a file
        for program in NPM.glob("*.mjs"):
            copy = NPM_HOME / program.name
            if not copy.is_file() or copy.read_bytes() != program.read_bytes():
                copy.write_bytes(program.read_bytes())
    return tools.node


def command_of(client: Client) -> list[str | Path]:
    """What starts a client's program."""
    if client.environment == "npm":
        return [node(), NPM_HOME / client.program]
    return [environment(client.environment), PYTHON / client.program]


async def play(client: Client, target: Target, folder: Path) -> Played:
    """All steps of a client, through a proxy. ``folder`` is the program's own, for what it keeps."""
    prefix = f"c{secrets.token_hex(6)}"
    for step, turns in SCRIPTS.items():
        if client.wraps and step == "tools":  # the object is what it wants a function of its own called with
            turns = [{"think": 0, "calls": [{"name": "Said", "arguments": {"said": SAID[step]}}]}]
        elif client.wraps:
            turns = [{**each, "text": json.dumps({"said": each["text"]})} if "text" in each else each for each in turns]
        await target.model.script(f"{prefix}-{step}", turns)
    command = await asyncio.to_thread(command_of, client)
    async with recording_proxy(target.api.url) as proxy:
        proxy.lose |= {f"[script:{prefix}-{step}]": [*LOSSES] for step in ("lost", "lost_key")}
        process = await asyncio.create_subprocess_exec(
            *command,
            *(f"{proxy.url}/api/v1", CLIENT_KEYS["ada"], prefix, await agent_for_tools(target), *client.arguments),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(400):
                printed, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    lines = [json.loads(line) for line in printed.decode().splitlines() if line.startswith("{")]
    assert process.returncode == 0, errors.decode()[-5_000:]
    version = str(lines[0]["version"])
    return Played(version=version, steps={each.pop("step"): each for each in lines[1:]}, prefix=prefix, proxy=proxy)


async def agent_for_tools(target: Target) -> str:
    """The sample that lets its callers bring tools, where there is one."""
    bearer = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
    names = [each["id"] for each in (await target.api.call("GET", "/api/v1/models", headers=bearer))["data"]]
    return "assistant" if "assistant" in names else "bench"


async def runs_of(target: Target, played: Played, step: str) -> int:
    """How many runs the app has started for a step."""
    log = await target.model.log("create")
    return len({each.metadata.get("run") for each in log if each.script == f"{played.prefix}-{step}"})


async def bodies_of(target: Target, played: Played, step: str) -> list[dict[str, Any]]:
    """What the provider was sent in a step."""
    log = await target.model.log("create")
    return [each.body for each in log if each.body and each.script == f"{played.prefix}-{step}"]


def refusal_of(exchanges: list[Exchange]) -> dict[str, str | None] | None:
    """What the app has refused, if it has: code, parameter and sentence."""
    refused = [each for each in exchanges if each.status in (400, 404, 409, 413, 422) and not each.lost]
    if not refused:
        return None
    error = json.loads(refused[-1].answer)["error"]
    return {name: error[name] for name in ("code", "param", "message")}


def misshapen(played: Played) -> list[str]:
    """What in the answers is not as OpenAI's types have it; a whole stream must be a response, step by step."""
    found = []
    for each in played.proxy.exchanges:
        wrong = problems_of(each.method, each.path, each.status, each.answer_headers, each.answer)
        found += [f"{each.method} {each.path}: {problem}" for problem in wrong]
        events = events_of(each.answer) if "event-stream" in each.answer_headers.get("content-type", "") else []
        if each.whole and each.method == "POST" and "/responses" in each.path and events:
            reader = StrictReader()
            for event in events:
                reader.hear(event)
            if reader.response is None:
                found.append(f"{each.path}: a stream without an end")
    return found


async def measured(client: Client, played: Played, target: Target, problems: list[str]) -> Measured:
    """What came of each step; what must not be goes to ``problems``."""
    steps: dict[str, Any] = {}
    for step, seen in played.steps.items():
        asked = played.exchanges(step) + played.exchanges(f"{step}2")
        refusal, runs = refusal_of(asked), await runs_of(target, played, step)
        wanted = {1}
        if step in ("failed", "failed_stream"):
            steps[step] = seen_of_failure(seen)
        elif step == "lost" and client.repeats == "never" and "raised" in seen:
            steps[step] = "an error; not repeated"
        elif step in ("lost", "lost_key") and fits(seen.get("said"), SAID[step]):
            wanted = {1 + len(LOSSES)} if step == "lost" and client.repeats == "unmarked" else {1}
            steps[step] = runs
        elif fits(seen.get("said"), SAID[step]):
            wanted = {1, 2} if step == "tools" else {1}
            steps[step] = "yes"
        elif refusal is not None:
            wanted = {1} if step in TURNS else {0}  # the first of two turns went through
            steps[step] = refusal
        else:
            problems.append(f"{step}: {seen}")
        if runs not in wanted:
            problems.append(f"{step}: {runs} runs were started")
    if "status `completed`" in str(steps.get("failed")):
        problems.append(f"a failed run looks like an answer: {steps['failed']}")
    if steps.get("system") == "yes" and PIRATE not in json.dumps(await bodies_of(target, played, "system")):
        problems.append("the instructions have not reached the model")
    for step in TURNS:
        if steps.get(step) == "yes":
            (body, *_) = await bodies_of(target, played, f"{step}2")
            if "One." not in json.dumps(body) and not body.get("previous_response_id"):
                problems.append("the second turn does not know the first")
    return {"client": client.title, "version": played.version, "steps": steps}


def seen_of_failure(seen: dict[str, Any]) -> str:
    """What the user sees of a run that has failed."""
    if "raised" in seen:
        return f"`{seen['raised']}`"
    if isinstance(seen["said"], str) and seen["said"].strip() == HALF:
        return "the half that was sent"
    return seen["said"] or "an empty answer"


def fits(said: Any, wanted: Any) -> bool:
    """Whether the user saw it; a client may set or take a space at the end."""
    if isinstance(wanted, list):
        return isinstance(said, list) and [each.strip() for each in said] == wanted
    return isinstance(said, str) and said.strip() == wanted.strip()
