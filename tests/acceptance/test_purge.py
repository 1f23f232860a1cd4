"""What is left of a run that was deleted: every table, queue and blob of the storage is read, whole, and searched.

By design some rows outlive a delete for a while, none of them with a text: the tombstones of run and session (48 h, so
that late writers find them), the idempotency key (24 h), the hidden row of the list until its due row goes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from azure.data.tables.aio import TableServiceClient

from local.stack import Azurite, FunctionsHost
from tests.acceptance.batches import over
from tests.acceptance.batches import submit as submit_batch
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, move_clock
from tests.acceptance.test_deletion import DAY, HOUR, delete, fire
from tests.parts.receiver import SECRET as CALLBACK_SECRET
from tests.parts.receiver import Receiver
from tests.parts.waiting import eventually

MARK = "hedgehog"
USER = "ann.the.owner"

TURNS: list[dict[str, Any]] = [
    {
        "calls": [
            {"name": "write_much", "arguments": {"label": f"{MARK}-argument", "times": 3_000}},
            {"name": "stumble", "arguments": {"label": f"{MARK}-argument"}},
        ]
    },
    {"text": f"{MARK}-text " * 4_000},
]


async def everything(azurite: Azurite, prefix: str) -> str:
    """All rows of the app's tables, messages of all queues, and names and contents of all blobs.

    Other tests have tables of their own in the same account, with the same words in them.
    """
    found: list[str] = []
    async with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        async for table in service.list_tables():
            if not table.name.startswith(prefix):
                continue
            rows = service.get_table_client(table.name).list_entities()
            found += [f"{table.name}: {_readable(dict(row))}" async for row in rows]
    for endpoint in ("QueueEndpoint", "BlobEndpoint"):
        found += await _all_of(azurite.connection_string, endpoint)
    return "\n".join(found)


def _readable(entity: dict[str, Any]) -> str:
    return " ".join(f"{k}={v.decode(errors='replace') if isinstance(v, bytes) else v}" for k, v in entity.items())


async def _all_of(connection: str, endpoint: str) -> list[str]:
    """What the queues or the blob containers hold."""
    parts = dict(part.split("=", 1) for part in connection.rstrip(";").split(";"))
    if endpoint not in parts:
        return []  # the emulator was started without that service
    found = []
    async with aiohttp.ClientSession() as session:

        async def get(path: str, **query: str) -> str:
            return await _signed(session, parts, parts[endpoint].rstrip("/") + path, query)

        for name in re.findall(r"<Name>([^<]*)</Name>", await get("", comp="list")):
            found.append(name)
            if endpoint == "QueueEndpoint":
                found.append(await get(f"/{name}/messages", peekonly="true", numofmessages="32"))
                continue
            for blob in re.findall(r"<Name>([^<]*)</Name>", await get(f"/{name}", comp="list", restype="container")):
                found += [blob, await get(f"/{name}/{blob}")]
    return found


async def _signed(session: aiohttp.ClientSession, parts: dict[str, str], url: str, query: dict[str, str]) -> str:
    """A GET by shared key. Source: *Authorize with Shared Key*, the format of Blob and Queue Storage."""
    headers = {"x-ms-date": format_datetime(datetime.now(UTC), usegmt=True), "x-ms-version": "2021-08-06"}
    resource = f"/{parts['AccountName']}{urlsplit(url).path}"
    resource += "".join(f"\n{name}:{query[name]}" for name in sorted(query))
    text = "GET" + "\n" * 12 + "".join(f"{name}:{headers[name]}\n" for name in sorted(headers)) + resource
    digest = hmac.new(base64.b64decode(parts["AccountKey"]), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {parts['AccountName']}:{base64.b64encode(digest).decode()}"
    async with session.get(url, params=query, headers=headers) as answer:
        assert answer.status == 200, (url, await answer.text())
        return await answer.text()


async def _delete_run(api: Api, run: dict[str, Any], host: FunctionsHost) -> None:
    assert await delete(api, "runs", run["id"]) == 204


async def _delete_session(api: Api, run: dict[str, Any], host: FunctionsHost) -> None:
    assert await delete(api, "sessions", run["session_id"]) == 204


async def _delete_nothing(api: Api, run: dict[str, Any], host: FunctionsHost) -> None:
    """Retention does it."""
    await move_clock(host, 31 * DAY)
    await fire(host, "retain")


Delete = Callable[[Api, dict[str, Any], FunctionsHost], Awaitable[None]]


@pytest.mark.parametrize("remove", [_delete_run, _delete_session, _delete_nothing])
async def test_of_a_purged_run_nothing_is_left_in_any_table_queue_or_blob(
    own_stack: Callable[..., Stack], driver: str, remove: Delete
) -> None:
    async with Receiver() as receiver:
        stack = own_stack(driver, **_callbacks())
        host = await asyncio.to_thread(stack.host)
        await stack.model.script("s", TURNS)
        async with Api(host.url) as api:
            owner = {"Dormouse-On-Behalf-Of": USER}
            asked = {"input": f"[script:s] {MARK}-prompt " * 2_000, "agent": "workshop", "title": f"{MARK}-title"}
            asked |= {"metadata": {"m": f"{MARK}-metadata"}, "callback_url": f"{receiver.url}?{MARK}"}
            headers = {**owner, "Idempotency-Key": f"{MARK}-key"}
            run = (await api.call("POST", "/api/runs", json=asked, headers=headers)).body
            api._headers.update(owner)
            assert (await api.finished(run["id"]))["status"] == "completed"
            await eventually(lambda: receiver.received)
            before = await everything(stack.azurite, stack.prefix)
            for text in (MARK, USER, run["id"], run["session_id"]):
                assert text in before, f"{text}: the search would find it"
            await remove(api, run, host)

            async def no_text() -> bool:
                return MARK not in await everything(stack.azurite, stack.prefix)

            await eventually(no_text)
            # Then only tombstones and the key know of it, without a text; after two days nothing does.
            await move_clock(host, 49 * HOUR)
            if remove is _delete_run:
                assert await delete(api, "sessions", run["session_id"]) == 204
                await move_clock(host, 49 * HOUR)
            await _gone(stack, host, run["id"], run["session_id"], USER, MARK)


async def test_of_a_purged_batch_nothing_is_left(own_stack: Callable[..., Stack], driver: str) -> None:
    stack = own_stack(driver, **_callbacks())
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", TURNS)
    async with Api(host.url) as api:
        api._headers.update({"Dormouse-On-Behalf-Of": USER})
        items = [{"input": f"[script:s] {MARK}-prompt " * 2_000, "id": f"{MARK}-item"}, {"input": MARK, "agent": MARK}]
        batch = await submit_batch(api, items, key=f"{MARK}-key", metadata={"m": MARK})
        assert batch.status == 202, batch
        assert (await over(api, batch["id"]))["counts"]["completed"] == 1
        assert MARK in await everything(stack.azurite, stack.prefix)
        assert (await api.call("DELETE", f"/api/batches/{batch['id']}")).status == 204

        async def no_text() -> bool:
            await move_clock(host, 60)
            return MARK not in await everything(stack.azurite, stack.prefix)

        await eventually(no_text)
        await _gone(stack, host, batch["id"], batch["id"].removeprefix("batch_"), USER, MARK)


def _callbacks() -> dict[str, str]:
    return {
        "DORMOUSE_DELEGATION": "1",
        "DORMOUSE_CALLBACK_SECRET": CALLBACK_SECRET,
        "DORMOUSE_CALLBACK_ALLOW": "127.0.0.1",
    }


async def _gone(stack: Stack, host: FunctionsHost, *words: str) -> None:
    """Wait, while days go by, until none of these words is anywhere, nor any row of the app but its places."""

    async def gone() -> bool:
        await fire(host, "retain")
        await move_clock(host, 6 * HOUR)
        found = await everything(stack.azurite, stack.prefix)
        rows = [
            line for line in found.splitlines() if line.startswith(stack.prefix) and "PartitionKey=places" not in line
        ]
        return not rows and not any(word in found for word in words)

    await eventually(gone)
