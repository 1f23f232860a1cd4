"""Delete and retention: nothing is left of what was removed, here or at the provider, whatever comes in between."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import aiohttp
import pytest

from local.stack import FunctionsHost
from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Table
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, admin, move_clock
from tests.acceptance.test_conversations import create_of, go_on, said, session_of, texts
from tests.acceptance.test_crashes import SHORT_WAITS, calls, restart
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]

HOUR = 3_600.0
DAY = 24 * HOUR
SECRET = "The secret of the hedgehog."


class Rows:
    """The rows of a stack, as they lie in its storage."""

    def __init__(self, stack: Stack) -> None:
        self._tables = AzureTables.from_connection_string(stack.azurite.connection_string, stack.prefix)

    async def keys(self, table: Table) -> list[str]:
        """Every row of a table: partition and key."""
        return sorted([f"{row.partition}/{row.key}" async for row in self._tables.query(table, None)])

    async def count(self) -> tuple[int, int, int]:
        """How many rows there are in ``runs``, ``index`` and ``due``."""
        runs, index, due = [await self.keys(table) for table in (Table.RUNS, Table.INDEX, Table.DUE)]
        return len(runs), len(index), len(due)

    async def kinds(self) -> dict[str, int]:
        """How many rows of each kind the ``runs`` table has."""
        return dict(Counter(key.partition("/")[2].partition(":")[0] for key in await self.keys(Table.RUNS)))

    async def text(self) -> str:
        """Everything that stands in any row, for a search."""
        tables = (Table.RUNS, Table.INDEX, Table.DUE)
        found = [
            f"{row.key}: {dict(row.values)!r}" for table in tables async for row in self._tables.query(table, None)
        ]
        return "\n".join(found)

    async def close(self) -> None:
        """Give back connections."""
        await self._tables.close()


@pytest.fixture
async def rows_of() -> AsyncIterator[Callable[[Stack], Rows]]:
    """Make a view of a stack's rows."""
    opened: list[Rows] = []

    def make(stack: Stack) -> Rows:
        opened.append(Rows(stack))
        return opened[-1]

    yield make
    for rows in opened:
        await rows.close()


async def fire(host: FunctionsHost, timer: str) -> None:
    """Fire a timer by hand."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{host.url}/admin/functions/{timer}", json={}, headers=admin(host)) as answer,
    ):
        assert answer.status == 202


async def retained(host: FunctionsHost) -> None:
    """Let retention make a whole pass. Of two that end, one began now: a moved clock may have begun the other."""

    def passes() -> int:
        return host.log_path.read_text("utf-8").count("retention: {")

    before = passes()
    await fire(host, "retain")
    await fire(host, "retain")
    await eventually(lambda: passes() >= before + 2)


async def delete(api: Api, what: str, of: str) -> int:
    """``DELETE /api/runs/{id}`` or ``/api/sessions/{id}``; the status."""
    return (await api.call("DELETE", f"/api/{what}/{of}")).status


async def copies(stack: Stack, runs: Iterable[str] | None = None) -> list[str]:
    """The provider's copies of these runs (or of all) that are left."""
    wanted = None if runs is None else set(runs)
    known = await stack.model.responses()
    return [each.id for each in known if not each.deleted and (wanted is None or each.metadata["run"] in wanted)]


async def gone_for_good(host: FunctionsHost, rows: Rows) -> None:
    """Two days later nothing is left: no tombstone, no key, no due row."""

    async def empty() -> bool:
        await fire(host, "retain")
        await move_clock(host, HOUR)
        return await rows.count() == (0, 0, 0)

    await move_clock(host, 49 * HOUR)
    await eventually(empty)


LONG: list[dict[str, Any]] = [
    {"calls": [{"name": "write_much", "arguments": {"label": SECRET, "times": 3_000}}]},
    {"text": SECRET * 2_000},
]


@pytest.mark.main
async def test_of_a_deleted_session_nothing_is_left(
    own_stack: NewStack, rows_of: Callable[[Stack], Rows], driver: str
) -> None:
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    rows = rows_of(stack)
    await stack.model.script("long", LONG)
    await stack.model.script("stuck", [{"stuck": True}])
    async with Api(host.url) as api:
        first = await api.submit(f"{SECRET * 2_000}[script:long]", agent="workshop", key="k", metadata={"m": SECRET})
        session = first["session_id"]
        assert (await api.finished(first["id"]))["status"] == "completed"
        second = await api.start("[script:stuck]", session_id=session)
        assert (await rows.kinds())["part"] > 3
        assert SECRET in await rows.text()
        assert await delete(api, "sessions", session) == 204
        # at once
        assert (await session_of(api, session)).status == 404
        for run_id in (first["id"], second):
            assert (await api.call("GET", f"/api/runs/{run_id}")).status == 404
            assert (await api.cancel(run_id)).status == 404
            assert await delete(api, "runs", run_id) == 404
        assert await delete(api, "sessions", session) == 404
        assert (await api.submit("More.", session_id=session)).status == 404
        payload = {"input": f"{SECRET * 2_000}[script:long]", "agent": "workshop", "metadata": {"m": SECRET}}
        again = await api.call("POST", "/api/runs", json=payload, headers={"Idempotency-Key": "k"})
        assert (again.status, again["code"]) == (410, "run_deleted")

        # soon after
        async def swept() -> bool:
            return await copies(stack) == [] and await rows.kinds() == {"session": 1, "run": 2}

        await eventually(swept)
        assert [each.cancelled for each in await stack.model.responses()] == [False, False, True]
        assert [key.split(":")[0] for key in await rows.keys(Table.INDEX)] == ["key"]
        assert SECRET not in await rows.text()
        # two days later
        await gone_for_good(host, rows)


async def test_a_session_lives_on_without_a_deleted_run(
    own_stack: NewStack, rows_of: Callable[[Stack], Rows], driver: str
) -> None:
    """The next run is rebuilt from what remains; the provider's chain would still know the rest."""
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    rows = rows_of(stack)
    await stack.model.script("s", calls(("work", {"label": "a"})))
    await stack.model.script("long", LONG)
    await stack.model.script("stuck", [{"stuck": True}])
    async with Api(host.url) as api:
        first = await go_on(api, "[script:s] one")
        session = first["session_id"]
        second = await go_on(api, f"{SECRET}[script:long]", session)
        third = await go_on(api, "[script:s] three", session)
        assert await delete(api, "runs", second["id"]) == 204
        assert (await api.call("GET", f"/api/runs/{second['id']}")).status == 404
        assert [run["id"] for run in (await session_of(api, session))["runs"]] == [third["id"], first["id"]]
        assert SECRET not in json.dumps(await said(api, session))
        fourth = await go_on(api, "[script:s] four", session)
        assert fourth["status"] == "completed", fourth
        body = await create_of(stack.model, fourth["id"])
        assert "previous_response_id" not in body
        turn = ["function_call", "function_call_output", "assistant"]
        assert [role for role, _ in texts(body["input"])] == ["user", *turn, "user", *turn, "user"]
        assert SECRET not in json.dumps(body)

        async def swept() -> bool:
            return SECRET not in await rows.text() and not await copies(stack, [second["id"]])

        await eventually(swept)
        assert len(await copies(stack, [first["id"], third["id"], fourth["id"]])) == 6
        fifth = await go_on(api, "[script:s] five", session)
        chained = await create_of(stack.model, fifth["id"])
        assert chained["previous_response_id"] == (await stack.model.creates(run=fourth["id"]))[-1].response_id
        sixth = await api.start("[script:stuck]", session_id=session)
        busy = await api.call("DELETE", f"/api/runs/{first['id']}")
        assert (busy.status, busy["code"], busy["active_run"]) == (409, "session_busy", sixth)
        # an active one is cancelled, and its session is free at once
        assert await delete(api, "runs", sixth) == 204
        assert (await go_on(api, "[script:s] seven", session))["status"] == "completed"

        async def cancelled() -> bool:
            (known,) = [each for each in await stack.model.responses() if each.metadata["run"] == sixth]
            return known.cancelled and known.deleted

        await eventually(cancelled)
        # two days later the session is still there, without the tombstones
        await move_clock(host, 49 * HOUR)
        await eventually(lambda: _tombstones_gone(host, rows))
        assert [run["status"] for run in (await session_of(api, session))["runs"]] == ["completed"] * 5
        assert await delete(api, "sessions", session) == 204
        await gone_for_good(host, rows)
        assert await copies(stack) == []


async def _tombstones_gone(host: FunctionsHost, rows: Rows) -> bool:
    await move_clock(host, 600)
    return (await rows.kinds())["run"] == 5 and not await rows.keys(Table.DUE)


async def test_a_run_is_deleted_while_its_tools_run_and_while_it_is_created(
    own_stack: NewStack, rows_of: Callable[[Stack], Rows], driver: str
) -> None:
    """What the tool and the late answer bring is thrown away: the answer's response is cancelled and deleted."""
    stack = own_stack(driver, DORMOUSE_TOOL_RENEWAL_SECONDS="2")
    host = await asyncio.to_thread(stack.host)
    rows = rows_of(stack)
    ask = {"calls": [{"name": "work", "arguments": {"label": "a", "seconds": 600}}]}
    quick = {"calls": [{"name": "work", "arguments": {"label": "b"}}]}
    await stack.model.script("tools", [ask])
    late = {"create": [{"hang": 1.0, "after_accept": True}]}
    await stack.model.script("late", [quick, {"text": SECRET, "think": 1_000, "faults": late}])
    async with Api(host.url) as api:
        tools = await api.start("[script:tools]", agent="workshop")
        await eventually(lambda: stack.traces("a", "start"))
        assert await delete(api, "runs", tools) == 204
        created = await api.start("[script:late]", agent="workshop")
        await eventually(lambda: stack.model.creates(run=created, turn="2"))
        assert await delete(api, "runs", created) == 204

        async def swept() -> bool:
            kinds = await rows.kinds()
            return await copies(stack) == [] and kinds == {"session": 2, "run": 2}

        await eventually(swept)
        assert [each.cancelled for each in await stack.model.responses()] == [False, False, True]
        for run_id in (tools, created):
            assert (await api.call("GET", f"/api/runs/{run_id}")).status == 404
            assert await delete(api, "sessions", run_id.split("_")[1]) == 204
        await gone_for_good(host, rows)
        assert stack.traces("a", "end") == []


@pytest.mark.parametrize("what", ["runs", "sessions"])
async def test_a_crash_right_after_a_delete_changes_nothing(
    own_stack: NewStack, rows_of: Callable[[Stack], Rows], driver: str, what: str
) -> None:
    """The provider is away when it comes, so that nothing can have been done before."""
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    rows = rows_of(stack)
    await stack.model.script("long", LONG)
    async with Api(host.url) as api:
        run = await go_on(api, f"{SECRET}[script:long]")
        assert run["status"] == "completed"
        await stack.model.switches(down=True)
        assert await delete(api, what, run["id" if what == "runs" else "session_id"]) == 204
        host.kill()
        await stack.model.switches(down=False)
        assert len(await copies(stack)) == 2
        await restart(host)
        assert (await api.call("GET", f"/api/runs/{run['id']}")).status == 404

        async def swept() -> bool:
            await move_clock(host, 10)
            return await copies(stack) == [] and await rows.kinds() == {"session": 1, "run": 1}

        await eventually(swept)
        assert SECRET not in await rows.text()


async def test_what_nobody_has_used_for_long_expires(
    own_stack: NewStack, rows_of: Callable[[Stack], Rows], driver: str
) -> None:
    """But no session with an active run, and none that was used since."""
    stack = own_stack(driver, DORMOUSE_DEADLINE_SECONDS=str(7 * DAY), DORMOUSE_RETENTION_SECONDS=str(3 * DAY))
    host = await asyncio.to_thread(stack.host)
    rows = rows_of(stack)
    await stack.model.script("long", LONG)
    await stack.model.script("s", calls(("work", {"label": "a"})))
    await stack.model.script("stuck", [{"stuck": True}])
    async with Api(host.url) as api:
        idle = await go_on(api, f"{SECRET}[script:long]")
        used = await go_on(api, "[script:s] one")
        active = await api.start("[script:stuck]", agent="workshop")
        await move_clock(host, 2 * DAY)
        again = await go_on(api, "[script:s] two", used["session_id"])
        assert again["status"] == "completed", again
        await retained(host)
        assert (await session_of(api, idle["session_id"])).status == 200
        await move_clock(host, 1.5 * DAY)
        await fire(host, "retain")

        async def expired() -> bool:
            """The session's tombstone comes first, those of its runs after it."""
            if (await session_of(api, idle["session_id"])).status != 404:
                return False
            return (await api.call("GET", f"/api/runs/{idle['id']}")).status == 404

        await eventually(expired)

        async def swept() -> bool:
            return not await copies(stack, [idle["id"]]) and SECRET not in await rows.text()

        await eventually(swept)
        assert len(await copies(stack, [used["id"], again["id"]])) == 4
        assert (await api.run(active))["status"] == "in_progress"
        third = await go_on(api, "[script:s] three", used["session_id"])
        assert (third["status"], len((await session_of(api, used["session_id"]))["runs"])) == ("completed", 3)
        await api.cancel(active)
        await move_clock(host, 4 * DAY)
        await fire(host, "retain")
        await eventually(lambda: _all_expired(api, used["session_id"], active.split("_")[1]))
        await gone_for_good(host, rows)
        assert await copies(stack) == []


async def _all_expired(api: Api, *sessions: str) -> bool:
    return {(await session_of(api, session)).status for session in sessions} == {404}


async def test_a_provider_that_is_away_is_asked_until_its_copies_are_gone(
    own_stack: NewStack, rows_of: Callable[[Stack], Rows]
) -> None:
    """A copy that the provider has lost already counts as gone. No tombstone goes before the last copy."""
    stack = own_stack("durable")
    host = await asyncio.to_thread(stack.host)
    rows = rows_of(stack)
    await stack.model.script("s", calls(("work", {"label": "a"})))
    async with Api(host.url) as api:
        run = await go_on(api, "[script:s]")
        lost, kept = await stack.model.responses()
        await stack.model.forget(lost.id)
        await stack.model.switches(faults={"delete": [{"status": 500, "times": 3}]})
        assert await delete(api, "runs", run["id"]) == 204
        await eventually(lambda: stack.model.log("delete"))
        await stack.model.switches(unavailable=5)
        await move_clock(host, 49 * HOUR)
        await eventually(lambda: _tried(stack, 3, host))
        assert (await rows.kinds())["run"] == 1
        await stack.model.switches(unavailable=None)

        async def deleted() -> bool:
            await move_clock(host, HOUR)
            known = {each.id: each for each in await stack.model.responses()}
            return known[kept.id].deleted and (await rows.kinds()) == {"session": 1}

        await eventually(deleted)


async def _tried(stack: Stack, times: int, host: FunctionsHost) -> bool:
    await move_clock(host, HOUR)
    return len(await stack.model.log("delete")) >= times


async def test_the_only_run_of_a_session_can_be_deleted_and_another_begun(own_stack: NewStack) -> None:
    stack = own_stack("durable")
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "Fine."}])
    async with Api(host.url) as api:
        first = await go_on(api, "[script:s] one")
        assert await delete(api, "runs", first["id"]) == 204
        second = await go_on(api, "[script:s] two", first["session_id"])
        assert (second["status"], second["id"]) == ("completed", f"run_{first['session_id']}_2")
        body: dict[str, Any] = await create_of(stack.model, second["id"])
        assert texts(body["input"]) == [("user", "[script:s] two")]
        assert "previous_response_id" not in body
