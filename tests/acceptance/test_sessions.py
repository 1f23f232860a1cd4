"""Sessions: one active run at a time, and the next one goes on where the last good one ended."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable

import pytest

from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Table
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target


@pytest.mark.main
@pytest.mark.http_only
async def test_of_many_at_once_one_is_taken_and_the_others_are_told_which(driver: str, target: Target) -> None:
    story = await target.lasting()
    first = await target.api.submit(story)
    session = first["session_id"]
    busy = await target.api.submit("And another.", session_id=session)
    assert (busy.status, busy["code"]) == (409, "session_busy")
    assert (busy["session_id"], busy["active_run"]) == (session, first["id"])
    assert (await target.api.cancel(first["id"]))["status"] == "cancelled"
    replies = await asyncio.gather(*(target.api.submit(f"{story} {i}", session_id=session) for i in range(8)))
    assert Counter(reply.status for reply in replies) == {202: 1, 409: 7}
    (taken,) = (reply["id"] for reply in replies if reply.status == 202)
    assert taken == f"run_{session}_2"
    assert {reply["code"] for reply in replies if reply.status == 409} == {"session_busy"}
    assert {reply["active_run"] for reply in replies if reply.status == 409} == {taken}
    await target.api.cancel(taken)


@pytest.mark.main
@pytest.mark.http_only
async def test_of_two_keys_at_once_one_wins_and_the_other_stays_free(driver: str, target: Target) -> None:
    story = await target.lasting()
    first = await target.api.submit(story)
    session = first["session_id"]
    await target.api.cancel(first["id"])
    keys = [secrets.token_hex(8) for _ in range(2)]
    replies = await asyncio.gather(*(target.api.submit(f"{story} {k}", session_id=session, key=k) for k in keys))
    assert sorted(reply.status for reply in replies) == [202, 409]
    winner, loser = sorted(zip(replies, keys, strict=True), key=lambda pair: pair[0].status)
    assert loser[0]["active_run"] == winner[0]["id"]
    again = await target.api.submit(f"{story} {winner[1]}", session_id=session, key=winner[1])
    assert again["id"] == winner[0]["id"]
    await target.api.cancel(winner[0]["id"])
    later = await target.api.submit("With another payload.", session_id=session, key=loser[1])
    assert later.status == 202
    assert later["id"] == f"run_{session}_3"
    await target.api.cancel(later["id"])


@pytest.mark.main
async def test_a_409_leaves_no_row_behind(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack("timer")
    await stack.model.script("s", [{"text": "done"}])
    await stack.model.script("stuck", [{"stuck": True}])
    async with Api(stack.host().url) as api:
        first = await api.finished(await api.start("[script:s]", agent="workshop"))
        session = first["session_id"]
        replies = await asyncio.gather(
            *(api.submit("[script:stuck]", session_id=session, key=f"k{i}" if i % 2 else None) for i in range(12))
        )
        assert Counter(reply.status for reply in replies) == {202: 1, 409: 11}
        (taken,) = (reply["id"] for reply in replies if reply.status == 202)
        tables = AzureTables.from_connection_string(stack.azurite.connection_string, stack.prefix)
        index = [row async for row in tables.query(Table.INDEX, None)]
        watch = [row.key async for row in tables.query(Table.DUE, None)]
        await tables.close()
        listed = [row.key.split(":")[1] for row in index if row.partition.startswith("owner:")]
        assert sorted(listed) == sorted([first["id"], taken])
        assert set(watch) <= {first["id"], taken}
        assert sum(row.partition.startswith("key:") for row in index) <= 1
        await api.cancel(taken)


@pytest.mark.main
async def test_the_next_run_continues_from_the_last_one_that_completed(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "one"}])
    await target.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}}])
    first = await target.api.finished(await target.api.start("[script:s]", agent="workshop"))
    session = first["session_id"]
    bad = await target.api.finished(await target.api.start("[script:bad]", session_id=session))
    assert (bad["status"], bad["error"]["code"]) == ("failed", "invalid_prompt")
    third = await target.api.finished(await target.api.start("[script:s] more", session_id=session))
    assert (third["status"], third["agent"]) == ("completed", "workshop")
    (made,) = [each for each in await target.model.responses() if each.metadata.get("run") == first["id"]]
    (create,) = await target.model.creates(run=third["id"])
    assert create.body["previous_response_id"] == made.id


@pytest.mark.main
async def test_a_session_belongs_to_its_agent(driver: str, target: Target) -> None:
    first = await target.api.submit("[script:none]", agent="workshop")
    await target.api.cancel(first["id"])
    reply = await target.api.submit("x", session_id=first["session_id"], agent="novelist")
    assert (reply.status, reply["code"]) == (409, "agent_mismatch")
