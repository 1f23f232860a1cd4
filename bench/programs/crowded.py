"""The app's own parts where another owner may have very many runs: the lists, submits and sweeps of one who has few."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from bench.programs.dormouse import Dormouse
from bench.programs.loop import serve
from shared.agentkit.agent import ContinuationToken
from shared.api.native import runs
from shared.runs.model.phases import Ended, Pending, RunStatus
from shared.runs.model.run import Chain, Limits, Request, Result, Run, Schedule
from shared.runs.model.session import Session
from shared.runs.store.due import DueStore
from shared.runs.store.index import UNLISTED, IndexStore
from shared.runs.store.runs import RunStore, SessionChange
from shared.runs.store.tables import Change, Table, Tables

CROWD = "crowd"
"""The owner of very many runs."""

OF_A_SESSION = 10
"""Runs, the last of which sleeps."""

MOST_CHANGES = 100
AT_ONCE = 4


class Gathered:
    """Takes the inserts of the stores, and writes those of a partition together. As much of ``Tables`` as they need."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._changes: dict[tuple[Table, str], dict[str, Change]] = {}

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Keep them for later; of a row the last."""
        self._changes.setdefault((table, partition), {}).update({change.key: change for change in changes})
        return {change.key: "later" for change in changes}

    async def write(self) -> int:
        """Write them all; the number of rows."""
        pieces = []
        for (table, partition), changes in self._changes.items():
            rows = list(changes.values())
            pieces += [(table, partition, rows[at : at + MOST_CHANGES]) for at in range(0, len(rows), MOST_CHANGES)]
        waiting = iter(pieces)

        async def some() -> None:
            for table, partition, changes in waiting:
                await self._tables.commit(table, partition, changes)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        self._changes.clear()
        return sum(len(rows) for _, _, rows in pieces)


class Crowded(Dormouse):
    """One process of the app, with an owner of few runs, and perhaps another of very many."""

    async def crowd(self, count: int) -> int:
        """Write so many runs of another owner, the last of each session asleep for a day; the rows that it took."""
        gathered = Gathered(self.app.ports.runs._tables)
        stores = RunStore(gathered), IndexStore(gathered), DueStore(gathered)  # type: ignore[arg-type]
        for _ in range(0, count, OF_A_SESSION):
            session_id = secrets.token_hex(16)
            for number in range(1, OF_A_SESSION + 1):
                await self._put(stores, session_id, number, sleeps=number == OF_A_SESSION)
        return await gathered.write()

    async def _put(
        self, stores: tuple[RunStore, IndexStore, DueStore], session_id: str, number: int, *, sleeps: bool
    ) -> None:
        now = self.clock.now
        request = Request(
            session_id=session_id,
            number=number,
            agent="novelist",
            owner=CROWD,
            fingerprint=secrets.token_hex(8),
            created_at=now,
            limits=Limits(turns=20, tool_calls=100),
            preview="A story about Mars.",
        )
        response_id = f"resp_{secrets.token_hex(16)}"
        chain = Chain(response_ids=(response_id,), last_response_id=response_id, items=1)
        run = Run(request=request, schedule=Schedule(deadline_at=now + timedelta(days=7)), updated_at=now, chain=chain)
        if sleeps:
            token = ContinuationToken(response_id=response_id)
            run = replace(run, phase=Pending(token=token, next_look=now + timedelta(days=1)))
        else:
            run = replace(
                run, phase=Ended(status=RunStatus.COMPLETED, completed_at=now), result=Result(text="A story.")
            )
        session = Session(
            session_id=session_id,
            agent="novelist",
            owner=CROWD,
            created_at=now,
            last_activity=now,
            response_id=response_id,
            active_run=number if sleeps else None,
            next_number=number + 1,
        )
        of_runs, index, due = stores
        await of_runs.create(run, SessionChange(before=None, after=session), "A story about Mars.")
        await index.show(run, UNLISTED)
        if sleeps:
            await due.put(run.id, now + timedelta(days=1), now, listed=index.list_row_of(run))

    async def crowd_size(self, count: int) -> int:
        """How many runs the list of that owner has, up to the count, page by page."""
        found, cursor = 0, None
        while found < count:
            page, cursor = await self.app.ports.index.runs(CROWD, cursor, 100, statuses=(), agent=None)
            found += len(page)
            if cursor is None:
                break
        return found

    async def list_page(self, count: int) -> int:
        """Ask so often for the first page of the list of the one with few runs; its length."""
        length = 0
        for _ in range(count):
            answer = await self.call(runs.list_runs)
            listed = json.loads(bytes(answer.body))["data"]
            assert {each["id"] for each in listed} <= set(self.runs), "somebody else's run"
            length = len(listed)
        return length


if __name__ == "__main__":
    asyncio.run(serve(Crowded()))
