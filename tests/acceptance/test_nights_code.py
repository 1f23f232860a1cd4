"""Nights after a deployment, and of workers that die or cost too much: what is typed then, and that it is mended."""

from __future__ import annotations

import asyncio
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, move_clock
from tests.acceptance.launch import AHEAD_VARIABLE
from tests.acceptance.nights import FUNCTION_KEY, NewStack, Night, a_stack, night, started
from tests.acceptance.test_crashes import MINUTE, calls, creates_by_turn, restart
from tests.parts.waiting import eventually

CANNOT_BE_BUILT = """
def build(settings, provider):
    raise RuntimeError("no prompt")

agents.AGENTS.append(build)
"""
CANNOT_READ = """
from shared.runs.store import rows

def check_schema(values):
    if "phase" in values:
        raise rows.RowUnreadable("KeyError in Run.phase")

rows.check_schema = check_schema
"""
WITHOUT_THE_WORKSHOP = """
agents.AGENTS[:] = [each for each in agents.AGENTS if each.__module__ != "tests.parts.workshop"]
"""


def version(folder: Path, change: str) -> Path:
    """The app, with other agents."""
    folder.mkdir()
    shutil.copy(ROOT / "host.json", folder)
    source = (ROOT / "function_app.py").read_text("utf-8")
    (folder / "function_app.py").write_text(f"{source}\nfrom shared import agents\n{change}", "utf-8")
    return folder


def keep(person: Night, place: Path) -> None:
    """The package of the version before, where the page has it. The code below `shared` is that of the checkout."""
    kept = place / "checkout/.dormouse/kept"
    kept.mkdir(parents=True)
    with zipfile.ZipFile(kept / "dormouse-1.zip", "w") as pack:
        for name in ("function_app.py", "host.json"):
            pack.write(ROOT / name, name)
    person.places["version"] = "1"


async def deployed(stack: Stack, app: Path, **env: str) -> Any:
    """A host of that version, as the second one that there is."""
    return await asyncio.to_thread(lambda: stack.host(app_dir=app, args=["--function-key", FUNCTION_KEY], **env))


async def thinking(stack: Stack, label: str) -> str:
    """The input of a run whose model thinks until all are let go, and then wants a tool."""
    asks, says = calls(("work", {"label": label}))
    await stack.model.script("slow", [{**asks, "stuck": True}, says])
    return "[script:slow]"


async def let_go(stack: Stack) -> None:
    for response in await stack.model.responses():
        await stack.model.finish(response.id)


@pytest.mark.parametrize("change", [CANNOT_BE_BUILT, CANNOT_READ], ids=["does not start", "cannot read"])
async def test_a_bad_deploy_over_running_work(own_stack: NewStack, tmp_path: Path, change: str) -> None:
    stack = a_stack(own_stack)
    good = await started(stack)
    async with Api(good.url, FUNCTION_KEY) as api:
        run_id = await api.start(await thinking(stack, "a"), agent="workshop")
    await asyncio.to_thread(good.stop)
    bad = await deployed(stack, version(tmp_path / "bad", change), **{AHEAD_VARIABLE: str(MINUTE)})
    await let_go(stack)
    heading = "A bad deploy over running work"
    async with Api(bad.url, FUNCTION_KEY) as api, night(heading, stack, bad, tmp_path) as person:
        is_bad = is_misconfigured if change is CANNOT_BE_BUILT else has_put_one_aside
        await eventually(lambda: is_bad(api))
        keep(person, tmp_path)
        bad.env[AHEAD_VARIABLE] = str(2 * MINUTE)
        _, health = await person.types()
        assert json.loads(health)["status"] == "ok"
        aside, _ = await person.types()
        assert (run_id in aside) == (change is CANNOT_READ)
        run = await api.finished(run_id)
        await eventually(lambda: has_put_none_aside(api))
    assert (run["status"], "worked on a" in run["text"]) == ("completed", True)
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}


async def is_misconfigured(api: Api) -> bool:
    """What health says of agents that cannot be built."""
    health = await api.call("GET", "/api/health")
    return (health.status, health["status"]) == (503, "misconfigured")


async def put_aside(api: Api) -> int:
    """How many rows health knows that cannot be read."""
    return int((await api.call("GET", "/api/health/deep"))["checks"]["storage"]["quarantined"])


async def has_put_one_aside(api: Api) -> bool:
    return await put_aside(api) == 1


async def has_put_none_aside(api: Api) -> bool:
    return await put_aside(api) == 0


async def test_an_agent_was_removed(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    good = await started(stack)
    async with Api(good.url, FUNCTION_KEY) as api:
        run_id = await api.start(await thinking(stack, "a"), agent="workshop")
    await asyncio.to_thread(good.stop)
    without = await deployed(stack, version(tmp_path / "bad", WITHOUT_THE_WORKSHOP), **{AHEAD_VARIABLE: str(MINUTE)})
    await let_go(stack)
    heading = "An agent was renamed or removed"
    async with Api(without.url, FUNCTION_KEY) as api, night(heading, stack, without, tmp_path) as person:
        run = await api.until(run_id, lambda run: "does not know the agent" in run["waiting_text"])
        assert run["waiting_text"].startswith("This version of the app does not know the agent workshop.")
        keep(person, tmp_path)
        without.env[AHEAD_VARIABLE] = str(15 * MINUTE)  # longer than the ten minutes
        await person.types()
        run = await api.finished(run_id)
    assert (run["status"], "worked on a" in run["text"]) == ("completed", True)
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}


async def test_a_worker_restarts_again_and_again(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack, DORMOUSE_TOOL_STARTS="9", DORMOUSE_TOOL_LEASE_SECONDS="60")
    host = await started(stack)
    await stack.model.script("deadly", calls(("crash", {"label": "boom"})))
    heading = "A worker restarts again and again"
    async with night(heading, stack, host, tmp_path) as person, Api(host.url, FUNCTION_KEY) as api:
        run_id = await api.start("[script:deadly]", agent="workshop")
        for _ in range(2):
            await eventually(lambda: not host.alive)
            host.kill()
            await restart(host)
        await eventually(lambda: not host.alive)
        host.kill()
        await asyncio.to_thread(lambda: host.start().wait_ready())
        _, at_work = await person.types()
        assert run_id in at_work
        deaths = len(stack.traces("boom", "start"))
        await move_clock(host, 5 * MINUTE)
        drained = json.loads(await person.command("python -m dormouse_client ops drain"))
        assert (drained["draining"], host.alive) == (True, True)
        await person.types(run_id=run_id)
        assert (await api.run(run_id))["status"] == "cancelled"
        await move_clock(host, MINUTE)
        assert (await api.finished(await api.start("Hello.", agent="workshop")))["status"] == "completed"
    assert len(stack.traces("boom", "start")) == deaths == 3


async def test_who_sends_what_hangs_is_kept_out(own_stack: NewStack, tmp_path: Path) -> None:
    """The platform does that, and the sending is tried by `test_requests.py`: what is typed is what the tool takes."""
    stack = a_stack(own_stack)
    async with night("Requests that hang", stack, await started(stack), tmp_path) as person:
        await person.types()
        (*_, typed) = person.cloud.typed
        assert typed[-4:] == ["--ip-address", "203.0.113.7/32", "--priority", "100"]


async def test_the_bill_is_too_high(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack)
    endless = [{"calls": [{"name": "work", "arguments": {"label": "more"}}]}] * 30
    await stack.model.script("endless", endless)
    await stack.model.script("stuck", [{"stuck": True}])
    heading = "The bill is too high"
    async with Api(host.url, FUNCTION_KEY) as api, night(heading, stack, host, tmp_path) as person:
        long = await api.start("[script:stuck]", agent="workshop")
        greedy = await api.start("[script:endless]", agent="workshop")
        await api.until(greedy, lambda run: run["turn"] > 1)
        await person.types()
        assert (await api.submit("Hello."))["code"] == "intake_paused"
        await person.types(run_id=long)
        await eventually(lambda: is_cancelled(stack))
        await person.command(f"python -m dormouse_client ops end {greedy}")
        assert (await api.run(greedy))["status"] == "cancelled"
        for _ in range(3):
            await person.types()
        run = await api.finished(await api.start("[script:endless]", agent="workshop"))
    assert (run["status"], run["error"]["code"], run["turn"]) == ("failed", "turn_limit", 10)


async def is_cancelled(stack: Stack) -> bool:
    """Whether the response that was under way is cancelled at the provider."""
    return (await stack.model.responses())[0].cancelled
