"""What is written with a run's change, over tables alone: its session, its list row, its long values, its due row."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared import errors
from shared.agentkit.agent import AgentResponse, ContinuationToken, FunctionCall, ResponseStatus, Usage
from shared.runs import commit as commits
from shared.runs.actions.outcome import list_status, outcome
from shared.runs.commands import submit as submits
from shared.runs.commands.new_run import new_run
from shared.runs.commands.open_calls import Continuation
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit
from shared.runs.commit import bytes_of, calls_of_turn, commit, commit_through, give_slot_back, session_after
from shared.runs.concurrency import MAX_RACES, LostRace, TooManyRaces
from shared.runs.execution import execution
from shared.runs.listing import after_change, before_change, ensure_listed, is_shown, shown
from shared.runs.model import facts
from shared.runs.model.calls import CallState
from shared.runs.model.facts import Answer, Attempt
from shared.runs.model.ids import due_row_of, run_id
from shared.runs.model.listed import ListedRun, Summary
from shared.runs.model.phases import Claim, Creating, Ended, RunningTools, RunStatus
from shared.runs.model.run import Chain, Limits, PartRef, Run
from shared.runs.ports import Ports
from shared.runs.rules.agenda import ActionKind
from shared.runs.rules.callbacks import NextStep
from shared.runs.rules.preview import preview_of, title_of
from shared.runs.store import due as due_rows
from shared.runs.store.due import DueRow
from shared.runs.store.index import KeyRecord, Listing
from shared.runs.store.rows import moment_of
from shared.runs.store.runs import READS, Stored
from shared.runs.store.slots import Slot
from shared.runs.store.tables import StoreUnavailable, Table
from shared.runs.store.unreadable import RowUnreadable
from shared.settings import Settings
from tests.parts.memory import MemoryTables
from tests.unit.runs.conftest import Clock
from tests.unit.runs.records import NOW, SESSION, TERMINAL, a_run, a_session, an_entry, at, put
from tests.unit.runs.test_batch import ID
from tests.unit.runs.test_transitions import a_call, pending

RUN = run_id(SESSION, 1)
OVER = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
TOMB = replace(OVER, deleted_at=NOW)
ATTEMPT = Attempt(turn=1, number=1, nonce="n")
CLAIMED = Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(90)))


def with_settings(ports: Ports, **settings: Any) -> Ports:
    return replace(ports, settings=Settings(**{"openai_api_key": "k", "app_name": "unit", **settings}))


async def load(ports: Ports, number: int = 1) -> Run:
    stored = await ports.runs.load(run_id(SESSION, number))
    assert stored is not None
    return stored.value


# --- the session --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "replays", "chain", "response_id", "replay"),
    [
        (OVER, False, "auto", "resp_1", False),
        (OVER, True, "auto", "resp_1", True),
        (OVER, True, "replay", "resp_1", False),
        (replace(OVER, status=RunStatus.FAILED), True, "auto", "resp_0", False),
        (replace(OVER, status=RunStatus.INCOMPLETE), False, "auto", "resp_0", False),
        (TOMB, False, "auto", None, False),
    ],
)
def test_how_a_session_stands_after_a_run(
    phase: Ended, replays: bool, chain: str, response_id: str | None, replay: bool
) -> None:
    run = a_run(phase=phase, updated_at=at(9), chain=Chain(last_response_id="resp_1", replay=replays))
    after = session_after(a_session(active_run=1, response_id="resp_0"), run, chain)
    assert (after.active_run, after.last_activity) == (None, at(9))
    assert (after.response_id, after.replay) == (response_id, replay)


@pytest.mark.parametrize(("active", "moved"), [(1, True), (2, False), (None, False)])
async def test_the_end_of_a_run_frees_its_own_session(ports: Ports, active: int | None, moved: bool) -> None:
    stored = await put(ports, a_run(phase=pending()), a_session(active_run=active, last_activity=at(-9)))
    await commit(ports, stored, facts.CancelRequested())
    session = await ports.runs.load_session(SESSION)
    assert session is not None
    assert session.value.active_run == (None if moved else active)
    assert (session.value.last_activity == NOW) is moved


# --- commits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "fact", "outside", "announced"),
    [
        (pending(), facts.CancelRequested(), False, True),
        (OVER, facts.Deleted(keep=9), False, True),
        (pending(), facts.AgentUnknown(), False, False),
        (pending(), facts.AgentUnknown(), True, True),
        (CLAIMED, facts.OutcomeUnknown(attempt=ATTEMPT, code="c", within_call=False), False, False),
    ],
)
async def test_what_comes_from_no_wake_is_announced_to_the_sweep_first(
    ports: Ports, phase: Any, fact: facts.Fact, outside: bool, announced: bool
) -> None:
    await commit(ports, await put(ports, a_run(phase=phase, attempt=1)), fact, outside=outside)
    assert (await ports.due.get(RUN) is not None) is announced


@pytest.mark.parametrize(("seconds", "announced"), [(29, 0), (30, 30)])
async def test_what_takes_long_to_write_is_announced_again(
    ports: Ports, clock: Clock, tables: MemoryTables, seconds: float, announced: float
) -> None:
    stored = await put(ports, a_run(phase=pending()))

    async def before(operation: str, table: Table, *_: object) -> None:
        if operation == "get" and table is Table.RUNS:  # its session
            tables.before = None
            clock.move(seconds)

    tables.before = before
    await commit(ports, stored, facts.CancelRequested())
    due = await ports.due.get(RUN)
    assert due is not None
    assert due.announced_at == at(announced)


async def test_a_process_that_stood_still_over_its_write_announces_it_again(
    ports: Ports, clock: Clock, tables: MemoryTables
) -> None:
    stored = await put(ports, a_run(phase=OVER))

    async def before(operation: str, table: Table, *_: object) -> None:
        if operation == "commit" and table is Table.RUNS:
            tables.before = None
            clock.move(120)
            row = await ports.due.get(RUN)
            assert row is not None
            assert await ports.due.remove(row, clock()), "a sweep found the run over as it was"

    tables.before = before
    await commit(ports, stored, facts.Deleted(keep=9))
    due = await ports.due.get(RUN)
    assert due is not None
    assert due.due == at(180)


@pytest.mark.parametrize(("nonce", "announced"), [("n", False), ("m", True)])
async def test_a_response_that_nobody_waits_for_is_announced_to_the_sweep(
    ports: Ports, nonce: str, announced: bool
) -> None:
    response = AgentResponse(
        status=ResponseStatus.PENDING,
        provider_status="in_progress",
        response_id="resp_1",
        continuation_token=ContinuationToken(response_id="resp_1"),
    )
    fact = facts.ResponseCreated(
        attempt=replace(ATTEMPT, nonce=nonce), answer=Answer(response=response, tools={}), jitter=0.0
    )
    await commit(ports, await put(ports, a_run(phase=CLAIMED, attempt=1)), fact)
    assert (await ports.due.get(RUN) is not None) is announced


async def test_a_lost_race_is_decided_again_but_for_a_right(ports: Ports) -> None:
    stale = await put(ports, a_run(phase=Creating()))
    await ports.runs.save(stale, replace(stale.value, updated_at=at(1)))
    claim = facts.Claimed(attempt=ATTEMPT, seconds=60, grace=30)
    with pytest.raises(LostRace):
        await commit(ports, stale, claim)
    ended = await commit(ports, stale, facts.CancelRequested())
    assert ended.run.value.status is RunStatus.CANCELLED
    again = await commit(ports, stale, facts.CancelRequested())
    assert again.refused is not None
    await ports.runs.delete_run(ended.run)
    with pytest.raises(LostRace):
        await commit(ports, ended.run, facts.Deleted(keep=9))


async def test_a_look_that_lost_a_race_is_written_only_if_the_response_has_ended(ports: Ports) -> None:
    stale = await put(ports, a_run(phase=pending()))
    await ports.runs.save(stale, replace(stale.value, updated_at=at(1)))

    def looked(status: ResponseStatus) -> facts.Looked:
        token = ContinuationToken(response_id="resp_1") if status is ResponseStatus.PENDING else None
        response = AgentResponse(
            status=status, provider_status=status.value, response_id="resp_1", continuation_token=token
        )
        return facts.Looked(response_id="resp_1", answer=Answer(response=response, tools={}), jitter=0.0)

    with pytest.raises(LostRace):
        await commit(ports, stale, looked(ResponseStatus.PENDING))
    ended = await commit(ports, stale, looked(ResponseStatus.COMPLETED))
    assert ended.run.value.status is RunStatus.COMPLETED


async def test_who_is_never_fast_enough_gives_up(ports: Ports, tables: MemoryTables) -> None:
    stored = await put(ports, a_run(phase=pending()))
    races = 0

    async def before(operation: str, table: Table, *_: object) -> None:
        nonlocal races
        if operation == "commit" and table is Table.RUNS:
            races += 1
            assert races <= MAX_RACES
            current = await ports.runs.load(RUN)
            assert current is not None
            await ports.runs.save(current, replace(current.value, updated_at=at(races)))

    tables.before = before
    with pytest.raises(TooManyRaces):
        await commit(ports, stored, facts.CancelRequested())


@pytest.mark.parametrize(
    ("outages", "left", "pauses", "written"),
    [
        (0, None, [], True),
        (1, 60, [0.5], True),
        (6, 60, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0], True),
        (1, None, [], False),
        (1, 0.5, [], False),
        (1, 0.6, [0.5], True),
        (2, 0.6, [0.5], False),
    ],
)
async def test_what_only_this_process_knows_is_written_through_an_outage(
    ports: Ports,
    clock: Clock,
    tables: MemoryTables,
    monkeypatch: pytest.MonkeyPatch,
    outages: int,
    left: float | None,
    pauses: list[float],
    written: bool,
) -> None:
    stored = await put(ports, a_run(phase=pending()))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.move(seconds)

    monkeypatch.setattr(commits, "asyncio", SimpleNamespace(sleep=sleep))
    for _ in range(outages):
        tables.fail_next(StoreUnavailable("gone"), operation="commit")

    def until() -> datetime | None:
        return None if left is None else at(left)

    if written:
        await commit_through(ports, stored, facts.AgentUnknown(), until)
    else:
        with pytest.raises(StoreUnavailable):
            await commit_through(ports, stored, facts.AgentUnknown(), until)
    assert slept == pauses
    assert ((await load(ports)).schedule.agent_unknown_since is not None) is written


async def test_the_calls_of_a_turn_are_whole_or_a_defect(ports: Ports) -> None:
    run = (await put(ports, a_run(phase=RunningTools()))).value
    assert await calls_of_turn(ports, run) == []
    with pytest.raises(LookupError, match="0 of 1 calls"):
        await calls_of_turn(ports, replace(run, turn=replace(run.turn, calls=1)))


@pytest.mark.parametrize(("text", "size"), [("", 0), ("abc", 3), ("é", 2), ("\U0001f42d", 4), ("\ud800", 3)])
def test_how_many_bytes_a_text_has(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    ("text", "is_long"), [("x" * 12_000, False), ("x" * 12_001, True), (PartRef("d", 1, "x"), False)]
)
def test_which_values_may_be_too_long_for_their_row(text: Any, is_long: bool) -> None:
    assert commits._is_long(text) is is_long


@pytest.mark.parametrize(
    ("count", "reason", "room"),
    [(1, 0, 24_000), (16, 0, 24_000), (80, 0, 5_000), (0, 0, 24_000), (4, 99_000, 1_000), (5, 99_000, 0)],
)
def test_how_much_room_each_call_of_a_write_has(count: int, reason: int, room: int) -> None:
    calls = [a_call(index=index, reason="x" * reason) for index in range(count)]
    assert commits.room_of_each(calls) == room


@pytest.mark.parametrize("long", [False, True])
async def test_long_texts_of_an_ended_run_lie_in_parts(ports: Ports, long: bool) -> None:
    text = "x" * (30_000 if long else 10)
    answer = Answer(
        response=AgentResponse(
            status=ResponseStatus.COMPLETED, provider_status="completed", response_id="resp_1", text=text
        ),
        tools={},
        output=text,
    )
    stored = await put(ports, a_run(phase=pending()))
    run = (await commit(ports, stored, facts.Looked(response_id="resp_1", answer=answer, jitter=0.0))).run.value
    assert isinstance(run.result.text, PartRef) is isinstance(run.result.output, PartRef) is long
    assert await ports.runs.load_text(run, run.result.text) == text
    assert await ports.runs.load_text(run, run.result.output) == text


async def test_the_time_at_work_is_written_once(ports: Ports, clock: Clock) -> None:
    stored = await put(ports, a_run(phase=pending()))
    with execution(clock):
        for milliseconds in (250, 500):
            clock.move(0.25)
            stored = (await commit(ports, stored, facts.AgentUnknown())).run
            assert stored.value.counters.active_ms == milliseconds


def a_turn_of_tools(arguments: str) -> facts.Looked:
    response = AgentResponse(
        status=ResponseStatus.COMPLETED,
        provider_status="completed",
        response_id="resp_1",
        items=({"type": "function_call", "name": "é"},),
        calls=(FunctionCall(call_id="c", name="pay", arguments=arguments),),
    )
    return facts.Looked(response_id="resp_1", answer=Answer(response=response, tools={}), jitter=0.0)


@pytest.mark.parametrize("long", [False, True])
async def test_calls_are_written_with_the_response_that_asked_for_them(ports: Ports, long: bool) -> None:
    arguments = "x" * (30_000 if long else 10)
    stored = await put(ports, a_run(phase=pending(), item_bytes=7))
    saved = await commit(ports, stored, a_turn_of_tools(arguments))
    run = saved.run.value
    (call,) = await ports.runs.calls(run)
    assert (call.value,) == tuple(each.value for each in saved.calls)
    assert isinstance(call.value.arguments, PartRef) is long
    assert await ports.runs.load_text(run, call.value.arguments) == arguments
    items = await ports.runs.last_items(run)
    assert run.chain.item_bytes == 7 + len(json.dumps(items, ensure_ascii=False).encode())
    lease = facts.LeaseTaken(turn=1, owner="o", tools={})
    (taken,) = (await commit(ports, saved.run, lease)).calls
    assert taken.value.arguments == call.value.arguments, "they never change"
    assert taken.value.state is CallState.FINISHED, "there is no such tool here"


@pytest.mark.parametrize(
    ("fact", "level"),
    [(facts.CancelRequested(), "INFO"), (facts.DeadlinePassed(), "WARNING"), (facts.AgentUnknown(), None)],
)
async def test_each_new_status_is_logged_a_failure_as_a_warning(
    ports: Ports, caplog: pytest.LogCaptureFixture, fact: facts.Fact, level: str | None
) -> None:
    stored = await put(ports, a_run(phase=pending(), deadline_at=NOW))
    caplog.set_level("INFO", "dormouse")
    await commit(ports, stored, fact)
    said = [each for each in caplog.records if f"run {RUN} is " in each.getMessage()]
    assert [each.levelname for each in said] == ([] if level is None else [level])


@pytest.mark.parametrize(
    ("before", "status", "said"),
    [(pending(), ResponseStatus.FAILED, True), (pending(), ResponseStatus.COMPLETED, False)],
)
async def test_the_code_of_the_provider_s_error_is_in_the_log_and_not_its_words(
    ports: Ports, caplog: pytest.LogCaptureFixture, before: Any, status: ResponseStatus, said: bool
) -> None:
    stored = await put(ports, a_run(phase=before))
    error = {"error_code": "no_paper", "error_message": "No paper for your poem."}
    response = AgentResponse(status=status, provider_status="x", response_id="resp_1", **error)
    fact = facts.Looked(response_id="resp_1", answer=Answer(response=response, tools={}), jitter=0.0)
    await commit(ports, stored, fact)
    assert ("failed by the provider: no_paper" in caplog.text) is said
    assert "poem" not in caplog.text


# --- slots --------------------------------------------------------------------------------------------


def a_slot(number: int, fingerprint: str = "s") -> Slot:
    return Slot(number=number, run_id=RUN, fingerprint=fingerprint, taken_at=NOW)


@pytest.mark.parametrize(("slot", "fingerprint", "held"), [(3, "s", 0), (3, "t", 1), (None, "s", 1), (4, "s", 1)])
async def test_a_run_gives_its_own_slot_back(ports: Ports, slot: int | None, fingerprint: str, held: int) -> None:
    await ports.slots.take("app", a_slot(3))
    await give_slot_back(ports, a_run(slot=slot, fingerprint=fingerprint))
    assert len(await ports.slots.held("app")) == held


async def test_a_slot_goes_with_the_end_of_its_run_and_an_outage_keeps_no_run(
    ports: Ports, tables: MemoryTables
) -> None:
    stored = await put(ports, a_run(phase=pending(), slot=3))
    await ports.slots.take("app", a_slot(3))
    parked = await commit(ports, stored, facts.AgentUnknown())
    assert len(await ports.slots.held("app")) == 1
    await commit(ports, parked.run, facts.CancelRequested())
    assert await ports.slots.held("app") == []
    tables.fail_next(StoreUnavailable("gone"))
    await give_slot_back(ports, a_run(slot=3))


async def test_a_second_submit_of_one_request_gives_its_slot_back(ports: Ports) -> None:
    await ports.slots.take("app", a_slot(0))
    await ports.slots.take("app", a_slot(1))
    await put(ports, a_run(slot=0))
    due = await ports.due.announce(RUN, ports.clock())
    submitted = await submits._commit_new(ports, a_run(slot=1), "[]", Continuation(), None, None, due)
    assert submitted is not None
    assert submitted.run.request.slot == 0
    assert [slot.number for slot in await ports.slots.held("app")] == [0]


# --- the list -----------------------------------------------------------------------------------------


async def listed(ports: Ports) -> list[ListedRun]:
    return (await ports.index.runs("app", None, 9, statuses=(), agent=None))[0]


@pytest.mark.parametrize(
    ("before", "after", "reads"),
    [
        ({}, {}, 0),
        ({}, {"phase": pending()}, 1),
        ({"phase": pending()}, {"phase": OVER}, 0),  # written over whatever is there
        ({"phase": pending()}, {"phase": pending("resp_2")}, 0),
    ],
)
async def test_when_the_list_s_row_is_read_before_a_change(
    ports: Ports, tables: MemoryTables, before: dict[str, Any], after: dict[str, Any], reads: int
) -> None:
    run = a_run(**before)
    listing = await ports.index.list_hidden(run)
    seen: list[str] = []

    async def note(operation: str, *_: object) -> None:
        seen.append(operation)

    tables.before = note
    found = await before_change(ports, Stored(run, "e"), a_run(**after))
    assert (found is not None, len(seen)) == (bool(reads), reads)
    assert await before_change(ports, Stored(run, "e", listing), a_run(**after)) == listing
    assert len(seen) == reads
    tables.fail_next(StoreUnavailable("gone"))
    assert await before_change(ports, Stored(run, "e"), a_run(phase=pending())) is None


@pytest.mark.parametrize(
    ("before", "after", "status", "writes"),
    [
        ({}, {}, None, 0),
        ({}, {"phase": pending()}, RunStatus.IN_PROGRESS, 1),
        ({"phase": pending()}, {"phase": OVER}, RunStatus.COMPLETED, 1),
        ({"phase": OVER}, {"phase": OVER}, None, 0),
        ({"phase": OVER}, {"phase": OVER, "usage": Usage(total_tokens=7)}, RunStatus.COMPLETED, 1),
        ({"phase": OVER}, {"phase": TOMB}, None, 1),
        ({"phase": TOMB}, {"phase": TOMB}, None, 0),
    ],
)
async def test_what_the_list_shows_after_a_change(
    ports: Ports,
    tables: MemoryTables,
    before: dict[str, Any],
    after: dict[str, Any],
    status: RunStatus | None,
    writes: int,
) -> None:
    run = a_run(**after)
    listing = await ports.index.list_hidden(run)
    seen: list[str] = []

    async def note(operation: str, *_: object) -> None:
        seen.append(operation)

    tables.before = note
    await after_change(ports, a_run(**before), run, listing)
    tables.before = None
    assert seen == ["commit"] * writes
    assert [each.status for each in await listed(ports)] == ([] if status is None else [status])
    assert await after_change(ports, a_run(), a_run(phase=pending()), None) is None


async def test_what_the_list_cannot_be_written_is_left_to_others(
    ports: Ports, tables: MemoryTables, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dormouse")
    stored = await put(ports, a_run(phase=pending()))
    run = stored.value
    old = await ports.index.list_hidden(run)
    await ports.index.list_hidden(run)
    made = await after_change(ports, a_run(), run, old)  # another has written it since: shown as the row now is
    assert (made is not None and made.status) is RunStatus.IN_PROGRESS
    assert "another call has written its list's row" in caplog.text
    tables.fail_next(StoreUnavailable("gone"))
    assert await after_change(ports, a_run(), run, made) is None
    assert "its list's row is not written" in caplog.text
    assert await after_change(ports, run, a_run(phase=OVER), made) is not None


async def test_a_submitted_run_is_shown_whatever_is_known_of_its_row(ports: Ports, tables: MemoryTables) -> None:
    stored = await put(ports, a_run(phase=pending()))
    listing = await ports.index.list_hidden(stored.value)
    for known in (listing, None, listing):
        seen = await shown(ports, replace(stored, listing=known))
        assert is_shown(RunStatus.IN_PROGRESS, seen.listing)
    assert await shown(ports, seen) is seen, "nothing to write"
    tables.fail_next(StoreUnavailable("gone"))
    assert (await shown(ports, replace(stored, listing=None))).listing is None
    gone = Stored(a_run(phase=TOMB), "e", listing)
    assert await shown(ports, gone) is gone


async def test_a_list_is_repaired_from_the_run_s_row(ports: Ports) -> None:
    assert await ensure_listed(ports, RUN, None) is None
    stored = await put(ports, a_run(phase=pending()))
    place = ports.index.list_row_of(stored.value)
    made = await ensure_listed(ports, RUN, None)
    assert made == await ports.index.listing(place)
    assert await ensure_listed(ports, RUN, RunStatus.IN_PROGRESS, place) == made
    assert await ensure_listed(ports, RUN, RunStatus.COMPLETED, place) == made, "as its row says, not the caller"
    await ports.runs.save(stored, replace(stored.value, phase=TOMB))
    assert await ensure_listed(ports, RUN, RunStatus.COMPLETED, place) is None


@pytest.mark.parametrize(
    ("status", "listing", "result"),
    [
        (RunStatus.COMPLETED, None, False),
        (RunStatus.COMPLETED, Listing(etag="e", status=RunStatus.COMPLETED), True),
        (RunStatus.COMPLETED, Listing(etag="e", status=RunStatus.FAILED), False),
        (RunStatus.COMPLETED, Listing(etag="e", status=None), False),
    ],
)
def test_when_a_list_is_known_to_show_a_status(status: RunStatus, listing: Listing | None, result: bool) -> None:
    assert is_shown(status, listing) is result


@pytest.mark.parametrize(("ended", "seconds"), [(None, None), (at(1.2345), 1.234), (at(-5), 0.0), (NOW, 0.0)])
def test_how_long_a_listed_run_took(ended: datetime | None, seconds: float | None) -> None:
    elapsed = Summary(created_at=NOW, completed_at=ended).elapsed_seconds
    assert elapsed == (None if seconds is None else pytest.approx(seconds, abs=0.0006))


def test_a_listed_run_belongs_to_its_session() -> None:
    assert ListedRun(id=RUN, status=RunStatus.QUEUED, agent="a", summary=Summary(created_at=NOW)).session_id == SESSION
    with pytest.raises(ValueError, match="not a run id"):
        _ = ListedRun(id="x", status=RunStatus.QUEUED, agent="a", summary=Summary(created_at=NOW)).session_id


@pytest.mark.parametrize("status", TERMINAL)
def test_what_a_list_is_to_show(status: RunStatus) -> None:
    ended = a_run(phase=replace(OVER, status=status))
    assert (list_status(ended), outcome(ended, NOW).to_list) == (status, status)
    gone = a_run(phase=replace(TOMB, status=status), entries=(an_entry(due=9),))
    assert (list_status(gone), outcome(gone, NOW).to_list) == (None, None)


# --- due rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [RUN, f"run_{SESSION}_17", ID, due_row_of(SESSION)])
def test_a_due_row_lies_in_the_partition_of_the_last_digit(name: str) -> None:
    assert due_rows._partition(name) == "f"


def test_what_is_no_subject_has_no_due_row() -> None:
    with pytest.raises(ValueError, match="not a run id"):
        due_rows._partition("x")


@pytest.mark.parametrize("value", [None, "x", b"x"])
def test_a_row_without_a_time_is_due_at_once(value: Any) -> None:
    assert moment_of(value).timestamp() == 0.0
    assert moment_of(NOW.timestamp()) == NOW


@pytest.mark.parametrize(
    ("announced", "now", "due", "dated"), [(0, 59, 999, 60), (0, 59, 30, 30), (0, 60, 999, 999), (0, 61, 30, 30)]
)
def test_nobody_dates_a_row_past_a_young_announcement(announced: float, now: float, due: float, dated: float) -> None:
    row = DueRow(run_id=RUN, due=NOW, announced_at=at(announced), etag="e")
    assert due_rows._not_past_announcement(row, at(due), at(now)) == at(dated)


def test_an_attempt_that_is_the_last_waits_for_nothing() -> None:
    assert NextStep(None).wait == 0.0


# --- submit -------------------------------------------------------------------------------------------

ITEMS = ({"type": "message", "role": "user", "content": "  \nHello\nthere"},)


def wanted(**fields: Any) -> Submission:
    return Submission(**{"owner": "app", "items": ITEMS, "agent": None, **fields})


def with_agent(ports: Ports, **settings: Any) -> Ports:
    """An agent that answers within its call, so that no submit asks its provider for anything."""
    agent = SimpleNamespace(background=False, models=frozenset(), streams=False, chains=True)
    return replace(with_settings(ports, **settings), agents=cast(Any, {"novelist": agent}))


@pytest.mark.parametrize(
    ("session", "fields", "error"),
    [
        (None, {}, errors.SessionNotFound),
        ({"owner": "another"}, {}, errors.SessionNotFound),
        ({"deleted_at": NOW}, {}, errors.SessionNotFound),
        ({"active_run": 1}, {}, errors.SessionBusy),
        ({}, {"previous": 2}, errors.PreviousResponseNotFound),
        ({}, {"agent": "other"}, errors.AgentMismatch),
    ],
)
async def test_which_session_takes_no_further_run(
    ports: Ports, session: dict[str, Any] | None, fields: dict[str, Any], error: type[Exception]
) -> None:
    if session is not None:
        await put(ports, a_run(phase=OVER), a_session(**session))
    with pytest.raises(error):
        await submit(with_agent(ports), wanted(session_id=SESSION, **fields))
    assert await ports.runs.load(run_id(SESSION, 2)) is None


@pytest.mark.parametrize(
    ("previous", "statuses", "latest"),
    [
        (1, "c", True),
        (1, "cf", True),
        (1, "cc", False),
        (2, "cc", True),
        (1, "c" + "f" * READS, True),
        (1, "c" + "f" * (READS - 1) + "c", False),
        (1, "c" + "f" * READS + "c", False),
    ],
)
async def test_a_run_follows_the_last_that_was_completed_in_its_session_and_any_other_in_a_branch(
    ports: Ports, previous: int, statuses: str, latest: bool
) -> None:
    words = {"c": RunStatus.COMPLETED, "f": RunStatus.FAILED}
    for number, letter in enumerate(statuses, start=1):
        await put(ports, a_run(number=number, phase=replace(OVER, status=words[letter])))
    asked = wanted(session_id=SESSION, previous=previous)
    if latest:
        run = (await submit(with_agent(ports), asked)).run
        assert (run.request.number, run.request.follows) == (len(statuses) + 1, previous)
    else:
        run = (await submit(with_agent(ports), asked)).run
        assert (run.request.number, run.request.follows, run.request.branch_of) == (1, previous, SESSION)


async def test_a_new_run_is_what_was_asked_for_and_the_app_s_own_for_the_rest(ports: Ports, clock: Clock) -> None:
    own = with_agent(ports, max_turns=5, max_tool_calls=7, max_total_tokens=100, deadline=50.0)
    run = (await submit(own, wanted())).run
    assert run.request.limits == Limits(turns=5, tool_calls=7, total_tokens=100)
    assert (run.schedule.deadline_at, run.request.background, run.request.title) == (at(50), True, "Hello")
    assert (run.request.agent, run.request.number, run.request.follows) == ("novelist", 1, None)
    asked = wanted(turns=2, tool_calls=3, total_tokens=9, deadline_seconds=20.0, title="T", background=False)
    run = (await submit(own, asked)).run
    assert run.request.limits == Limits(turns=2, tool_calls=3, total_tokens=9)
    assert (run.schedule.deadline_at, run.request.background, run.request.title) == (at(20), False, "T")
    stored = await ports.runs.load_session(run.request.session_id)
    assert stored is not None
    session = stored.value
    assert (session.active_run, session.next_number, session.last_activity, session.owner) == (1, 2, NOW, "app")
    assert await ports.runs.given_items(run) == list(ITEMS)


@pytest.mark.parametrize(
    ("chain", "learnt", "replay"),
    [
        ("auto", False, False),
        ("auto", True, True),
        ("chain", True, False),
        ("replay", False, True),
        ("replay", True, True),
    ],
)
async def test_whether_the_next_run_of_a_session_is_sent_as_a_whole(
    ports: Ports, chain: str, learnt: bool, replay: bool
) -> None:
    await put(ports, a_run(phase=OVER), a_session(replay=learnt, response_id="resp_1"))
    run = (await submit(with_agent(ports, chain=chain), wanted(session_id=SESSION))).run
    assert (run.chain.replay, run.chain.last_response_id) == (replay, "resp_1")


async def test_a_key_gives_its_run_its_age_and_its_place(ports: Ports, clock: Clock) -> None:
    record = KeyRecord(digest="d" * 64, payload="p", session_id=SESSION, number=1, created_at=at(-30))
    run = new_run(with_agent(ports), wanted(), "novelist", None, record)
    assert (run.id, run.request.fingerprint, run.request.created_at) == (RUN, "d" * 64, at(-30))
    assert (run.updated_at, run.schedule.deadline_at) == (NOW, at(ports.settings.deadline))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreUnavailable("gone"), "the store went away during submit"),
        (RowUnreadable("bad"), "is left to its wakes: bad"),
    ],
)
async def test_what_fails_after_the_run_is_written_changes_no_answer(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    asked: list[object] = []

    async def advance(*given: object, only: object) -> None:
        asked.append(only)
        raise error

    monkeypatch.setattr(submits, "advance", advance)
    agent = SimpleNamespace(background=True, models=frozenset(), streams=False, chains=True)
    submitted = await submit(replace(ports, agents=cast(Any, {"novelist": agent})), wanted())
    assert (submitted.run.status, asked) == (RunStatus.QUEUED, [frozenset({ActionKind.CREATE})])
    assert f"run {submitted.run.id}" in caplog.text
    assert said in caplog.text
    assert submitted.due is not None, "a sweep comes to it"


@pytest.mark.parametrize("tries", [1, 2, 3])
async def test_a_key_sent_again_is_one_run(ports: Ports, tries: int) -> None:
    own = with_agent(ports)
    ids = {(await submit(own, wanted(idempotency_key="k"))).run.id for _ in range(tries)}
    assert len(ids) == 1
    with pytest.raises(errors.IdempotencyKeyReused):
        await submit(own, wanted(idempotency_key="k", title="another"))


@pytest.mark.parametrize(
    ("items", "preview", "title"),
    [
        ([], "", ""),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "b", "b"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "a", "a"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"text": "b"}]}], "a b", "a b"),
        ([{"role": "user", "content": [{"type": "input_image"}, "x", {"text": 7}]}], "", ""),
        ([{"role": "user", "content": None}], "", ""),
        ([{"role": "user", "content": " \n \n b \nc"}], " \n \n b \nc", "b"),
        ([{"role": "user", "content": "x" * 300}], "x" * 200, "x" * 200),
    ],
)
def test_what_a_run_shows_of_its_input(items: list[dict[str, Any]], preview: str, title: str) -> None:
    assert preview_of(items) == preview
    assert title_of(preview) == title
