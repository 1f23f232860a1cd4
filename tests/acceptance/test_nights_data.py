"""Nights in which the rows have to be brought back, or elsewhere: what the page says is typed, and the runs go on."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from azure.data.tables.aio import TableServiceClient

from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.acceptance.launch import AHEAD_VARIABLE
from tests.acceptance.nights import FUNCTION_KEY, NewStack, a_stack, night, started
from tests.acceptance.test_crashes import MINUTE, calls, creates_by_turn
from tests.parts.waiting import eventually

ACCOUNT = "--account <storage account>"
"""Left out here: the storage is the one that `AzureWebJobsStorage` names."""

NAME = "WEBSITE_SITE_NAME"
"""How the platform calls an app; the provider's copies have that name."""


async def lose_tables(stack: Stack) -> None:
    """Somebody deletes them."""
    async with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        names = [table.name async for table in service.list_tables() if table.name.startswith(stack.prefix)]
        assert f"{stack.prefix}runs" in names
        for name in names:
            await service.delete_table(name)


async def test_the_tables_come_back_from_a_backup(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack, **{NAME: "the-app"})
    asks, says = calls(("work", {"label": "a"}))
    await stack.model.script("slow", [{**asks, "stuck": True}, says])
    prefix = f"t{secrets.token_hex(6)}"
    heading = "Restore the tables from a backup"
    places = {"new prefix": prefix, "folder": str(tmp_path / "kept")}
    async with Api(host.url, FUNCTION_KEY) as api, night(heading, stack, host, tmp_path, **places) as person:
        person.instead = {ACCOUNT: ""}
        run_id = await api.start("[script:slow]", agent="workshop")
        await eventually(lambda: stack.model.responses())
        (said,) = await person.types()
        assert "rows of runs" in said
        await lose_tables(stack)
        for response in await stack.model.responses():
            await stack.model.finish(response.id)
        host.env[AHEAD_VARIABLE] = str(MINUTE)
        await person.types()
        run = await api.finished(run_id)
    assert (run["status"], "worked on a" in run["text"]) == ("completed", True)
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}
    assert host.env["DORMOUSE_TABLE_PREFIX"] == prefix


async def test_the_app_moves_to_another_region(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    old = await started(stack, **{NAME: "the-app"})
    asks, says = calls(("work", {"label": "a"}))
    await stack.model.script("slow", [{**asks, "stuck": True}, says])
    prefix = f"t{secrets.token_hex(6)}"
    new = await started(stack, **{NAME: "new-app", "DORMOUSE_TABLE_PREFIX": prefix})
    await asyncio.to_thread(new.stop)
    new.env[AHEAD_VARIABLE] = str(MINUTE)
    places = {
        "new environment": "moved",
        "new group": "new-group",
        "new app": "new-app",
        "region": "northeurope",
        "folder": str(tmp_path / "kept"),
    }
    heading = "Move to another region"
    async with (
        Api(old.url, FUNCTION_KEY) as before,
        Api(new.url, FUNCTION_KEY) as after,
        night(heading, stack, old, tmp_path, other=new, **places) as person,
    ):
        person.cloud.made = "new-app"
        person.instead = {ACCOUNT: "", "--account <new storage account>": f"--prefix {prefix}"}
        run_id = await before.start("[script:slow]", agent="workshop")
        await eventually(lambda: stack.model.responses())
        await person.types()
        assert not old.alive
        for response in await stack.model.responses():
            await stack.model.finish(response.id)
        await person.types()
        early = await after.start("Hello.", agent="workshop")
        await after.finished(early)
        await person.types()
        run = await after.finished(run_id)
        assert (await after.run(early))["status"] == "completed"
    assert (run["status"], "worked on a" in run["text"]) == ("completed", True)
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}
    assert new.env["DORMOUSE_APP_NAME"] == "the-app"
