"""Commands over tables alone: what is refused before anything is written, and which rows are written or left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared import errors
from shared.agentkit.agent import AgentResponse, ContinuationToken, ResponseStatus
from shared.runs.actions.outcome import Outcome
from shared.runs.batches.callbacks import redeliver_batch
from shared.runs.commands import checks, keys
from shared.runs.commands.adopt import _attempt_of as attempt_of
from shared.runs.commands.adopt import adopt
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import (
    AFTER_ITS_RUNS,
    RUNS_LEFT_GAP,
    TOMBSTONE_KEPT,
    SessionStatus,
    advance_session,
    delete_run,
    delete_session,
    expire,
    removal_time,
    tombstone_kept,
)
from shared.runs.commands.leftovers import is_unchanged, remove_leftovers_of_run
from shared.runs.commands.redeliver import redeliver
from shared.runs.commands.submission import Submission
from shared.runs.model.batch import BatchStatus, Cancelling
from shared.runs.model.batch import Deleted as BatchDeleted
from shared.runs.model.batch import Ended as BatchEnded
from shared.runs.model.calls import Approval, CallState
from shared.runs.model.facts import Approve, Attempt
from shared.runs.model.ids import due_row_of, run_id
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Claim, Creating, Ended, Pending, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.index import UNLISTED
from shared.runs.store.runs import TOGETHER, CallChange, SessionChange, Stored
from shared.runs.store.slots import Slot
from shared.runs.store.tables import Change, Kind, StoreUnavailable, Table
from shared.runs.store.unreadable import RowTooNew
from shared.settings import Settings
from tests.parts.memory import MemoryTables
from tests.unit.runs.conftest import Clock
from tests.unit.runs.records import NOW, SESSION, a_run, a_session, at, put
from tests.unit.runs.test_batch import ID, a_batch
from tests.unit.runs.test_transitions import asked, pending

COMPLETED = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
TOMB = Ended(status=RunStatus.COMPLETED, completed_at=NOW, deleted_at=NOW)
RUN = run_id(SESSION, 1)
TWO_DAYS = TOMBSTONE_KEPT.total_seconds()
URL = "https://receiver.example"


def serving(ports: Ports, sender: object = None, settings: Mapping[str, Any] | None = None, **agents: Any) -> Ports:
    """The same with these agents, this sender and these settings."""
    given = Settings(**{"openai_api_key": "k", "app_name": "unit", **(settings or {})})
    return replace(ports, agents=cast(Any, agents), sender=cast(Any, sender), settings=given)


async def stored_run(ports: Ports, number: int = 1) -> Run:
    stored = await ports.runs.load(run_id(SESSION, number))
    assert stored is not None
    return stored.value


async def stored_session(ports: Ports) -> Session:
    stored = await ports.runs.load_session(SESSION)
    assert stored is not None
    return stored.value


# --- checks -------------------------------------------------------------------------------------------

AGENTS = {
    "first": SimpleNamespace(models=frozenset({"small", "large"})),
    "second": SimpleNamespace(models=frozenset()),
}


def wanted(**fields: Any) -> Submission:
    return Submission(**{"owner": "app", "items": (), "agent": None, **fields})


@pytest.mark.parametrize(
    ("agent", "session", "name"),
    [
        (None, None, "first"),
        ("second", None, "second"),
        (None, "second", "second"),
        ("second", "second", "second"),
        (None, "gone", "gone"),  # a session of an agent that another build has
    ],
)
def test_which_agent_answers(ports: Ports, agent: str | None, session: str | None, name: str) -> None:
    there = None if session is None else Stored(a_session(agent=session), "e")
    assert checks.agent_of(serving(ports, **AGENTS), wanted(agent=agent), there) == name


@pytest.mark.parametrize(
    ("agent", "session", "error"), [("third", None, errors.UnknownAgent), ("first", "second", errors.AgentMismatch)]
)
def test_which_agent_cannot_answer(ports: Ports, agent: str, session: str | None, error: type[Exception]) -> None:
    there = None if session is None else Stored(a_session(agent=session), "e")
    with pytest.raises(error):
        checks.agent_of(serving(ports, **AGENTS), wanted(agent=agent), there)


@pytest.mark.parametrize(
    ("name", "model", "said"),
    [
        ("first", None, None),
        ("second", None, None),
        ("gone", None, None),
        ("first", "small", None),
        ("first", "large", None),
        ("first", "huge", "may be asked for these models: large, small."),
        ("second", "small", "has its own model"),
        ("gone", "small", "has its own model"),
    ],
)
def test_which_model_may_be_asked_for(ports: Ports, name: str, model: str | None, said: str | None) -> None:
    if said is None:
        checks.check_model(serving(ports, **AGENTS), wanted(model=model), name)
    else:
        with pytest.raises(errors.ModelNotAllowed, match=said):
            checks.check_model(serving(ports, **AGENTS), wanted(model=model), name)
        if name in AGENTS:
            with pytest.raises(errors.ModelNotAllowed):
                checks.check_new_session(serving(ports, **AGENTS), wanted(agent=name, model=model))


LIMITS = {"deadline_most": 100.0, "deadline": 50.0, "max_turns": 5, "max_tool_calls": 7, "max_total_tokens": 1_000}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, None),
        ({"deadline_seconds": 100.0, "turns": 5, "tool_calls": 7, "total_tokens": 1_000}, None),
        ({"deadline_seconds": 100.5}, "deadline_seconds"),
        ({"turns": 6}, "limits.turns"),
        ({"tool_calls": 8}, "limits.tool_calls"),
        ({"total_tokens": 1_001}, "limits.total_tokens"),
    ],
)
def test_how_much_may_be_asked_for(ports: Ports, asked: dict[str, Any], field: str | None) -> None:
    limited = serving(ports, settings=LIMITS, **AGENTS)
    if field is None:
        checks.check_limits(limited, wanted(**asked))
        checks.check_new_session(limited, wanted(**asked))
        return
    for check in (checks.check_limits, checks.check_new_session):
        with pytest.raises(errors.InvalidRequest) as caught:
            check(limited, wanted(**asked))
        (problem,) = caught.value.details["errors"]
        assert problem["field"] == field
    assert checks.check_limits(serving(ports), wanted(total_tokens=10**9)) is None, "without a limit there is none"


def test_where_callbacks_may_go(ports: Ports) -> None:
    sender = SimpleNamespace(problem=lambda url: "is not public" if url == URL else None)
    checks.check_callback(ports, None)
    checks.check_callback(serving(ports, sender), "https://other.example")
    with pytest.raises(errors.CallbacksDisabled):
        checks.check_callback(ports, URL)
    with pytest.raises(errors.InvalidRequest, match="`callback_url` is not public"):
        checks.check_callback(serving(ports, sender), URL)


# --- keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "known"), [(0, True), (100, True), (101, False)])
async def test_a_key_is_known_for_its_time(ports: Ports, clock: Clock, age: float, known: bool) -> None:
    ports = serving(ports, settings={"idempotency_key_lifetime": 100})
    record = await ports.index.claim_key(keys.new_key(ports, "app", "k", "p", SESSION, 3))
    assert record is not None
    assert (record.session_id, record.number, record.payload, record.created_at) == (SESSION, 3, "p", NOW)
    clock.move(age)
    if known:
        assert await keys.known_key(ports, "app", "k", "p") == record
        with pytest.raises(errors.IdempotencyKeyReused):
            await keys.known_key(ports, "app", "k", "q")
    else:
        assert await keys.known_key(ports, "app", "k", "q") is None
        assert await ports.index.key(record.digest) is None, "free for another"
    assert await keys.known_key(ports, "another", "k", "q") is None


# --- leftovers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True])
async def test_what_a_submit_left_goes_unless_it_was_sent_again(
    ports: Ports, tables: MemoryTables, again: bool
) -> None:
    run = a_run()
    place = ports.index.list_row_of(run)
    due = await ports.due.announce(run.id, NOW, listed=place)
    assert await is_unchanged(ports, due) is True
    await ports.runs.store_text(run, "x" * 30_000)
    if again:
        await ports.due.announce(run.id, at(1), listed=place)
    assert await is_unchanged(ports, due) is not again
    assert await remove_leftovers_of_run(ports, due) is not again
    assert len(tables.rows(Table.RUNS)) == int(again)
    assert await ports.due.get(run.id) is not None, "the caller's to remove"
    if not again:
        assert await remove_leftovers_of_run(ports, due) is True
        await ports.due.remove(due, at(99))
        assert await is_unchanged(ports, due) is False


# --- cancel, answer, deliver again --------------------------------------------------------------------


async def test_of_a_run_that_is_not_there_nothing_is_cancelled_answered_or_delivered(ports: Ports) -> None:
    yes = {"c": Approve(approve=True)}
    assert await cancel(ports, RUN) is None
    assert await answer(ports, RUN, yes) is None
    assert await redeliver(ports, RUN) is None
    assert await delete_run(ports, RUN) is False
    assert await redeliver_batch(ports, ID) is None
    stored = await put(ports, a_run(phase=TOMB))
    assert await answer(ports, RUN, yes) is None
    assert await redeliver(ports, RUN) is None
    assert await cancel(ports, RUN) == stored.value
    await ports.batches.create(a_batch(phase=BatchDeleted(status=BatchStatus.COMPLETED, deleted_at=NOW)))
    assert await redeliver_batch(ports, ID) is None


async def test_answers_are_taken_all_or_none(ports: Ports) -> None:
    stored = await put(ports, a_run(phase=WaitingForAnswers(answer_by=at(99), seconds_left=5.0)))
    calls = [asked(), asked(index=1, call_id="d")]
    await ports.runs.save(stored, stored.value, calls=[CallChange(before=None, after=each) for each in calls])
    with pytest.raises(errors.NotWaiting):
        await answer(ports, RUN, {"c": Approve(approve=True), "x": Approve(approve=True)})
    assert [each.value for each in await ports.runs.calls(stored.value)] == calls
    run = await answer(ports, RUN, {"c": Approve(approve=True)}, by="ann")
    assert run is not None
    assert run.status is RunStatus.REQUIRES_ACTION
    assert await answer(ports, RUN, {"c": Approve(approve=True)}) == run, "the same again"
    with pytest.raises(errors.AlreadyAnswered):
        await answer(ports, RUN, {"c": Approve(approve=False)})
    written = await ports.runs.calls(run)
    assert [(each.value.approval, each.value.answered_by) for each in written] == [
        (Approval.APPROVED, "ann"),
        (Approval.PENDING, ""),
    ]
    assert written[0].value.state is CallState.OPEN
    assert await ports.due.get(RUN) is not None, "a sweep looks, should the caller die before its signal"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"callback_url": None}, errors.NoCallback),
        ({"callback_url": URL, "phase": pending()}, errors.RunNotEnded),
        ({"callback_url": URL}, errors.CallbacksDisabled),
    ],
)
async def test_what_is_wrong_with_the_run_is_said_before_what_is_wrong_with_the_app(
    ports: Ports, changes: dict[str, Any], error: type[Exception]
) -> None:
    await put(ports, a_run(**{"phase": COMPLETED, **changes}))
    with pytest.raises(error):
        await redeliver(ports, RUN)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"callback_url": None}, errors.NoCallback),
        ({"callback_url": URL, "phase": Cancelling()}, errors.BatchNotEnded),
        ({"callback_url": URL}, errors.CallbacksDisabled),
    ],
)
async def test_what_is_wrong_with_the_batch_is_said_before_what_is_wrong_with_the_app(
    ports: Ports, changes: dict[str, Any], error: type[Exception]
) -> None:
    over = BatchEnded(status=BatchStatus.COMPLETED, completed_at=NOW)
    await ports.batches.create(a_batch(**{"phase": over, **changes}))
    with pytest.raises(error):
        await redeliver_batch(ports, ID)


async def test_a_callback_is_asked_for_again_with_its_due_row_first(ports: Ports) -> None:
    ports = serving(ports, sender=object())
    await put(ports, a_run(phase=COMPLETED, callback_url=URL))
    run = await redeliver(ports, RUN)
    assert run is not None
    assert [(entry.kind, entry.subject) for entry in run.outbox] == [(EntryKind.CALLBACK, "completed")]
    due = await ports.due.get(RUN)
    assert due is not None
    assert due.announced_at == NOW


@pytest.mark.parametrize("then", ["deleted", "restarted"])
async def test_a_callback_of_a_run_that_changes_just_then_is_not_asked_for(
    ports: Ports, tables: MemoryTables, then: str
) -> None:
    ports = serving(ports, sender=object())
    stored = await put(ports, a_run(phase=COMPLETED, callback_url=URL))
    after = a_run(phase=TOMB) if then == "deleted" else a_run(phase=COMPLETED, callback_url=None)

    async def before(operation: str, table: Table, *_: object) -> None:
        if operation == "commit" and table is Table.RUNS:
            tables.before = None
            await ports.runs.save(stored, replace(stored.value, phase=after.phase, request=after.request))

    tables.before = before
    if then == "deleted":
        assert await redeliver(ports, RUN) is None
    else:
        with pytest.raises(errors.NoCallback):
            await redeliver(ports, RUN)


# --- delete a run -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime", "kept"), [(100, TWO_DAYS), (3 * 86_400, 3 * 86_400)])
async def test_a_tombstone_outlives_the_key_of_its_run(ports: Ports, lifetime: int, kept: float) -> None:
    ports = serving(ports, settings={"idempotency_key_lifetime": lifetime})
    assert tombstone_kept(ports.settings) == timedelta(seconds=kept)
    await put(ports, a_run(phase=COMPLETED))
    for _ in range(2):  # again changes nothing
        assert await delete_run(ports, RUN) is True
        run = await stored_run(ports)
        assert [entry.due for entry in run.outbox.of(EntryKind.REMOVAL)] == [at(kept)]
    assert run.is_deleted


async def test_a_run_is_not_deleted_while_the_next_one_may_be_using_it(ports: Ports) -> None:
    await put(ports, a_run(phase=COMPLETED))
    await put(ports, a_run(number=2), a_session(active_run=2, next_number=3, response_id="resp_1"))
    with pytest.raises(errors.SessionBusy):
        await delete_run(ports, RUN)
    assert not (await stored_run(ports)).is_deleted
    assert await delete_run(ports, run_id(SESSION, 2)) is True
    session = await stored_session(ports)
    assert (session.active_run, session.response_id, session.last_activity) == (None, None, NOW)


# --- delete a session ---------------------------------------------------------------------------------


async def a_long_session(ports: Ports, count: int, **changes: Any) -> None:
    """A session of so many completed runs."""
    for number in range(1, count + 1):
        await put(ports, a_run(number=number, phase=COMPLETED), a_session(next_number=number + 1))
    stored = await ports.runs.load_session(SESSION)
    assert stored is not None
    await ports.runs.save_session(SessionChange(before=stored, after=replace(stored.value, **changes)))


def ids(*numbers: int) -> list[str]:
    return [run_id(SESSION, number) for number in numbers]


async def test_a_session_goes_with_its_runs_but_for_those_that_are_gone_already(
    ports: Ports, tables: MemoryTables
) -> None:
    await a_long_session(ports, 4, response_id="resp_1")
    await delete_run(ports, run_id(SESSION, 2))
    gone = await ports.runs.load(run_id(SESSION, 3))
    assert gone is not None
    await ports.runs.delete_run(gone)
    assert await delete_session(ports, SESSION) == ids(1, 4)
    session = await stored_session(ports)
    assert (session.deleted_at, session.emptied, session.purged, session.response_id) == (NOW, True, 4, None)
    due = await ports.due.get(due_row_of(SESSION))
    assert due is not None
    assert due.due == at(60), "while the announcement is young nobody dates the row later"
    assert await delete_session(ports, SESSION) == [], "once"


async def test_a_run_whose_row_is_damaged_keeps_no_other(
    ports: Ports, tables: MemoryTables, caplog: pytest.LogCaptureFixture
) -> None:
    await a_long_session(ports, 2)
    row = await tables.get(Table.RUNS, SESSION, "run:00000001")
    assert row is not None
    for values, error in (({"schema": 999}, RowTooNew), ({"schema": row.values["schema"], "phase": "["}, None)):
        row = await tables.get(Table.RUNS, SESSION, "run:00000001")
        assert row is not None
        merge = Change(kind=Kind.MERGE, key=row.key, values=values, etag=row.etag)
        await tables.commit(Table.RUNS, SESSION, [merge])
        if error is not None:
            with pytest.raises(error):
                await delete_session(ports, SESSION)
            assert (await stored_session(ports)).deleted_at is None
    assert await delete_session(ports, SESSION) == ids(2)
    assert f"run {RUN} stays where it is" in caplog.text


@pytest.mark.parametrize(
    ("changes", "idle", "deleted"),
    [
        ({}, None, True),
        ({"last_activity": at(-100)}, 100, True),
        ({"last_activity": at(-99)}, 100, False),
        ({"last_activity": at(-100), "active_run": 1}, 100, False),
        ({"last_activity": at(-100), "active_run": 1}, None, True),
        ({"deleted_at": at(-1)}, 100, True),  # its deletion was cut off
        ({"emptied": True, "deleted_at": at(-1)}, None, False),
    ],
)
async def test_which_sessions_are_deleted(
    ports: Ports, changes: dict[str, Any], idle: float | None, deleted: bool
) -> None:
    await a_long_session(ports, 1, **changes)
    span = None if idle is None else timedelta(seconds=idle)
    assert await delete_session(ports, SESSION, idle=span) == (ids(1) if deleted else [])
    assert (await stored_run(ports)).is_deleted is deleted
    assert await delete_session(ports, "f" * 32) == []


async def test_a_long_session_goes_in_pieces_the_active_run_with_the_first(ports: Ports) -> None:
    last = 2 * TOGETHER + 3
    await a_long_session(ports, last - 1)
    await put(ports, a_run(number=last, phase=pending("resp_9")), a_session(active_run=last, next_number=last + 1))
    subject = due_row_of(SESSION)
    assert await delete_session(ports, SESSION) == [*ids(*range(1, TOGETHER + 1)), *ids(last), subject]
    session = await stored_session(ports)
    assert (session.purged, session.emptied, session.active_run) == (TOGETHER, False, None)
    assert (await stored_run(ports, last)).status is RunStatus.CANCELLED
    woken: list[str] = []

    async def wake(each: str) -> None:
        woken.append(each)

    assert await advance_session(ports, subject, wake) == Outcome(SessionStatus.DELETED, 0.0)
    assert woken == ids(*range(TOGETHER + 1, 2 * TOGETHER + 1))
    woken.clear()
    left = (TOMBSTONE_KEPT + AFTER_ITS_RUNS).total_seconds()
    assert await advance_session(ports, subject, wake) == Outcome(SessionStatus.DELETED, left)
    assert woken == ids(last - 2, last - 1)
    assert (await stored_session(ports)).emptied


async def _wake_nobody(each: str) -> None:
    raise AssertionError(each)


async def test_the_row_of_a_session_goes_last(ports: Ports, clock: Clock) -> None:
    subject = due_row_of(SESSION)
    assert await advance_session(ports, subject, _wake_nobody) == Outcome(None, None)
    stored = await put(ports, a_run(phase=COMPLETED))
    assert await advance_session(ports, subject, _wake_nobody) == Outcome(SessionStatus.LIVE, None)
    await delete_session(ports, SESSION)
    left = (removal_time(await stored_session(ports), ports.settings) - NOW).total_seconds()
    assert left == TWO_DAYS + AFTER_ITS_RUNS.total_seconds()
    current = await ports.runs.load(stored.value.id)
    assert current is not None
    clock.move(left - 1)
    assert await advance_session(ports, subject, _wake_nobody) == Outcome(SessionStatus.DELETED, 1.0)
    clock.move(1)
    assert await advance_session(ports, subject, _wake_nobody) == Outcome(SessionStatus.DELETED, RUNS_LEFT_GAP)
    await ports.runs.delete_run(current)
    clock.move(-1)
    assert await advance_session(ports, subject, _wake_nobody) == Outcome(SessionStatus.DELETED, 1.0)
    assert await ports.runs.load_session(SESSION) is not None, "whose runs are gone, and whose time has not come"
    clock.move(1)
    assert await advance_session(ports, subject, _wake_nobody) == Outcome(None, None)
    assert await ports.runs.load_session(SESSION) is None


async def test_retention_finishes_what_was_cut_off_and_leaves_what_goes_on_by_itself(ports: Ports) -> None:
    await a_long_session(ports, 1, last_activity=at(-100))
    assert await expire(ports, await stored_session(ports), timedelta(seconds=101)) == []
    assert await expire(ports, await stored_session(ports), timedelta(seconds=100)) == ids(1)
    deleted = await stored_session(ports)
    assert await expire(ports, deleted, timedelta(seconds=1)) == [], "its due row is there"
    due = await ports.due.get(due_row_of(SESSION))
    assert due is not None
    await ports.due.remove(due, at(99))
    assert await expire(ports, deleted, timedelta(seconds=1)) == [due_row_of(SESSION)]
    assert await ports.due.get(due_row_of(SESSION)) is not None


async def test_who_loses_every_race_for_a_session_gives_up(ports: Ports, tables: MemoryTables) -> None:
    await put(ports, a_run(phase=COMPLETED))
    races = 0

    async def before(operation: str, table: Table, *_: object) -> None:
        nonlocal races
        if operation == "commit" and table is Table.RUNS:
            races += 1
            assert races < 30
            stored = await ports.runs.load_session(SESSION)
            assert stored is not None
            await ports.runs.save_session(SessionChange(before=stored, after=stored.value))

    tables.before = before
    with pytest.raises(Exception, match="too many races"):
        await delete_session(ports, SESSION)


async def test_runs_that_go_with_their_session_leave_the_list_and_give_their_slots_back(ports: Ports) -> None:
    ended = await put(ports, a_run(phase=COMPLETED, slot=1))
    active = await put(ports, a_run(number=2, slot=0), a_session(active_run=2, next_number=3))
    for number, stored in ((0, active), (1, ended)):
        slot = Slot(number=number, run_id=stored.value.id, fingerprint="s", taken_at=NOW)
        await ports.slots.take("app", slot)
        await ports.index.show(stored.value, UNLISTED)
    assert len((await ports.index.runs("app", None, 9, statuses=(), agent=None))[0]) == 2
    assert await delete_session(ports, SESSION) == ids(1, 2)
    assert await ports.index.runs("app", None, 9, statuses=(), agent=None) == ([], None)
    assert [slot.number for slot in await ports.slots.held("app")] == [1], "that of an ended run was given back before"


async def test_a_list_that_cannot_be_written_keeps_no_session(ports: Ports, tables: MemoryTables) -> None:
    await put(ports, a_run(phase=COMPLETED))

    async def before(operation: str, table: Table, *_: object) -> None:
        if operation == "commit" and table is Table.INDEX:
            raise StoreUnavailable("gone")

    tables.before = before
    assert await delete_session(ports, SESSION) == ids(1)


# --- adopt --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "attempt"),
    [
        ({"turn": "2", "attempt": "3", "nonce": "n"}, Attempt(turn=2, number=3, nonce="n")),
        ({"turn": "2", "attempt": "3"}, Attempt(turn=2, number=3, nonce="")),
        ({"turn": "02", "attempt": "3", "nonce": "n"}, Attempt(turn=0, number=0, nonce="")),
        ({"turn": "2", "attempt": "0", "nonce": "n"}, Attempt(turn=0, number=0, nonce="")),
        ({"turn": "٢", "attempt": "3", "nonce": "n"}, Attempt(turn=0, number=0, nonce="")),
        ({"turn": "2", "attempt": "1234567890", "nonce": "n"}, Attempt(turn=0, number=0, nonce="")),
        ({"attempt": "3", "nonce": "n"}, Attempt(turn=0, number=0, nonce="")),
        ({"turn": "2", "nonce": "n"}, Attempt(turn=0, number=0, nonce="")),
    ],
)
def test_which_attempt_a_response_names(said: dict[str, str], attempt: Attempt) -> None:
    response = AgentResponse(status=ResponseStatus.PENDING, provider_status="x", response_id="r", metadata=said)
    assert attempt_of(response) == attempt


class Provider:
    """An agent whose provider has one response."""

    background = True
    output = None
    tools: Mapping[str, Any] = {}
    models: frozenset[str] = frozenset()

    def __init__(self, **metadata: str) -> None:
        self.metadata = metadata
        self.cancelled: list[str] = []

    async def run(self, *_: Any, session: Any, options: Any) -> AgentResponse:
        token: ContinuationToken = options.continuation_token
        return AgentResponse(
            status=ResponseStatus.PENDING,
            provider_status="in_progress",
            response_id=token.response_id,
            continuation_token=token,
            metadata=self.metadata,
        )


def of_this_app(ports: Ports, **more: str) -> dict[str, str]:
    said = {"app": ports.settings.app_in_metadata, "run": RUN, "turn": "1", "attempt": "1", "nonce": "n"}
    return {**said, **more}


async def test_a_response_that_is_adopted_is_announced_to_the_sweep_first(ports: Ports) -> None:
    agent = Provider(**of_this_app(ports))
    ports = serving(ports, novelist=agent)
    claim = Claim(until=at(60), unknown_at=at(90))
    await put(ports, a_run(phase=Creating(nonce="n", claim=claim), attempt=1), a_session(active_run=1))
    assert await adopt(ports, "resp_1") == RUN
    assert isinstance((await stored_run(ports)).phase, Pending)
    due = await ports.due.get(RUN)
    assert due is not None, "a crash before the signal would leave nobody to come back to it"
    assert due.announced_at == NOW


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"phase": pending("resp_1"), "response_ids": ("resp_1",)}, RUN),
        ({"phase": COMPLETED, "response_ids": ("resp_1",)}, None),
    ],
)
async def test_a_response_that_the_run_knows_is_a_reason_to_look_while_something_is_left(
    ports: Ports, changes: dict[str, Any], found: str | None
) -> None:
    stored = await put(ports, a_run(attempt=1, **changes))
    assert await adopt(serving(ports, novelist=Provider(**of_this_app(ports))), "resp_1") == found
    assert await stored_run(ports) == stored.value


@pytest.mark.parametrize("said", [{"app": "another"}, {"run": "run_" + "f" * 32 + "_1"}, {"run": "x"}])
async def test_a_response_of_another_app_or_run_wakes_nobody(ports: Ports, said: dict[str, str]) -> None:
    await put(ports, a_run(phase=pending("resp_0"), attempt=1))
    assert await adopt(serving(ports, novelist=Provider(**of_this_app(ports, **said))), "resp_1") is None
    assert await adopt(ports, "resp_1") is None, "no agent knows it"
