"""The operator's calls: who may make them, what they show, and what they do to single runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from shared.api.native import ops, owners
from shared.api.native.ops_shapes import WatchedRow
from shared.errors import (
    BatchNotFound,
    DormouseError,
    InvalidOperatorKey,
    InvalidRequest,
    NotFound,
    RunNotFound,
    RunUnreadable,
)
from shared.runs.commands.delete import delete_session
from shared.runs.model.batch import BatchStatus
from shared.runs.model.journal import LineKind
from shared.runs.model.phases import RunStatus
from shared.runs.queries import watched
from shared.runs.store.tables import Change, Kind, StoreUnavailable, Table
from tests.unit.api.conftest import content, request
from tests.unit.runs import batches
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_sweep import ABSENT, CONFUSED, RecordingHub, break_row, sweep

KEY, OTHER = "o" * 32, "p" * 32
MINE = {"x-dormouse-operator-key": KEY}


@pytest.fixture(params=["durable", "timer"])
async def rig(rigs: NewRig, request: pytest.FixtureRequest) -> Rig:
    """A process with an operator, under each driver in turn."""
    made = await rigs(driver=request.param, operator_key=KEY)
    await made.model.script("s", [{"text": "Fine.", "think": 30}])
    return made


async def act(rig: Rig, action: str, subject: str, hub: RecordingHub | None = None) -> dict[str, Any]:
    """What an operator does to a run or a batch; the answer."""
    name = "batch_id" if subject.startswith("batch_") else "run_id"
    handler = ops.operate_batch if name == "batch_id" else ops.operate_run
    asked = request(headers=MINE, path={name: subject, "action": action})
    return content(await handler(asked, rig.app, rig.driver(hub or RecordingHub())))


async def listed(rig: Rig, name: str = "list_overdue", query: str = "") -> dict[str, Any]:
    return content(await getattr(ops, name)(request(headers=MINE, query=query), rig.app))


async def put(rig: Rig, name: str, body: Any) -> dict[str, Any]:
    return content(await getattr(ops, name)(request(body, headers=MINE), rig.app))


# --- who may ----------------------------------------------------------------------------------------------


CALLS: dict[str, Callable[[Request, Rig], Awaitable[Any]]] = {
    **{
        name: lambda asked, rig, name=name: getattr(ops, name)(asked, rig.app)  # type: ignore[misc]
        for name in ("list_overdue", "list_quarantined", "get_intake", "set_intake", "get_drain", "set_drain")
    },
    "export_owner": lambda asked, rig: owners.export_owner(asked, rig.app),
    "erase_owner": lambda asked, rig: owners.erase_owner(asked, rig.app, rig.driver(RecordingHub())),
    "operate_run": lambda asked, rig: ops.operate_run(asked, rig.app, rig.driver(RecordingHub())),
    "operate_batch": lambda asked, rig: ops.operate_batch(asked, rig.app, rig.driver(RecordingHub())),
}
WRONG = [{}, {"x-dormouse-operator-key": ""}, {"x-dormouse-operator-key": KEY[1:]}, {"x-functions-key": KEY}]
WRONG += [{"authorization": f"Bearer {KEY}"}, {"x-dormouse-operator-key": f"{KEY}, {KEY}"}]
IDS = {"run_id": ABSENT, "batch_id": f"batch_{'0' * 32}", "action": "end"}


@pytest.mark.parametrize("name", CALLS)
async def test_without_the_operators_key_no_call_does_anything(rigs: NewRig, name: str) -> None:
    rig = await rigs(operator_key=KEY)
    rig.tables.fail_next(AssertionError("it read before it knew who called"))
    for headers in WRONG:
        with pytest.raises(InvalidOperatorKey) as refused:
            await CALLS[name](request({"paused": True, "draining": True}, headers=headers, path=IDS), rig)
        assert refused.value.status == 401
        assert "x-dormouse-operator-key" in refused.value.message


@pytest.mark.parametrize("name", CALLS)
async def test_an_app_without_an_operator_has_no_such_calls(rigs: NewRig, name: str) -> None:
    rig = await rigs()
    for headers in (MINE, {}):
        with pytest.raises(NotFound):
            await CALLS[name](request({"paused": True}, headers=headers, path=IDS), rig)


async def test_while_a_key_is_changed_for_another_both_are_taken(rigs: NewRig) -> None:
    rig = await rigs(operator_key=f"{OTHER} {KEY}")
    for key in (KEY, OTHER):
        assert (await ops.get_intake(request(headers={"x-dormouse-operator-key": key}), rig.app)).status_code == 200


# --- what is overdue or put aside -------------------------------------------------------------------------


async def test_what_no_sweep_has_come_to_is_overdue_oldest_first(rig: Rig) -> None:
    runs = []
    for _ in range(3):
        runs.append(await rig.start())
        rig.clock.move(10)
    batch = (await batches.submit(rig, "[script:s]")).batch.id
    assert await listed(rig) == {"data": [], "watched": 4}
    rig.clock.move(2 * rig.app.settings.overdue + 60)
    found = await listed(rig)
    assert [each["id"] for each in found["data"]] == [*runs, batch]
    first, last = found["data"][0], found["data"][-1]
    assert (first["kind"], first["status"], first["agent"]) == ("run", "in_progress", "workshop")
    assert (last["kind"], last["status"], last["agent"]) == ("batch", "queued", "workshop")
    assert (first["readable"], first["overdue_sweeps"], first["quarantined"]) == (True, 0, None)
    assert first["wake_at"] < last["wake_at"]


async def test_what_a_sweep_has_found_overdue_is_there_with_how_often(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", [{"text": "Fine.", "think": 30}])
    older = await rig.start()
    rig.clock.move(65)
    younger = await rig.start()
    for _ in range(5):
        rig.clock.move(60)
        await sweep(rig)
    found = (await listed(rig))["data"]
    assert [each["id"] for each in found] == [older, younger]
    assert found[0]["overdue_sweeps"] > found[1]["overdue_sweeps"] > 0


async def test_a_list_comes_in_pages_that_leave_nothing_out(rig: Rig) -> None:
    runs = [await rig.start() for _ in range(5)]
    rig.clock.move(1_000)
    for _ in range(2):
        seen, query = [], "limit=2"
        while True:
            page = await listed(rig, query=query)
            seen += [each["id"] for each in page["data"]]
            if "next_cursor" not in page:
                break
            query = f"limit=2&cursor={page['next_cursor']}"
        assert sorted(seen) == sorted(runs)
        await sweep(rig)
        if rig.app.settings.driver == "timer":
            return
        rig.clock.move(1)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "cursor=x", "cursor=1:run_1", "cursor=-1.000000:" + ABSENT, "colour=red"]
)
async def test_a_query_that_means_nothing_is_refused(rigs: NewRig, query: str) -> None:
    rig = await rigs(operator_key=KEY)
    for name in ("list_overdue", "list_quarantined"):
        with pytest.raises(InvalidRequest):
            await listed(rig, name, query)


async def test_what_cannot_be_read_is_put_aside_with_the_reason_until_it_is_released(rig: Rig) -> None:
    run_id = await rig.start()
    sound = await break_row(rig, run_id, **CONFUSED)
    assert (await listed(rig, "list_quarantined"))["data"] == []
    rig.clock.move(400)
    await sweep(rig)
    (row,) = (await listed(rig, "list_quarantined"))["data"]
    assert (row["id"], row["readable"], row["status"], row["agent"]) == (run_id, False, None, None)
    assert "Run.phase" in row["quarantined"]
    with pytest.raises(RunUnreadable) as refused:
        await act(rig, "end", run_id)
    assert refused.value.status == 409
    released = await act(rig, "release", run_id)
    assert (released["quarantined"], released["readable"]) == (None, False)
    await sweep(rig)
    assert len((await listed(rig, "list_quarantined"))["data"]) == 1, "it still cannot be read"
    await break_row(rig, run_id, **sound)
    await act(rig, "release", run_id)
    await sweep(rig)
    assert (await listed(rig, "list_quarantined"))["data"] == []
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED


async def test_a_deletion_that_is_overdue_is_listed_too(rig: Rig) -> None:
    run = await rig.run_to_end()
    await delete_session(rig.app.ports, run.request.session_id)
    rig.clock.move(1_000)
    found = {each["id"]: each["kind"] for each in (await listed(rig))["data"]}
    assert found[f"session_{run.request.session_id}"] == "deletion"


async def test_a_due_row_whose_submit_was_cut_off_is_listed_without_a_status(rig: Rig) -> None:
    await rig.app.ports.due.put(ABSENT, rig.clock.now, rig.clock.now)
    rig.clock.move(1_000)
    (row,) = (await listed(rig))["data"]
    assert (row["id"], row["status"], row["readable"]) == (ABSENT, None, True)


# --- single runs and batches ------------------------------------------------------------------------------


async def test_a_run_is_ended_whoever_owns_it_and_its_timeline_says_by_whom(rig: Rig) -> None:
    run_id, hub = await rig.start(owner="user:ann"), RecordingHub()
    assert (await act(rig, "end", run_id, hub))["status"] == "cancelled"
    assert {each for _, each in hub.asked} == {run_id}, "its driver is to cancel the response"
    ended = next(line for line in (await rig.run(run_id)).journal.lines if line.kind is LineKind.ENDED)
    assert (ended.code, ended.by) == ("cancelled", "operator")
    assert (await act(rig, "end", run_id))["status"] == "cancelled"
    done = await rig.finish(run_id)
    hub = RecordingHub()
    assert (await act(rig, "end", done.id, hub))["status"] == "cancelled"
    assert hub.asked == [], "nothing is left to do"


async def test_a_run_that_has_ended_stays_as_it_was(rig: Rig) -> None:
    run = await rig.run_to_end()
    for action in ("wake", "release", "end"):
        assert (await act(rig, action, run.id))["status"] == "completed"


@pytest.mark.parametrize("action", ["wake", "release"])
async def test_a_driver_is_signalled(rig: Rig, action: str) -> None:
    run_id, hub = await rig.start(), RecordingHub()
    await act(rig, action, run_id, hub)
    signal = "wake" if rig.app.settings.driver == "durable" else "step"
    assert hub.asked == [(signal, run_id)]


async def test_a_released_run_goes_on_though_hub_and_due_row_are_lost(rig: Rig) -> None:
    run_id = await rig.start()
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    change = Change(kind=Kind.DELETE, key=run_id, etag=row.etag)
    await rig.tables.commit(Table.DUE, row.partition, [change])
    rig.clock.move(600)
    assert await sweep(rig) == {}
    assert (await act(rig, "release", run_id, RecordingHub(away=True)))["due_at"] is not None
    assert sum((await sweep(rig)).values()) == 1
    assert (await rig.app.ports.due.get(run_id)) is not None
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED


async def test_a_release_that_loses_a_race_is_made_again(rig: Rig) -> None:
    run_id = await rig.start()
    real, races = rig.app.ports.due.get, 0

    async def raced(subject: str) -> Any:
        nonlocal races
        row = await real(subject)
        if row is not None and races < 2:
            races += 1
            await rig.app.ports.due.announce(subject, rig.clock.now)
        return row

    rig.app.ports.due.get = raced  # type: ignore[method-assign]
    rig.clock.move(100)
    await act(rig, "release", run_id)
    row = await real(run_id)
    assert races == 2
    assert row.due <= rig.clock.now


async def test_a_batch_is_woken_released_and_ended_as_a_run_is(rig: Rig) -> None:
    batch = (await batches.submit(rig, "[script:s]", "[script:s]")).batch.id
    for action in ("wake", "release"):
        hub = RecordingHub()
        found = await act(rig, action, batch, hub)
        assert (found["kind"], found["status"]) == ("batch", "queued")
        assert {each for _, each in hub.asked} == {batch}
    assert (await act(rig, "end", batch))["status"] in (BatchStatus.CANCELLING, BatchStatus.CANCELLED)


async def test_what_is_not_there_is_not_found(rig: Rig) -> None:
    missing: list[tuple[str, type[DormouseError]]] = [(ABSENT, RunNotFound), (IDS["batch_id"], BatchNotFound)]
    for subject, error in missing:
        for action in ("wake", "release", "end"):
            with pytest.raises(error):
                await act(rig, action, subject)
    assert rig.tables.rows(Table.DUE) == []


async def test_a_storage_that_is_away_changes_nothing_and_is_told(rig: Rig) -> None:
    run_id = await rig.start()
    before = {table: rig.tables.rows(table) for table in Table}

    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    rig.tables.before = away
    for call in (
        lambda: listed(rig),
        lambda: put(rig, "set_intake", {"paused": True}),
        lambda: put(rig, "set_drain", {"draining": True}),
        *(lambda action=action: act(rig, action, run_id) for action in ("wake", "release", "end")),
    ):
        with pytest.raises(StoreUnavailable):
            await call()
    rig.tables.before = None
    assert {table: rig.tables.rows(table) for table in Table} == before


# --- intake and drain -------------------------------------------------------------------------------------


async def test_the_intake_is_shown_as_it_was_set(rig: Rig) -> None:
    opened = {"paused": False, "reason": None, "retry_after_seconds": 60, "since": None, "draining": False}
    assert content(await ops.get_intake(request(headers=MINE), rig.app)) == opened
    wanted = {"paused": True, "reason": "Back at noon.", "retry_after_seconds": 120}
    after = await put(rig, "set_intake", wanted)
    assert after == {**wanted, "since": "2026-03-01T12:00:00.000Z", "draining": False}
    assert content(await ops.get_intake(request(headers=MINE), rig.app)) == after
    await put(rig, "set_drain", {"draining": True})
    assert content(await ops.get_intake(request(headers=MINE), rig.app)) == {**after, "draining": True}
    rig.clock.move(7)
    since = "2026-03-01T12:00:07.000Z"
    assert await put(rig, "set_intake", {"paused": False}) == {**opened, "since": since, "draining": True}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"paused": "yes"},
        {"paused": 1},
        {"paused": True, "reason": ""},
        {"paused": True, "reason": "x" * 201},
        {"paused": True, "reason": "a\nb"},
        {"paused": True, "retry_after_seconds": 0},
        {"paused": True, "retry_after_seconds": 3_601},
        {"paused": True, "until": "noon"},
    ],
)
async def test_an_intake_that_means_nothing_is_refused(rigs: NewRig, body: dict[str, Any]) -> None:
    rig = await rigs(operator_key=KEY)
    with pytest.raises(InvalidRequest):
        await put(rig, "set_intake", body)
    with pytest.raises(InvalidRequest):
        await put(rig, "set_drain", {"draining": "no", **body})
    assert rig.tables.rows(Table.INDEX) == []


async def test_a_drain_is_shown_with_what_is_at_work(rig: Rig) -> None:
    still = {"draining": False, "since": None, "drained": False, "at_work": 0, "runs": [], "looked_at": 0}
    assert content(await ops.get_drain(request(headers=MINE), rig.app)) == {**still, "complete": True}
    await rig.start()
    after = await put(rig, "set_drain", {"draining": True})
    since = "2026-03-01T12:00:00.000Z"
    assert after == {**still, "draining": True, "since": since, "looked_at": 1, "complete": True}
    rig.clock.move(60)
    assert content(await ops.get_drain(request(headers=MINE), rig.app)) == {**after, "drained": True}


async def test_of_too_many_runs_it_is_not_said_that_nothing_is_at_work(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "MOST_LOOKED_AT", 2)
    for _ in range(3):
        await rig.start()
    await put(rig, "set_drain", {"draining": True})
    rig.clock.move(60)
    found = content(await ops.get_drain(request(headers=MINE), rig.app))
    assert (found["looked_at"], found["complete"], found["drained"]) == (2, False, False)


# --- what is written down ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ({}, "an unknown address"),
        ({"x-forwarded-for": "203.0.113.7"}, "203.0.113.7"),
        ({"x-forwarded-for": "10.0.0.1, 203.0.113.7:4711"}, "203.0.113.7:4711"),
        ({"x-forwarded-for": "[2001:db8::1]:80"}, "[2001:db8::1]:80"),
        ({"x-forwarded-for": "1.2.3.4 audit: %s"}, "an unknown address"),
    ],
)
async def test_each_call_that_changes_something_leaves_one_line(
    rigs: NewRig, caplog: pytest.LogCaptureFixture, forwarded: dict[str, str], address: str
) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()
    caplog.set_level(logging.INFO, "dormouse")
    caplog.clear()
    headers = {**MINE, **forwarded}
    bodies = {"set_intake": ({"paused": True, "reason": "secret plans"}, {"paused": False})}
    bodies["set_drain"] = ({"draining": True}, {"draining": False})  # type: ignore[assignment]
    for name, given in bodies.items():
        for body in given:
            await getattr(ops, name)(request(body, headers=headers), rig.app)
    for action in ("wake", "release", "end"):
        asked = request(headers=headers, path={"run_id": run_id, "action": action})
        await ops.operate_run(asked, rig.app, rig.driver(RecordingHub()))
    await ops.get_drain(request(headers=headers), rig.app)
    lines = [(each.levelname, each.getMessage()) for each in caplog.records if "audit:" in each.getMessage()]
    said = f"audit: an operator called from {address}:"
    assert lines == [
        ("WARNING", f"{said} pause the intake"),
        ("WARNING", f"{said} resume the intake"),
        ("WARNING", f"{said} drain the app"),
        ("WARNING", f"{said} end the drain of the app"),
        ("INFO", f"{said} wake {run_id}"),
        ("INFO", f"{said} release {run_id}"),
        ("WARNING", f"{said} end {run_id}"),
    ]
    assert KEY not in caplog.text
    assert "secret plans" not in caplog.text


def test_a_row_on_the_wire_has_every_field() -> None:
    shown = ops.watched_on_the_wire(watched.Watched(subject=ABSENT))
    assert shown.keys() == WatchedRow.__annotations__.keys()
