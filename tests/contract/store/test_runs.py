"""Runs, sessions, calls and items, in memory and on Azurite alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.agentkit.agent import ContinuationToken, Usage
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.deliveries import Delivery, DeliveryState
from shared.runs.model.outbox import Entry, EntryKind
from shared.runs.model.phases import (
    Claim,
    Creating,
    Lease,
    Pending,
    Phase,
    RunningTools,
    RunStatus,
    WaitingForAnswers,
)
from shared.runs.model.run import Limits, PartRef, Run
from shared.runs.model.session import Session
from shared.runs.store.runs import CallChange, DeliveryChange, RunStore, SessionChange, Stored
from shared.runs.store.tables import Change, Conflict, Kind, Table, Tables
from shared.runs.store.unreadable import RowTooOld, RowUnreadable
from tests.contract.store.records import COMPLETED, NOW, changed, new_run, session_of


@pytest.fixture
def store(tables: Tables) -> RunStore:
    return RunStore(tables)


async def create(store: RunStore, run: Run | None = None, given: str = "[]") -> Stored[Run]:
    run = run or new_run()
    return await store.create(run, SessionChange(before=None, after=session_of(run)), given)


async def test_a_run_comes_back_as_it_was_written(store: RunStore) -> None:
    written = await create(
        store,
        new_run(
            phase=Pending(token=ContinuationToken(response_id="resp_1"), nonce="n", next_look=NOW, no_news=2),
            metadata={"k": "\U0001f42d\n", "": ""},
            response_ids=("resp_1", "resp_2"),
            limits=Limits(turns=2, tool_calls=3, total_tokens=10**12),
            usage=Usage(input_tokens=2**40),
            retry_after=2.0,
            entries=(Entry(kind=EntryKind.DELETE, subject="resp_1", due=NOW, since=NOW, tries=2),),
            error_code="",
        ),
    )
    read = await store.load(written.value.id)
    assert read is not None
    assert read.etag == written.etag
    assert read.value == written.value
    assert read.value.status is RunStatus.IN_PROGRESS


@pytest.mark.parametrize(
    "phase",
    [
        Creating(nonce="n", claim=Claim(until=NOW, unknown_at=NOW + timedelta(seconds=30), owner="o"), not_accepted=2),
        RunningTools(),
        RunningTools(lease=Lease(owner="o", until=NOW, beside_others=True)),
        WaitingForAnswers(answer_by=NOW, seconds_left=None),
        WaitingForAnswers(answer_by=NOW, seconds_left=0.25),
        COMPLETED,
        replace(COMPLETED, deleted_at=NOW),
    ],
    ids=lambda phase: type(phase).__name__,
)
async def test_every_phase_comes_back_as_it_was_written_and_leaves_nothing_to_the_next(
    store: RunStore, phase: Phase
) -> None:
    for run in (new_run(phase=phase), new_run()):
        written = await create(store, run)
        assert await store.load(run.id) == written
        saved = await store.save(written, replace(written.value, phase=phase))
        assert await store.load(run.id) == saved.run
        back = await store.save(saved.run, replace(saved.run.value, phase=Creating()))
        assert await store.load(run.id) == back.run


async def test_what_was_never_written_is_none(store: RunStore) -> None:
    assert await store.load(new_run().id) is None
    assert await store.load_session("0" * 32) is None
    for no_id in ("", "run", "run_x_1", f"run_{'0' * 32}_0", f"run_{'0' * 32}_01", f"run_{'A' * 32}_1", "a/b\n"):
        assert await store.load(no_id) is None


async def test_a_session_and_a_number_are_taken_once(store: RunStore) -> None:
    first = await create(store)
    with pytest.raises(Conflict):
        await create(store, new_run(first.value.request.session_id))
    session = await store.load_session(first.value.request.session_id)
    assert session is not None
    stale = replace(session, etag=session.etag)
    second = new_run(first.value.request.session_id, number=2)
    await store.create(second, SessionChange(before=session, after=session_of(second)), "[]")
    third = new_run(first.value.request.session_id, number=2)
    with pytest.raises(Conflict):
        await store.create(third, SessionChange(before=stale, after=session_of(third)), "[]")
    read = await store.load(second.id)
    assert read is not None
    assert read.value.request.fingerprint == second.request.fingerprint


async def test_a_save_is_all_or_nothing(store: RunStore) -> None:
    run = await create(store)
    session = await store.load_session(run.value.request.session_id)
    assert session is not None
    call = ToolCall(
        session_id=run.value.request.session_id, number=1, turn=1, index=0, call_id="c", name="n", arguments="{}"
    )
    saved = await store.save(
        run,
        replace(run.value, phase=RunningTools()),
        session=SessionChange(before=session, after=replace(session.value, response_id="r")),
        calls=[CallChange(before=None, after=call)],
        items=['["x"]'],
    )
    assert saved.run.value.chain.items == 2
    with pytest.raises(Conflict):
        await store.save(run, replace(run.value, phase=COMPLETED), items=["[]"])
    stale = Stored(call, "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\"")
    with pytest.raises(Conflict):
        await store.save(
            saved.run,
            replace(saved.run.value, phase=Creating()),
            calls=[CallChange(before=stale, after=replace(call, state=CallState.FINISHED))],
        )
    read = await store.load(run.value.id)
    assert read == saved.run
    assert [each.value for each in await store.calls(run.value)] == [call]
    done = await store.save_call(saved.calls[0], replace(call, state=CallState.FINISHED))
    with pytest.raises(Conflict):
        await store.save_call(saved.calls[0], call)
    assert (await store.calls(run.value, turn=1))[0] == done
    assert await store.calls(run.value, turn=2) == []
    assert await store.calls(run.value, since=1) == [done]
    assert await store.calls(run.value, since=2) == []


@pytest.mark.parametrize("text", ["", "x" * 24_001, "\U0001f42d" * 12_001, "é\0\n" * 700_000, "a\ud800b" * 9_000])
async def test_a_long_value_lies_in_parts(store: RunStore, text: str) -> None:
    run = new_run()
    kept = await store.store_text(run, text)
    assert isinstance(kept, PartRef) == (len(text) > 12_000)
    assert await store.store_text(run, text) == kept
    assert await store.load_text(run, kept) == text.replace("\ud800", "\ufffd")


async def test_parts_that_are_not_whole_are_no_value(store: RunStore) -> None:
    run = new_run()
    kept = await store.store_text(run, "x" * 1_500_000)
    parts = await store.parts(run.id)
    assert len(parts) == 3
    assert all(part.values == {} for part in parts)
    await store.remove_part(parts[1])
    with pytest.raises(LookupError):
        await store.load_text(run, kept)


async def test_a_part_that_was_written_anew_is_not_removed(store: RunStore) -> None:
    run = new_run()
    kept = await store.store_text(run, "x" * 30_000)
    seen = await store.parts(run.id)
    await store.store_text(run, "x" * 30_000)
    for part in seen:
        await store.remove_part(part)
    assert await store.load_text(run, kept) == "x" * 30_000
    assert await store.parts("run_x") == []


async def test_items_come_back_in_order_and_only_those_that_were_committed(store: RunStore) -> None:
    run = await create(store, given='[{"i": 0}]')
    long = await store.store_text(run.value, '[{"i": 2, "text": "' + "é" * 30_000 + '"}]')
    saved = await store.save(run, run.value, items=['[{"i": 1}]', long])
    assert [item["i"] for item in await store.items(saved.run.value)] == [0, 1, 2]
    assert [item["i"] for item in await store.items(run.value)] == [0]
    assert [item["i"] for item in await store.last_items(saved.run.value)] == [2]


async def test_a_row_of_a_newer_version_is_not_guessed_at(store: RunStore, tables: Tables) -> None:
    run = await create(store)
    await tables.commit(
        Table.RUNS,
        run.value.request.session_id,
        [Change(kind=Kind.MERGE, key="run:00000001", values={"schema": 99}, etag=run.etag)],
    )
    with pytest.raises(RowUnreadable, match="newer"):
        await store.load(run.value.id)


async def test_a_session_is_saved_alone_under_its_etag(store: RunStore) -> None:
    run = await create(store)
    session = await store.load_session(run.value.request.session_id)
    assert session is not None
    gone = replace(session.value, deleted_at=NOW, active_run=None)
    await store.save_session(SessionChange(before=session, after=gone))
    with pytest.raises(Conflict):
        await store.save_session(SessionChange(before=session, after=replace(gone, response_id="late")))
    read = await store.load_session(run.value.request.session_id)
    assert read is not None
    assert read.value == gone
    with pytest.raises(ValueError, match="first run"):
        await store.save_session(SessionChange(before=None, after=gone))


@pytest.mark.slow
async def test_all_rows_of_a_run_but_its_own_are_deleted_and_no_other_run_s(store: RunStore, tables: Tables) -> None:
    first = await create(store)
    session = await store.load_session(first.value.request.session_id)
    tenth = new_run(first.value.request.session_id, number=2)
    await store.create(tenth, SessionChange(before=session, after=session_of(tenth)), "[]")
    for run in (first.value, tenth):
        await store.store_text(run, "é" * 7_000_000)  # more rows than one transaction takes
    call = ToolCall(
        session_id=first.value.request.session_id, number=1, turn=1, index=0, call_id="c", name="n", arguments="{}"
    )
    saved = await store.save(first, first.value, calls=[CallChange(before=None, after=call)], items=["[]"] * 90)
    theirs = [row.key async for row in tables.query(Table.RUNS, tenth.request.session_id) if ":00000002" in row.key]
    await store.delete_rows(saved.run.value)
    await store.delete_rows(saved.run.value)
    left = [row.key async for row in tables.query(Table.RUNS, tenth.request.session_id)]
    assert sorted(left) == sorted(["run:00000001", "session", *theirs])
    assert len(theirs) > 3


async def test_a_run_and_a_session_are_deleted_under_their_etags(store: RunStore) -> None:
    stale = await create(store)
    saved = await store.save(stale, changed(stale.value, wakes=1))
    with pytest.raises(Conflict):
        await store.delete_run(stale)
    await store.delete_run(saved.run)
    with pytest.raises(Conflict):
        await store.delete_run(saved.run)
    assert await store.load(stale.value.id) is None
    session = await store.load_session(stale.value.request.session_id)
    assert session is not None
    await store.save_session(SessionChange(before=session, after=replace(session.value, deleted_at=NOW)))
    with pytest.raises(Conflict):
        await store.delete_session_row(session)
    session = await store.load_session(stale.value.request.session_id)
    assert session is not None
    await store.delete_session_row(session)
    assert await store.load_session(stale.value.request.session_id) is None


async def test_the_log_of_deliveries_goes_with_the_run_s_row(store: RunStore) -> None:
    stale = run = await create(store)
    lines = []
    for index in range(3):
        line = Delivery(
            session_id=run.value.request.session_id,
            number=1,
            index=index,
            event="completed",
            attempt=index + 1,
            sent_at=NOW,
        )
        after = changed(run.value, deliveries=index + 1)
        saved = await store.save(run, after, delivery=DeliveryChange(before=None, after=line))
        assert saved.delivery is not None
        run = saved.run
        lines.append(saved.delivery)
    assert await store.deliveries(run.value) == lines
    assert await store.delivery(run.value, 1) == lines[1]
    assert await store.delivery(run.value, 3) is None

    told = replace(lines[2].value, state=DeliveryState.DELIVERED, http_status=204, seconds=0.25)
    change = DeliveryChange(before=lines[2], after=told)
    with pytest.raises(Conflict):
        await store.save(stale, stale.value, delivery=change)
    run = (await store.save(run, run.value, delivery=change)).run
    with pytest.raises(Conflict):
        await store.save(run, run.value, delivery=change)

    newest = replace(lines[0].value, index=3)
    change = DeliveryChange(before=None, after=newest, oldest=lines[0])
    run = (await store.save(run, run.value, delivery=change)).run
    assert [each.value for each in await store.deliveries(run.value)] == [lines[1].value, told, newest]
    await store.delete_rows(run.value)
    assert await store.deliveries(run.value) == []


async def test_sessions_that_are_idle_or_left_half_deleted_are_found(store: RunStore, tables: Tables) -> None:
    found: dict[str, str] = {}
    kinds: dict[str, dict[str, Any]] = {
        "idle": {"last_activity": NOW - timedelta(days=31)},
        "used": {"last_activity": NOW},
        "deleted": {"last_activity": NOW, "deleted_at": NOW},
        "waits for its removal": {"last_activity": NOW - timedelta(hours=9), "deleted_at": NOW, "emptied": True},
        "left": {"last_activity": NOW - timedelta(hours=9), "deleted_at": NOW},
        "forgotten": {"last_activity": NOW - timedelta(days=9), "deleted_at": NOW, "emptied": True},
        "broken": {"last_activity": NOW - timedelta(days=31)},
    }
    for name, change in kinds.items():
        run = await create(store)
        session = await store.load_session(run.value.request.session_id)
        assert session is not None
        await store.save_session(SessionChange(before=session, after=replace(session.value, **change)))
        found[run.value.request.session_id] = name
        if name == "broken":
            session = await store.load_session(run.value.request.session_id)
            assert session is not None
            damage = Change(kind=Kind.MERGE, key="session", values={"schema": 99}, etag=session.etag)
            await tables.commit(Table.RUNS, run.value.request.session_id, [damage])
    seen: list[Session] = []
    place = None
    while place is not None or not seen:
        page, place = await store.sessions_to_expire(
            idle_since=NOW - timedelta(days=30),
            left_since=NOW - timedelta(hours=1),
            kept_since=NOW - timedelta(days=2),
            place=place,
            size=2,
        )
        seen += page
    assert sorted(found[session.session_id] for session in seen) == ["forgotten", "idle", "left"], (
        "one that cannot be read stops no other"
    )


async def test_deleted_runs_are_not_shown(store: RunStore) -> None:
    first = await create(store, new_run(phase=COMPLETED))
    for number in (2, 3):
        session = await store.load_session(first.value.request.session_id)
        run = new_run(first.value.request.session_id, number=number, phase=COMPLETED)
        await store.create(run, SessionChange(before=session, after=session_of(run)), "[]")
    await store.save(first, replace(first.value, phase=replace(COMPLETED, deleted_at=NOW)))
    session = await store.load_session(first.value.request.session_id)
    assert session is not None
    assert [run.request.number for run in await store.runs_of(session.value.session_id, [3, 2, 1])] == [3, 2]


async def test_the_first_row_tells_a_table_of_an_earlier_format(tables: Tables, store: RunStore) -> None:
    run = new_run("f" * 32)
    await create(store, run)
    item = Change(kind=Kind.INSERT, key="00000001:item:000000", values={"data": "[]"})
    await tables.commit(Table.RUNS, "e" * 32, [item])
    await store.check_format()

    old = Change(kind=Kind.INSERT, key="00000001", values={"schema": 2})
    await tables.commit(Table.RUNS, "e" * 32, [old])
    await store.check_format()  # what was seen once is not looked at again
    with pytest.raises(RowTooOld, match="schema 2"):
        await RunStore(tables).check_format()
