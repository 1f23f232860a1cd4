"""The questions of a bad night: each state is brought about, what the page says is typed, and it is mended.

docs/operations.md is read: another command there is another command here, and each has to be typed.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from azure.data.tables.aio import TableClient

from local.stack import FunctionsHost
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, admin, move_clock
from tests.acceptance.launch import AHEAD_VARIABLE, RESTING_VARIABLE
from tests.acceptance.nights import FUNCTION_KEY, KEY, NewStack, a_stack, night, started
from tests.acceptance.test_crashes import MINUTE, calls, creates_by_turn
from tests.parts.faulty_proxy import faulty_proxy
from tests.parts.waiting import eventually


def resting(folder: Path) -> dict[str, str]:
    """No sweep mends what somebody is to mend by hand, until the file `rests` is gone."""
    (folder / "rests").touch()
    return {RESTING_VARIABLE: str(folder / "rests")}


async def lose_orchestration(host: FunctionsHost, api: Api, run_id: str) -> None:
    """End a run's orchestration, so that nobody wakes the run."""
    path = f"{host.url}/runtime/webhooks/durabletask/instances/{run_id}/terminate?reason=lost"
    assert (await api.call("POST", path, headers=admin(host))).status in (200, 202)


async def lose_due_row(stack: Stack, run_id: str) -> None:
    """Remove what leads sweeps to a run."""
    connection = stack.azurite.connection_string
    async with TableClient.from_connection_string(connection, f"{stack.prefix}due") as table:
        await table.delete_entity(run_id.split("_")[1][-1], run_id)
        assert [row async for row in table.query_entities(f"RowKey eq '{run_id}'")] == []


async def test_what_is_at_hand_says_how_the_app_is(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack)
    async with night("At hand", stack, host, tmp_path) as person:
        assert await person.types() == [""]
        (health,) = await person.types()
        assert json.loads(health)["status"] == "ok"


async def test_a_run_is_stuck(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack, **resting(tmp_path))
    host = await started(stack)
    await stack.model.script("stuck", [{"stuck": True, "text": "At last."}])
    async with Api(host.url, FUNCTION_KEY) as api, night("A run is stuck", stack, host, tmp_path) as person:
        woken, released, ended = [await api.start("[script:stuck]", agent="workshop") for _ in range(3)]
        for run_id in (woken, released, ended):
            await lose_orchestration(host, api, run_id)
        for response in (await stack.model.responses())[:2]:
            await stack.model.finish(response.id)
        await lose_due_row(stack, released)
        await move_clock(host, MINUTE)
        (overdue,) = await person.types()
        assert {woken, ended} == {json.loads(line)["id"] for line in overdue.splitlines()}
        await person.types(run_id=woken)
        assert (await api.finished(woken))["text"] == "At last."
        await person.types(run_id=released)
        assert (await api.finished(released))["text"] == "At last."
        await person.types(run_id=ended)
        assert (await api.run(ended))["status"] == "cancelled"
        (tmp_path / "rests").unlink()
        await nothing_is_overdue(host, api)


async def nothing_is_overdue(host: FunctionsHost, api: Api) -> None:
    """Wait until an operator sees no more of it: after the next sweep, which takes away what has ended."""

    async def nothing() -> bool:
        reply = await api.call("GET", "/api/ops/overdue", headers={"x-dormouse-operator-key": KEY})
        return bool(reply["data"] == [])

    await move_clock(host, MINUTE)
    await eventually(nothing)


async def test_the_provider_is_down_and_then_throttles(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack)
    heading = "The provider is down, slow or throttling"
    async with Api(host.url, FUNCTION_KEY) as api, night(heading, stack, host, tmp_path) as person:
        await stack.model.switches(down=True)
        waits = await api.start("Hello.", agent="workshop")
        await person.types()
        refused = await api.submit("Hello.", agent="workshop")
        assert (refused.status, refused["code"], refused.headers["Retry-After"]) == (503, "intake_paused", "600")
        throttled: dict[str, Any] = {"create": [{"status": 429, "headers": {"Retry-After": "1"}, "times": 2}]}
        await stack.model.switches(down=False, faults=throttled)
        await person.types()
        assert host.env["DORMOUSE_PROVIDER_CONCURRENCY"] == "4"
        await move_clock(host, 1_800)
        run = await api.finished(waits)
        assert (run["status"], "You said: Hello." in run["text"]) == ("completed", True)
        await person.types()
        assert (await api.finished(await api.start("Hello.", agent="workshop")))["status"] == "completed"


async def test_the_task_hub_is_lost(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack, **resting(tmp_path))
    host = await started(stack)
    asks, says = calls(("work", {"label": "a"}))
    await stack.model.script("slow", [{**asks, "stuck": True}, says])
    async with Api(host.url, FUNCTION_KEY) as api, night("The task hub is lost", stack, host, tmp_path) as person:
        runs = [await api.start("[script:slow]", agent="workshop") for _ in range(2)]
        host.kill()  # the local hub is in memory
        for response in await stack.model.responses():
            await stack.model.finish(response.id)
        host.env[AHEAD_VARIABLE] = str(MINUTE)
        await asyncio.to_thread(lambda: host.start().wait_ready())
        await person.types()
        for run_id in runs:
            assert (await api.finished(run_id))["status"] == "completed"
            assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}
        (tmp_path / "rests").unlink()
        await nothing_is_overdue(host, api)
        last = await api.start("[script:slow]", agent="workshop")
        await stack.model.finish((await stack.model.responses())[-1].id)
        host.env[AHEAD_VARIABLE] = str(3 * MINUTE)
        await person.types()
        assert (await api.finished(last))["status"] == "completed"


async def test_storage_is_throttled(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    tables = re.search(r"TableEndpoint=(http://[^/]+)", stack.azurite.connection_string)
    assert tables
    async with faulty_proxy(tables[1], ("busy",), seed=7) as proxy:
        behind = stack.azurite.connection_string.replace(tables[1], proxy.url)
        host = await started(stack, AzureWebJobsStorage=behind)
        heading = "Storage is throttled"
        async with Api(host.url, FUNCTION_KEY) as api, night(heading, stack, host, tmp_path) as person:
            run_id = await api.start("Hello.", agent="workshop")
            proxy.rate = 0.5
            await eventually(lambda: is_refused(api))
            await person.types()  # looks who asks for so much
            await person.types()
            assert proxy.done["busy"] > 0
            host.env[AHEAD_VARIABLE] = str(MINUTE)
            await person.types()
            proxy.rate = 0.0
            assert (await api.submit("Hello."))["code"] == "intake_paused"
            await person.types()
            assert host.env["DORMOUSE_SWEEP_CONCURRENCY"] == "4"
            run = await api.finished(run_id)
            assert (run["status"], "You said: Hello." in run["text"]) == ("completed", True)
            assert (await api.finished(await api.start("Hello.", agent="workshop")))["status"] == "completed"


async def is_refused(api: Api) -> bool:
    """Whether a caller is told to come back."""
    reply = await api.call("GET", "/api/runs")
    return (reply.status, reply.body.get("code")) == (503, "storage_unavailable")
