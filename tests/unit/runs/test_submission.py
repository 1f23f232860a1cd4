"""Submit: one run a key, one active run a session, whatever crashes, races or is lost on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from shared import errors
from shared.drivers.sweep import sweep
from shared.runs.commands.submission import Submitted
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.store.due import AHEAD
from shared.runs.store.rows import decode
from shared.runs.store.tables import Change, Row, StoreUnavailable, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, interruptions

HOUR = 3_600.0
LONG = "[script:s] " + "é" * 60_000


def rows_of(rig: Rig, kind: str) -> list[Row]:
    """The rows of runs (``run``), lists (``list``), keys (``key``), what is due (``due``), or parts (``part``)."""
    match kind:
        case "due":
            return rig.tables.rows(Table.DUE)
        case "key":
            return [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("key:")]
        case "list":
            return [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("owner:")]
        case "part":
            return [row for row in rig.tables.rows(Table.RUNS) if row.key.startswith("part:")]
    return [row for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")]


def runs_of(rig: Rig) -> list[Run]:
    return [decode(Run, row.values) for row in rows_of(rig, "run")]


def committed(rig: Rig) -> set[str]:
    return {run.id for run in runs_of(rig)}


def listed(rig: Rig) -> list[str]:
    """What a list shows rightly: the runs whose own row there has the run's status."""
    runs = {(run.id, run.request.fingerprint[:16]): run.status.value for run in runs_of(rig)}
    shown = [(*row.key.split(":")[1:], row.values["status"]) for row in rows_of(rig, "list") if row.values["status"]]
    return [run for run, fingerprint, status in shown if runs.get((run, fingerprint)) == status]


def wake_at(run: Run) -> datetime:
    soonest = next_time(run)
    assert soonest is not None, run
    return soonest.due


async def next_in_session(rig: Rig) -> str:
    """A session whose first run is completed."""
    return (await rig.run_to_end()).request.session_id


@pytest.fixture
async def scripted(rig: Rig) -> Rig:
    await rig.model.script("s", [{"text": "done"}])
    return rig


# --- crashes ------------------------------------------------------------------------------------------


@interruptions
@pytest.mark.parametrize("begun", [False, True], ids=["new_session", "next_run"])
@pytest.mark.slow
async def test_a_key_sent_again_after_any_interruption_is_one_run(
    scripted: Rig, begun: bool, error: BaseException, applied: bool
) -> None:
    rig = scripted
    for step in range(1, 100):
        fields: dict[str, Any] = {"idempotency_key": f"key-{step}"}
        if begun:
            fields["session_id"] = await next_in_session(rig)
        before = committed(rig)
        with FailAt(rig, at=step, applied=applied, error=error) as trap:
            try:
                first = await rig.submit(LONG, **fields)
            except type(error):
                first = None
        again = await rig.submit(LONG, **fields)
        assert first is None or first.run.id == again.run.id
        assert committed(rig) - before == {again.run.id}
        run = await rig.finish(again.run.id)
        assert run.status is RunStatus.COMPLETED, (step, run)
        assert (await rig.submit(LONG, **fields)).run == run
        assert await rig.items(run.id) != []
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert step > 7
    assert sorted(listed(rig)) == sorted(committed(rig))
    assert len(rows_of(rig, "list")) == len(committed(rig))
    await Driver(rig).pass_time(65 * 60)  # what was announced, and not to be, goes after an hour
    assert rows_of(rig, "due") == []


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_submit_that_crashed_and_is_not_repeated_ends_by_itself(rigs: NewRig, driver: str) -> None:
    rig = await rigs(driver=driver, deadline=86_400.0)
    await rig.model.script("s", [{"text": "done"}])
    seen = Counter[str]()
    for step in range(1, 100):
        before = committed(rig)
        host = Driver(rig)
        with FailAt(rig, at=step, applied=False, error=Killed()) as trap:
            try:
                await host.start_run(await rig.submit(LONG, idempotency_key=f"key-{step}"))
            except Killed:
                seen["deaths"] += 1
        born = committed(rig) - before
        await host.pass_time(20 * 60)
        for run in born:
            seen["born"] += 1
            assert (await rig.run(run)).status is RunStatus.COMPLETED
            assert rows_of(rig, "due") == []
        await host.pass_time(45 * 60)
        assert rows_of(rig, "due") == []
        assert sorted(listed(rig)) == sorted(committed(rig))
        assert len(rows_of(rig, "list")) == len(committed(rig))
        assert {row.partition for row in rows_of(rig, "part")} == {row.partition for row in rows_of(rig, "run")}
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert seen["deaths"] > 6
    assert 0 < seen["born"] <= seen["deaths"]


async def test_what_a_repeated_request_writes_anew_is_not_cleared_away(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"text": "done"}])
    host = Driver(rig)
    for step in range(1, 100):
        key = f"key-{step}"
        with FailAt(rig, at=6, applied=False, error=Killed()), pytest.raises(Killed):
            await rig.submit(LONG, idempotency_key=key)
        rig.clock.move(2 * HOUR)
        operations = 0

        async def cut_in(_o: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
            nonlocal operations
            operations += 1
            if operations == step:  # noqa: B023
                await rig.submit(LONG, idempotency_key=key)  # noqa: B023

        rig.tables.before = cut_in
        await sweep(rig.app.ports, rig.driver(host))
        rig.tables.before = None
        if operations < step:
            break
        assert len(committed(rig)) == step
        for run in committed(rig):
            assert (await rig.finish(run)).status is RunStatus.COMPLETED
            assert (await rig.items(run))[0]["content"] == LONG
        assert sorted(listed(rig)) == sorted(committed(rig))
        await host.pass_time(60.0)
    assert step > 5


async def test_a_store_that_goes_away_after_the_commit_leaves_a_202(scripted: Rig) -> None:
    rig = scripted

    async def gone(operation: str, table: Table, _p: str | None, _c: Sequence[Change]) -> None:
        if rows_of(rig, "run"):
            rig.clock.move(20.0)  # the outage lasts longer than the claim
            raise StoreUnavailable("gone")

    rig.tables.before = gone
    submitted = await rig.submit()
    rig.tables.before = None
    assert submitted.run.status is RunStatus.QUEUED
    assert (await rig.finish(submitted.run.id)).status is RunStatus.COMPLETED


# --- keys ---------------------------------------------------------------------------------------------


async def test_the_same_key_many_times_at_once_is_one_run_and_one_create(scripted: Rig) -> None:
    all_of_them = await asyncio.gather(*(scripted.submit(idempotency_key="k") for _ in range(12)))
    assert len({each.run.id for each in all_of_them}) == 1
    assert len(committed(scripted)) == len(rows_of(scripted, "list")) == 1
    assert len(await scripted.model.creates()) == 1


async def test_another_payload_under_the_same_key_is_refused_and_writes_nothing(scripted: Rig) -> None:
    rig = scripted
    first = await rig.submit(idempotency_key="k", metadata={"a": "1", "b": "2"})
    before = [(row.key, row.etag) for table in Table for row in rig.tables.rows(table)]
    same: dict[str, Any] = {"idempotency_key": "k", "metadata": {"b": "2", "a": "1"}}
    for change in (
        {"text": "[script:s] else"},
        {"metadata": {"a": "1"}},
        {"deadline_seconds": 60.0},
        {"turns": 1},
        {"tool_calls": 1},
        {"total_tokens": 1},
        {"agent": "novelist"},
        {"stream": True},
        {"session_id": first.run.request.session_id},
    ):
        with pytest.raises(errors.IdempotencyKeyReused):
            await rig.submit(**{**same, **change})
    assert before == [(row.key, row.etag) for table in Table for row in rig.tables.rows(table)]
    assert (await rig.submit(**same)).run.id == first.run.id


async def test_a_key_is_known_for_a_day_and_then_means_a_new_run(scripted: Rig) -> None:
    first = await scripted.submit(idempotency_key="k")
    scripted.clock.move(86_400.0)
    assert (await scripted.submit(idempotency_key="k")).run.id == first.run.id
    scripted.clock.move(1.0)
    second = await scripted.submit("[script:s] another payload", idempotency_key="k")
    assert second.run.id != first.run.id
    assert (await scripted.submit("[script:s] another payload", idempotency_key="k")).run.id == second.run.id


async def test_a_key_is_its_owners(scripted: Rig) -> None:
    mine = await scripted.submit(idempotency_key="k", owner="me")
    theirs = await scripted.submit("[script:s] other", idempotency_key="k", owner="them")
    assert mine.run.id != theirs.run.id
    split = [await scripted.submit(idempotency_key=key, owner=owner) for owner, key in (("a", "b:c"), ("a:b", "c"))]
    assert split[0].run.id != split[1].run.id


async def test_a_keyed_run_is_as_old_as_its_key_and_has_its_whole_deadline(scripted: Rig) -> None:
    rig = scripted
    with FailAt(rig, at=4, applied=False, error=Killed()), pytest.raises(Killed):
        await rig.submit(idempotency_key="k", deadline_seconds=600.0)
    assert committed(rig) == set()
    began = rig.clock.now
    now = rig.clock.move(1_800.0)
    run = (await rig.submit(idempotency_key="k", deadline_seconds=600.0)).run
    assert run.request.created_at == began
    assert run.schedule.deadline_at is not None
    assert (run.schedule.deadline_at - now).total_seconds() == 600.0


async def test_a_key_answers_for_an_ended_run_without_a_write_and_whatever_the_app_now_allows(rigs: NewRig) -> None:
    rig = await rigs()
    await rig.model.script("s", [{"text": "done"}])
    fields: dict[str, Any] = {"idempotency_key": "k", "turns": 10}
    run = await rig.finish((await rig.submit(**fields)).run.id)
    before = [(row.key, row.etag) for table in Table for row in rig.tables.rows(table)]
    later = await rigs(max_turns=5)
    again = await later.submit(**fields)
    assert again == Submitted(run=run, due=None)
    assert before == [(row.key, row.etag) for table in Table for row in rig.tables.rows(table)]


# --- sessions -----------------------------------------------------------------------------------------


class Gate:
    """Holds a task before its ``at``-th operation of the store, until it is opened or the task is done."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._count = 0
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def enter(self) -> None:
        self._count += 1
        if self._count == self._at:
            self.reached.set()
            await self.opened.wait()


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "bare"])
@pytest.mark.parametrize("first", range(2, 9))
@pytest.mark.slow
async def test_two_requests_for_the_next_run_at_any_interleaving_are_one_run_and_one_409(
    rigs: NewRig, first: int, keyed: bool
) -> None:
    """One request stops before its ``first``-th operation, the other before each; the one goes on, then the other."""
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"text": "done"}])
    host = Driver(rig)
    gates: dict[asyncio.Task[Any] | None, Gate] = {}

    async def held(_o: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        if (gate := gates.get(asyncio.current_task())) is not None:
            await gate.enter()

    async def request(who: str, session: str, step: int) -> Submitted | errors.SessionBusy:
        try:
            key = f"{who}-{step}" if keyed else None
            submitted = await rig.submit(f"[script:s] {who}", session_id=session, idempotency_key=key)
        except errors.SessionBusy as busy:
            return busy
        await host.start_run(submitted)
        return submitted

    rig.tables.before = held
    for step in range(1, 100):
        session = await next_in_session(rig)
        before = committed(rig)
        tasks = []
        for who, at in (("b", first), ("a", step)):
            tasks.append(asyncio.create_task(request(who, session, step)))
            gates[tasks[-1]] = Gate(at)
            reached = asyncio.create_task(gates[tasks[-1]].reached.wait())
            await asyncio.wait([tasks[-1], reached], return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
        over = tasks[1].done()
        answers = []
        for task in tasks:
            gates[task].opened.set()
            answers.append(await task)
        gates.clear()
        (won,) = (answer for answer in answers if isinstance(answer, Submitted))
        (error,) = (answer for answer in answers if isinstance(answer, errors.SessionBusy))
        assert committed(rig) - before == {won.run.id}
        assert error.details == {"session_id": session, "active_run": won.run.id}
        assert sorted(listed(rig)) == sorted(committed(rig))
        assert len(rows_of(rig, "list")) == len(committed(rig))
        (due,) = (row for row in rows_of(rig, "due") if row.key == won.run.id)
        assert due.values["due"] == wake_at(await rig.run(won.run.id)).timestamp()
        await rig.finish(won.run.id)
        later = await request("ba"[answers.index(error)], session, step)
        assert isinstance(later, Submitted)
        assert later.run.request.number == won.run.request.number + 1
        await rig.finish(later.run.id)
        if over:
            break
    assert step > 1


async def test_of_many_requests_for_the_next_run_exactly_one_is_taken(scripted: Rig) -> None:
    rig = scripted
    session = await next_in_session(rig)
    answers = await asyncio.gather(
        *(rig.submit(f"[script:s] {i}", session_id=session) for i in range(20)), return_exceptions=True
    )
    (taken,) = (answer for answer in answers if isinstance(answer, Submitted))
    refused = [answer for answer in answers if isinstance(answer, errors.SessionBusy)]
    assert len(refused) == 19
    assert {each.details["active_run"] for each in refused} == {taken.run.id}
    assert len(rows_of(rig, "list")) == len(committed(rig)) == 2
    assert len([row for row in rows_of(rig, "due") if row.key == taken.run.id]) == 1
    await rig.finish(taken.run.id)
    assert len(await rig.model.creates()) == 2


async def test_two_requests_for_one_number_in_one_millisecond_keep_the_winner_in_the_list(scripted: Rig) -> None:
    rig = scripted
    session = await next_in_session(rig)
    loser: list[BaseException] = []

    async def cut_in(operation: str, table: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and table is Table.DUE and not loser:
            loser.append(AssertionError())
            won = await rig.submit(session_id=session)
            await rig.finish(won.run.id)

    rig.tables.after = cut_in
    with pytest.raises(errors.SessionBusy) as caught:
        await rig.submit(session_id=session)
    rig.tables.after = None
    assert caught.value.details["active_run"] is None
    assert sorted(listed(rig)) == sorted(committed(rig))
    assert len(rows_of(rig, "list")) == 2


async def test_the_next_run_goes_on_from_the_last_good_point(scripted: Rig) -> None:
    rig = scripted
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}}])
    first = await rig.run_to_end()
    second = await rig.run_to_end("[script:bad]", session_id=first.request.session_id)
    assert second.status is RunStatus.FAILED
    third = await rig.run_to_end(session_id=first.request.session_id)
    assert third.request.number == 3
    creates = await rig.model.creates(run=third.id)
    assert [each.body["previous_response_id"] for each in creates] == [first.chain.response_ids[-1]]


@pytest.mark.parametrize("session_id", ["0" * 32, "x", "0" * 31 + "G", "../" * 10, "session"])
async def test_a_session_that_is_not_there_or_is_anothers_is_404(scripted: Rig, session_id: str) -> None:
    rig = scripted
    theirs = await rig.run_to_end(owner="them")
    for wanted in (session_id, theirs.request.session_id):
        with pytest.raises(errors.SessionNotFound):
            await rig.submit(session_id=wanted, idempotency_key="k")
    assert len(committed(rig)) == 1
    assert rows_of(rig, "key") == []


async def test_a_session_keeps_its_agent(scripted: Rig) -> None:
    first = await scripted.run_to_end()
    with pytest.raises(errors.AgentMismatch):
        await scripted.submit(session_id=first.request.session_id, agent="novelist")
    assert (
        await scripted.submit(session_id=first.request.session_id, agent="workshop")
    ).run.request.agent == "workshop"


# --- what is refused, and what is kept ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"deadline_seconds": 604_801.0}, "deadline_seconds"),
        ({"turns": 21}, "limits.turns"),
        ({"tool_calls": 10**400}, "limits.tool_calls"),
        ({"total_tokens": 1_001}, "limits.total_tokens"),
    ],
)
async def test_more_than_the_app_allows_is_refused_and_writes_nothing(
    rigs: NewRig, fields: dict[str, Any], named: str
) -> None:
    rig = await rigs(max_total_tokens=1_000)
    with pytest.raises(errors.InvalidRequest, match=f"`{named}` may be at most") as caught:
        await rig.submit(idempotency_key="k", **fields)
    assert [each["field"] for each in caught.value.details["errors"]] == [named]
    assert not any(rig.tables.rows(table) for table in Table)


async def test_what_is_asked_for_is_in_the_run(scripted: Rig) -> None:
    fields: dict[str, Any] = {"deadline_seconds": 604_800.0, "turns": 3, "tool_calls": 4, "total_tokens": 5}
    run = (await scripted.submit(metadata={"k": "v" * 512}, **fields)).run
    assert run.schedule.deadline_at is not None
    assert (run.schedule.deadline_at - run.request.created_at).total_seconds() == 604_800.0
    assert (run.request.limits.turns, run.request.limits.tool_calls, run.request.limits.total_tokens) == (3, 4, 5)
    assert run.request.metadata == {"k": "v" * 512}


async def test_the_default_agent_is_the_first(scripted: Rig) -> None:
    assert (await scripted.submit(agent=None)).run.request.agent == "novelist"
    with pytest.raises(errors.UnknownAgent, match="novelist, workshop"):
        await scripted.submit(agent="poet")


@pytest.mark.parametrize(
    "text",
    ["x", "\0\x01\x7f", "a\u0301\u200d\ufeff\u2028", "\U0001f42d" * 300_000, '"\\\r\n\t' * 200_000, "ä" * 524_288],
    ids=["short", "controls", "marks", "astral", "quotes", "two_bytes"],
)
async def test_the_input_reaches_the_model_as_it_was_given(scripted: Rig, text: str) -> None:
    rig = scripted
    text = f"[script:s]{text}"
    run = await rig.run_to_end(text)
    assert run.status is RunStatus.COMPLETED
    (create,) = await rig.model.creates()
    assert create.body["input"] == [{"type": "message", "role": "user", "content": text}]
    assert (await rig.items(run.id))[0]["content"] == text


async def test_an_outage_of_the_provider_does_not_change_the_answer(scripted: Rig) -> None:
    rig = scripted
    await rig.model.switches(down=True)
    submitted = await rig.submit()
    assert not submitted.run.terminal
    await rig.model.switches(down=False)
    assert (await rig.finish(submitted.run.id)).status is RunStatus.COMPLETED


# --- starting the driver ------------------------------------------------------------------------------


class BrokenHub:
    """No host: nothing starts."""

    async def start_if_absent(self, _: str, *, wait: float = 0.0) -> bool:
        raise ConnectionError

    wake = start_step = start_if_absent


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_driver_that_does_not_start_is_made_good_by_the_sweep(rigs: NewRig, driver: str) -> None:
    rig = await rigs(driver=driver)
    await rig.model.script("s", [{"text": "done"}])
    submitted = await rig.submit()
    await rig.driver(BrokenHub()).start_run(submitted)
    await Driver(rig).pass_time(10 * 60)
    assert (await rig.run(submitted.run.id)).status is RunStatus.COMPLETED


async def test_under_timer_the_due_row_is_dated_to_the_next_wake(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"text": "done"}])
    submitted = await rig.submit()
    assert submitted.due is not None
    assert submitted.due.due - rig.clock.now == AHEAD
    await Driver(rig).start_run(submitted)
    due = await rig.app.ports.due.get(submitted.run.id)
    assert due is not None
    assert due.due == wake_at(submitted.run)
