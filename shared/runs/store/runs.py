"""Runs, sessions, tool calls and conversation items in the `runs` table: one partition a session.

What belongs together is one transaction under the ETags that were read; a call that lost the race gets ``Conflict``.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from shared.agentkit.agent import Item
from shared.runs.concurrency import side_by_side
from shared.runs.model.calls import ToolCall
from shared.runs.model.deliveries import Delivery
from shared.runs.model.ids import parse_run_id, run_id
from shared.runs.model.run import Run, RunHead, Text
from shared.runs.model.session import Session
from shared.runs.store import parts
from shared.runs.store.keys import call_key, delivery_key, item_key, of_run, run_key
from shared.runs.store.rows import changes, check_schema, decode, encode, encode_new
from shared.runs.store.tables import MAX_OPERATIONS, Change, Conflict, Kind, Row, Table, Tables
from shared.runs.store.unreadable import RowTooNew, RowUnreadable

if TYPE_CHECKING:
    from shared.runs.store.index import Listing

log = logging.getLogger("dormouse")

T = TypeVar("T")

SESSION_KEY = "session"

ITEMS_A_PAGE = 16
"""Rows of items that are read together: each may hold 24,000 units of text, and a page is decoded in one go."""

READS = 8
"""Runs of a session that are read side by side."""

# The service would take more. But the client writes a transaction's body in one go, and blocks the event loop for it.
TOGETHER = 25
"""Runs of a session that are deleted in one transaction; the first of them in the one that deletes the session."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """A record as it was read, and the ETag under which it may be changed."""

    value: T
    etag: str

    listing: Listing | None = field(default=None, compare=False)
    """Of a run or batch: its row in its owner's list, where this call has written or read it."""

    asked: tuple[Stored[ToolCall], ...] = field(default=(), compare=False, repr=False)
    """Of a run: the calls of its turn, where this write brought them. Who changes one changes the run's row as well."""

    appended: str | None = field(default=None, compare=False, repr=False)
    """Of a run: what this write appended last, as its row has it, unless that is long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """The session beside a run's change: as it was read (None: it is new) and as it is to be."""

    before: Stored[Session] | None
    after: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChange:
    """One tool call's row beside a run's change: as it was read (None: it is new) and as it is to be."""

    before: Stored[ToolCall] | None
    after: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryChange:
    """One row of the delivery log beside a run's change: as it was read (None: it is new) and as it is to be.

    ``oldest`` is deleted in the same transaction.
    """

    before: Stored[Delivery] | None
    after: Delivery
    oldest: Stored[Delivery] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a transaction left behind: the run and the other rows it touched, with their new ETags."""

    run: Stored[Run]
    calls: tuple[Stored[ToolCall], ...] = ()
    delivery: Stored[Delivery] | None = None


class RunStore:
    """Reads and writes runs. Every method may raise ``StoreUnavailable``, reads of records ``RowUnreadable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._is_format_known = False

    async def check_format(self) -> None:
        """Raises ``RowTooOld`` when the table's first row is of an earlier format. Reads until it has found none."""
        if not self._is_format_known:
            page = await self._tables.page(Table.RUNS, select=["schema"], size=1)
            with contextlib.suppress(RowTooNew):  # after a rollback: the newer rows are left alone
                for row in page.rows:
                    check_schema(row.values)
            self._is_format_known = True  # once a process: no later request pays for the read

    async def load(self, run_id: str) -> Stored[Run] | None:
        """The run; None when there is none, or the id is none."""
        parsed = parse_run_id(run_id)
        if parsed is None:
            return None
        session_id, number = parsed
        row = await self._tables.get(Table.RUNS, session_id, f"run:{number:08}")
        return None if row is None else _stored(Run, row)

    async def load_visible(self, wanted: str) -> Stored[Run] | None:
        """The run, unless it or its session is deleted."""
        stored = await self.load(wanted)
        if stored is None or stored.value.is_deleted:
            return None
        request = stored.value.request
        # Runs beyond the first are deleted after their session, unless active: these cost a second read.
        if stored.value.terminal and request.number > TOGETHER:
            session = await self.load_session(request.session_id)
            if session is None or session.value.deleted_at is not None:
                return None
        return stored

    async def load_session(self, session_id: str) -> Stored[Session] | None:
        """The session; None when there is none."""
        row = await self._tables.get(Table.RUNS, session_id, SESSION_KEY)
        return None if row is None else _stored(Session, row)

    async def create(self, run: Run, session: SessionChange, given: Text, *calls: ToolCall) -> Stored[Run]:
        """Write a new run, its input as item 0, any calls, and its session, in one transaction. Raises ``Conflict``."""
        if session.before is None:
            beside = Change(kind=Kind.INSERT, key=SESSION_KEY, values=encode(session.after))
        else:
            beside = _merge(SESSION_KEY, session.before, session.after)
        # Item 0 is written with the run: one without its input could never be sent.
        run, key = replace(run, chain=replace(run.chain, items=1)), run_key(run)
        inserted = Change(kind=Kind.INSERT, key=key, values=encode_new(run))
        rows = [Change(kind=Kind.INSERT, key=call_key(call), values=encode_new(call)) for call in calls]
        etags = await self._tables.commit(
            Table.RUNS, run.request.session_id, [beside, inserted, _item(run.request.number, 0, given), *rows]
        )
        return Stored(run, etags[key])

    async def save(
        self,
        before: Stored[Run],
        after: Run,
        *,
        session: SessionChange | None = None,
        calls: Sequence[CallChange] = (),
        items: Sequence[Text] = (),
        delivery: DeliveryChange | None = None,
    ) -> Saved:
        """Merge what changed in the run, with its session, calls, log and new items, in one transaction.

        A run that alone changes is one plain merge. Raises ``Conflict`` when any of them is not as it was read.
        """
        # Counted in the run's row, whose ETag is checked: two writers cannot append at the same place.
        first = before.value.chain.items
        after = replace(after, chain=replace(after.chain, items=first + len(items)))
        key, request = run_key(after), after.request
        batch = [_merge(key, before, after)]
        if session is not None and session.before is not None:
            batch.append(_merge(SESSION_KEY, session.before, session.after))
        for call in calls:
            if call.before is None:
                batch.append(Change(kind=Kind.INSERT, key=call_key(call.after), values=encode_new(call.after)))
            else:
                batch.append(_merge(call_key(call.after), call.before, call.after))
        batch += [_item(request.number, first + i, item) for i, item in enumerate(items)]
        batch += _of_the_log(delivery)
        etags = await self._tables.commit(Table.RUNS, request.session_id, batch)
        return Saved(
            run=Stored(after, etags[key]),
            calls=tuple(Stored(call.after, etags[call_key(call.after)]) for call in calls),
            delivery=None if delivery is None else Stored(delivery.after, etags[delivery_key(delivery.after)]),
        )

    async def save_session(self, session: SessionChange, runs: Sequence[tuple[Stored[Run], Run]] = ()) -> None:
        """Merge a session, under its ETag, with up to ``TOGETHER`` + 1 of its runs: as read, and as they are to be.

        Raises ``Conflict``.
        """
        if session.before is None:
            raise ValueError("a session is created with its first run")
        changed = [_merge(SESSION_KEY, session.before, session.after)]
        changed += [_merge(run_key(after), before, after) for before, after in runs]
        await self._tables.commit(Table.RUNS, session.after.session_id, changed)

    async def sessions_to_expire(
        self, *, idle_since: datetime, left_since: datetime, kept_since: datetime, place: str | None, size: int
    ) -> tuple[list[Session], str | None]:
        """A page of the sessions that retention must look at, and the place of the next.

        Those that nobody has used since ``idle_since``; and of the deleted ones those that have runs left and were
        not touched since ``left_since``, and those that are still here though deleted before ``kept_since``.
        """
        page = await self._tables.page(
            Table.RUNS,
            first=SESSION_KEY,
            before=SESSION_KEY + "~",
            any_of=[
                [("deleted_at", "eq", ""), ("last_activity", "lt", idle_since.isoformat())],
                [("deleted_at", "gt", ""), ("emptied", "eq", False), ("last_activity", "lt", left_since.isoformat())],
                [("deleted_at", "gt", ""), ("last_activity", "lt", kept_since.isoformat())],
            ],
            place=place,
            size=size,
        )
        return [session for row in page.rows if (session := _session(row)) is not None], page.place

    async def has_runs(self, session_id: str) -> bool:
        """Whether rows of runs are left, tombstones too."""
        rows = self._tables.query(Table.RUNS, session_id, first="run:", before="run:~", select=["schema"], limit=1)
        return any([row async for row in rows])

    async def runs_of(self, session_id: str, numbers: Iterable[int]) -> list[Run]:
        """Those of these runs that are there and not deleted, in the order of the numbers: all are held at once."""
        ids = [run_id(session_id, number) for number in numbers]
        found = await side_by_side(ids, self.load, at_once=READS)
        return [stored.value for stored in found if stored is not None and not stored.value.is_deleted]

    async def delete_rows(self, run: Run) -> None:
        """Delete all rows of a run but its own: calls, items, parts, deliveries."""
        session_id, number = run.request.session_id, run.request.number
        for kind in ("delivery", "item", "part", "tool"):
            rows = self._tables.query(Table.RUNS, session_id, **of_run(kind, number), select=["PartitionKey"])
            gone = [Change(kind=Kind.DELETE, key=row.key, etag=row.etag) async for row in rows]
            for start in range(0, len(gone), MAX_OPERATIONS):
                await self._tables.commit(Table.RUNS, session_id, gone[start : start + MAX_OPERATIONS])

    async def delete_run(self, stored: Stored[Run]) -> None:
        """Delete a run's own row. Raises ``Conflict``."""
        change = Change(kind=Kind.DELETE, key=run_key(stored.value), etag=stored.etag)
        await self._tables.commit(Table.RUNS, stored.value.request.session_id, [change])

    async def delete_session_row(self, stored: Stored[Session]) -> None:
        """Delete a session's row. Raises ``Conflict``."""
        change = Change(kind=Kind.DELETE, key=SESSION_KEY, etag=stored.etag)
        await self._tables.commit(Table.RUNS, stored.value.session_id, [change])

    async def calls(self, run: Run, turn: int | None = None, *, since: int = 1) -> list[Stored[ToolCall]]:
        """The tool calls of the run, or of one of its turns, in order; ``since``: of that turn and those after it."""
        bounds = of_run("tool", run.request.number, "" if turn is None else f"{turn:04}:")
        if turn is None:
            bounds["first"] += f"{since:04}:"
        rows = self._tables.query(Table.RUNS, run.request.session_id, **bounds)
        return [_stored(ToolCall, row) async for row in rows]

    async def save_call(self, before: Stored[ToolCall], after: ToolCall) -> Stored[ToolCall]:
        """Merge one tool call's row under its ETag. Raises ``Conflict``."""
        # Whoever takes the lease over rewrites the rows of all unfinished calls: the former owner gets 412 here.
        key = call_key(after)
        etags = await self._tables.commit(Table.RUNS, after.session_id, [_merge(key, before, after)])
        return Stored(after, etags[key])

    async def deliveries(self, run: Run) -> list[Stored[Delivery]]:
        """The log of the run's callbacks, oldest first."""
        rows = self._tables.query(Table.RUNS, run.request.session_id, **of_run("delivery", run.request.number))
        return [_stored(Delivery, row) async for row in rows]

    async def delivery(self, run: Run, index: int) -> Stored[Delivery] | None:
        """One row of that log; None when it is not there, or no more."""
        key = f"delivery:{run.request.number:08}:{index:06}"
        row = await self._tables.get(Table.RUNS, run.request.session_id, key)
        return None if row is None else _stored(Delivery, row)

    async def items(self, run: Run) -> list[Item]:
        """The run's committed conversation items, in order, long values read back."""
        return [item async for appended in self.each_appended(run) for item in appended]

    async def each_appended(self, run: RunHead) -> AsyncIterator[list[Item]]:
        """The same as they were appended: the input, then what each response and each of our answers held."""
        # Row by row: how much they hold together has no limit.
        session_id, number, items = run.request.session_id, run.request.number, run.chain.items
        for start in range(0, items, ITEMS_A_PAGE):
            end = item_key(number, min(start + ITEMS_A_PAGE, items))
            rows = self._tables.query(Table.RUNS, session_id, first=item_key(number, start), before=end)
            async for row in rows:
                yield await self._appended(run, row)

    async def last_items(self, run: Run) -> list[Item]:
        """The items that were appended last: the input, or the outputs of the last turn's tools."""
        return await self.items_at(run, run.chain.items - 1)

    async def given_items(self, run: Run) -> list[Item]:
        """The run's input."""
        return await self.items_at(run, 0)

    async def items_at(self, run: Run, index: int) -> list[Item]:
        """What was appended at that place. Raises ``LookupError`` when it is not there."""
        row = await self._tables.get(Table.RUNS, run.request.session_id, item_key(run.request.number, index))
        if row is None:
            raise LookupError(f"{run.id} has no item {index}")
        return await self._appended(run, row)

    async def _appended(self, run: RunHead, row: Row) -> list[Item]:
        items: list[Item] = json.loads(await self.load_text(run, decode(_ItemRow, row.values).data))
        return items

    async def store_text(self, run: Run, text: str, *, inline: int = parts.INLINE_UNITS) -> Text:
        """The text as a row of this run can hold it; a long one is written to parts first."""
        return await parts.store_text(self._tables, run.request.session_id, run.request.number, text, inline=inline)

    async def load_text(self, run: RunHead, value: Text) -> str:
        """The text that a row of this run holds or refers to."""
        return await parts.load_text(self._tables, run.request.session_id, run.request.number, value)

    async def parts(self, run_id: str) -> list[Row]:
        """The part rows of a run, without their bytes."""
        parsed = parse_run_id(run_id)
        if parsed is None:
            return []
        session_id, number = parsed
        rows = self._tables.query(Table.RUNS, session_id, **of_run("part", number), select=["PartitionKey"])
        return [row async for row in rows]

    async def remove_part(self, part: Row) -> None:
        """Delete a part, unless it was written anew."""
        gone = Change(kind=Kind.DELETE, key=part.key, etag=part.etag)
        with contextlib.suppress(Conflict):  # a row that is about to be written refers to it
            await self._tables.commit(Table.RUNS, part.partition, [gone])


@dataclass(frozen=True, slots=True, kw_only=True)
class _ItemRow:
    """Items that were appended together, as a JSON array."""

    data: Text


def _session(row: Row) -> Session | None:
    try:
        return decode(Session, row.values)
    except RowUnreadable as error:  # one bad row must not stop the retention of all others
        log.error("session %s cannot be read: %s", row.partition, error)
        return None


def _stored(kind: type[T], row: Row) -> Stored[T]:
    return Stored(decode(kind, row.values), row.etag)


def _merge(key: str, before: Stored[T], after: T) -> Change:
    return Change(kind=Kind.MERGE, key=key, values=changes(before.value, after), etag=before.etag)


def _item(number: int, index: int, data: Text) -> Change:
    return Change(kind=Kind.INSERT, key=item_key(number, index), values=encode_new(_ItemRow(data=data)))


def _of_the_log(delivery: DeliveryChange | None) -> list[Change]:
    if delivery is None:
        return []
    key = delivery_key(delivery.after)
    if delivery.before is not None:
        return [_merge(key, delivery.before, delivery.after)]
    changes = [Change(kind=Kind.INSERT, key=key, values=encode(delivery.after))]
    if delivery.oldest is not None:
        changes.append(Change(kind=Kind.DELETE, key=delivery_key(delivery.oldest.value), etag=delivery.oldest.etag))
    return changes
