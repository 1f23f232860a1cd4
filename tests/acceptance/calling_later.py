"""What callers leave behind, and what becomes of it hours, days and weeks later: see ``calling``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from datetime import UTC, datetime

from shared.runs.model.ids import due_row_of
from shared.runs.store.index import IndexStore, KeyRecord, key_digest
from shared.runs.store.tables import Change, Conflict, Kind, Table
from tests.acceptance.calling import Caller

MORE_THAN_A_PAGE = 201


async def an_old_session(caller: Caller) -> None:
    """A session that nobody uses any more."""
    await caller.over(await caller.start("done"))


async def a_key_too_late(caller: Caller) -> None:
    """A key that is used again and again, and once more when nobody knows it any more."""
    first = await caller.start("done")
    for _ in range(40):
        if await caller.start("done") != first:
            break
        await asyncio.sleep(0.3)


async def a_forgotten_session(caller: Caller) -> None:
    """A deleted session whose due row is lost."""
    run = await caller.over(await caller.start("done"))
    session_id = str(run["session_id"])
    await caller.send("DELETE", f"/api/sessions/{session_id}")
    while (row := await caller.tables.get(Table.DUE, session_id[-1], due_row_of(session_id))) is not None:
        with contextlib.suppress(Conflict):
            change = Change(kind=Kind.DELETE, key=row.key, etag=row.etag)
            await caller.tables.commit(Table.DUE, session_id[-1], [change])


async def many_old_keys(caller: Caller) -> None:
    """More keys than retention handles at once, once their time is over."""
    index = IndexStore(caller.tables)

    async def claim(number: int) -> None:
        digest, session_id = key_digest(caller.name, f"{number}"), secrets.token_hex(16)
        now = datetime.now(UTC)
        await index.claim_key(KeyRecord(digest=digest, payload="", session_id=session_id, number=1, created_at=now))

    await asyncio.gather(*(claim(number) for number in range(MORE_THAN_A_PAGE)))
