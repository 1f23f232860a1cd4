"""The tables are copied while the app is at work, are lost, and come back from the copy under another name."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local import ROOT
from local.stack import machine_environment
from tests.acceptance import batches
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.acceptance.launch import AHEAD_VARIABLE
from tests.acceptance.test_approvals import answer, asked, asking, parked
from tests.acceptance.test_crashes import MINUTE, SHORT_WAITS, calls, creates_by_turn
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]


def typed(stack: Stack, *command: str) -> str:
    """What `python3 dev.py …` prints, with the storage that the app has."""
    env = machine_environment() | {
        "AzureWebJobsStorage": stack.azurite.connection_string,
        "DORMOUSE_TABLE_PREFIX": stack.prefix,
    }
    ran = subprocess.run(
        [sys.executable, "dev.py", *command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


async def test_runs_sessions_and_batches_go_on_from_a_backup(own_stack: NewStack, driver: str, tmp_path: Path) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    first = await asyncio.to_thread(stack.host)
    asks, says = calls(("work", {"label": "a"}))
    await stack.model.script("slow", [{**asks, "stuck": True}, says])
    await stack.model.script("long", [{**says, "stuck": True}])
    await stack.model.script("asks", [asking(("send", "b")), {"text": "Done:", "echo": True}])
    async with Api(first.url) as api:
        done = await api.finished(await api.start("Rings.", agent="novelist"))
        thinking = await api.start("[script:slow]", agent="workshop")
        waiting = await api.start("[script:asks]", agent="workshop")
        batch_id = (await batches.submit(api, [{"input": "[script:long]", "agent": "workshop"}] * 2))["id"]
        await parked(api, waiting)
        await eventually(lambda: all_asked(stack))
        kept = str(tmp_path / "kept")
        assert "rows of runs" in await asyncio.to_thread(typed, stack, "backup", kept)
    await asyncio.to_thread(first.stop)
    for response in await stack.model.responses():
        await stack.model.finish(response.id)

    prefix = f"t{secrets.token_hex(6)}"
    said = await asyncio.to_thread(typed, stack, "restore", kept, "--prefix", prefix)
    assert "as they were from" in said
    ahead = {AHEAD_VARIABLE: str(MINUTE), "DORMOUSE_TABLE_PREFIX": prefix, "DORMOUSE_APP_NAME": stack.prefix}
    second = await asyncio.to_thread(stack.host, **ahead)
    async with Api(second.url) as api:
        same = await api.call("GET", f"/api/runs/{done['id']}")
        assert (same["status"], same["text"]) == ("completed", done["text"])
        run = await api.finished(thinking)
        (call,) = asked(await parked(api, waiting))
        await answer(api, waiting, {call: True})
        answered = await api.finished(waiting)
        batch = await batches.over(api, batch_id)
        again = await api.call("POST", "/api/runs", json={"input": "Rings.", "session_id": done["session_id"]})
        assert (await api.finished(str(again["id"])))["status"] == "completed"
    assert [each["status"] for each in (run, answered, batch)] == ["completed"] * 3
    assert "worked on a" in run["text"]
    assert await creates_by_turn(stack.model, thinking) == {"1": 1, "2": 1}
    assert len(stack.traces("a", "start")) == 1


async def all_asked(stack: Stack) -> bool:
    """Whether the model has been asked for the turn of each run and item that is under way."""
    scripted = [each for each in await stack.model.creates() if "[script:" in str(each.body)]
    return len(scripted) == 4
