"""A deployment of another profile has another task hub: the orchestrations stay behind in the old one, the runs go on.

The local host keeps its hub in memory, so that a host with the host.json of another profile has an empty one beside
the same rows, as in Azure a hub of another name is.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from local import ROOT
from local.packaging.profiles import find_profile, host_json_of
from local.stack import FunctionsHost
from tests.acceptance import batches
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, admin
from tests.acceptance.launch import AHEAD_VARIABLE
from tests.acceptance.test_approvals import answer, asked, asking, parked
from tests.acceptance.test_crashes import MINUTE, SHORT_WAITS, calls, creates_by_turn
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]
App = Callable[[str], Path]

THINKING = ("queued", "in_progress")


@pytest.fixture
def app(tmp_path: Path) -> App:
    """The app as a profile deploys it."""

    def deployed(profile: str) -> Path:
        folder = tmp_path / profile
        folder.mkdir()
        shutil.copy(ROOT / "function_app.py", folder)
        (folder / "host.json").write_text(host_json_of(ROOT, find_profile(profile)), "utf-8")
        return folder

    return deployed


async def three_think(stack: Stack) -> bool:
    """Whether the model has been asked for the run's response and for those of two items."""
    return len(await stack.model.responses()) == 3


async def in_hub(host: FunctionsHost, api: Api) -> set[str]:
    """The orchestrations that are in a host's hub."""
    path = f"{host.url}/runtime/webhooks/durabletask/instances/"
    return {each["instanceId"] for each in (await api.call("GET", path, headers=admin(host))).body}


@pytest.mark.parametrize(("old", "new"), [pytest.param("small", "medium", marks=pytest.mark.main), ("medium", "small")])
async def test_runs_and_batches_of_the_old_hub_go_on_in_the_new_one(
    own_stack: NewStack, app: App, old: str, new: str
) -> None:
    stack = own_stack("durable", **SHORT_WAITS)
    first = await asyncio.to_thread(stack.host, app_dir=app(old))
    asks, says = calls(("work", {"label": "a"}))
    await stack.model.script("slow", [{**asks, "stuck": True}, says])
    await stack.model.script("long", [{**says, "stuck": True}])
    async with Api(first.url) as api:
        run_id = await api.start("[script:slow]", agent="workshop")
        await api.until(run_id, lambda run: run["provider_status"] in THINKING)
        items = [{"input": "[script:long]", "agent": "workshop"}] * 2
        batch_id = (await batches.submit(api, items))["id"]
        await eventually(lambda: three_think(stack))
        assert {run_id, batch_id} <= await in_hub(first, api)
    await asyncio.to_thread(first.stop)
    for response in await stack.model.responses():
        await stack.model.finish(response.id)
    ahead = {AHEAD_VARIABLE: str(MINUTE)}
    second = await asyncio.to_thread(stack.host, app_dir=app(new), **ahead)
    async with Api(second.url) as api:
        run = await api.finished(run_id)
        batch = await batches.over(api, batch_id)
        assert {run_id, batch_id} <= await in_hub(second, api)
    assert (run["status"], batch["status"]) == ("completed", "completed"), (run, batch)
    assert "worked on a" in run["text"]
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}
    assert Counter(trace.label for trace in stack.traces(what="start")) == {"a": 1}
    assert len(await stack.model.creates()) == 4


async def test_both_hubs_at_work_at_once_do_nothing_twice(own_stack: NewStack, app: App) -> None:
    stack = own_stack("durable", **SHORT_WAITS)
    old, new = await asyncio.gather(
        asyncio.to_thread(stack.host, app_dir=app("small")), asyncio.to_thread(stack.host, app_dir=app("medium"))
    )
    await stack.model.script("asks", [asking(("send", "a")), {"text": "Done:", "echo": True, "think": 1}])
    async with Api(old.url) as before, Api(new.url) as after:
        run_id = await before.start("[script:asks]", agent="workshop")
        (call,) = asked(await parked(before, run_id))
        assert run_id in await in_hub(old, before)
        assert run_id not in await in_hub(new, after)
        # Whoever signals through the new deployment starts the run's orchestration there; the old one is still there.
        assert (await answer(after, run_id, {call: True})).status == 200
        run = await after.finished(run_id)
        assert run_id in await in_hub(new, after)
        again = await before.start("[script:asks]", agent="workshop")
        (call,) = asked(await parked(before, again))
        await asyncio.gather(*(answer(api, again, {call: True}) for api in (before, after)))
        other = await before.finished(again)
    for each in (run, other):
        assert (each["status"], [tool["starts"] for tool in each["tool_calls"]]) == ("completed", [1])
        assert await creates_by_turn(stack.model, each["id"]) == {"1": 1, "2": 1}
    assert len(stack.traces("a", "start")) == 2
