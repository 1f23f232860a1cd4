"""Exporting and erasing what is stored of an owner: all of it and nothing else, cut off and continued anywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from shared.agentkit.schedules import OwnSchedule
from shared.api.native import owners
from shared.errors import InvalidRequest, RunNotFound, SessionNotFound
from shared.runs.batches.cancel import cancel_batch
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.model.owners import OwnerPlace
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.owners.erase import erase
from shared.runs.queries import owners as queries
from shared.runs.queries.runs import run_of_owner
from shared.runs.queries.sessions import session_of_owner
from shared.runs.schedules.own import ensure_own, own_id
from shared.runs.store.owners import digest_of
from shared.runs.store.tables import Change, Kind, Table
from tests.unit.api.conftest import content, request
from tests.unit.runs import batches
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, interruptions
from tests.unit.runs.test_schedules import make, runs
from tests.unit.runs.test_sweep import CONFUSED, RecordingHub, break_row

KEY = "o" * 32
ANN, BOB = "user:ann", "principal:aad:ann/ü#?"


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    """A process with an operator."""
    made = await rigs(operator_key=KEY, max_active_runs=50)
    await made.model.script("s", [{"text": "Fine.", "think": 1}])
    await made.model.script("stuck", [{"stuck": True}])
    return made


async def export(rig: Rig, owner: str = ANN) -> list[dict[str, Any]]:
    """The pieces of all pages."""
    return [piece for page in await pages(rig, owner) for piece in page["data"]]


async def pages(rig: Rig, owner: str = ANN) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not found or "next_cursor" in found[-1]:
        body = {"owner": owner} | ({"cursor": found[-1]["next_cursor"]} if found else {})
        asked = request(body, headers={"x-dormouse-operator-key": KEY})
        found.append(content(await owners.export_owner(asked, rig.app)))
    return found


async def erased(rig: Rig, owner: str = ANN, hub: RecordingHub | None = None) -> dict[str, Any]:
    """What all calls add up to."""
    found, cursor = {"erased": Counter[str](), "remaining": Counter[str](), "failed": list[Any]()}, {}
    while True:
        asked = request({"owner": owner, **cursor}, headers={"x-dormouse-operator-key": KEY})
        page = content(await owners.erase_owner(asked, rig.app, rig.driver(hub or RecordingHub())))
        found["erased"].update(page["erased"])  # type: ignore[attr-defined]
        found["remaining"].update(page["remaining"])  # type: ignore[attr-defined]
        found["failed"] += page["failed"]  # type: ignore[operator]
        if "next_cursor" not in page:
            return {name: dict(each) if isinstance(each, Counter) else each for name, each in found.items()}
        cursor = {"cursor": page["next_cursor"]}


def kinds(pieces: list[dict[str, Any]]) -> Counter[str]:
    return Counter(each["kind"] for each in pieces)


async def of_run(rig: Rig, run: Run) -> list[dict[str, Any]]:
    return [each for each in await export(rig, run.request.owner) if each["id"] == run.id]


# --- the export -------------------------------------------------------------------------------------------


async def test_all_of_one_owner_is_exported_and_nothing_of_another(rig: Rig) -> None:
    mine = await rig.run_to_end("[script:s] my secret", owner=ANN, idempotency_key="k", title="My title")
    await rig.run_to_end("[script:s] go on", owner=ANN, session_id=mine.request.session_id)
    theirs = await rig.run_to_end("[script:s] their secret", owner=BOB, title="Their title")
    found = await export(rig)
    assert kinds(found) == {"session": 1, "run": 2, "items": 4}
    assert {each["within"] for each in found} == {mine.request.session_id}
    text = json.dumps(found)
    assert "my secret" in text
    assert "My title" in text
    assert "their" not in text
    assert theirs.id not in text
    run = next(each for each in found if each["kind"] == "run")
    assert (run["run"]["text"], run["run"]["status"]) == ("Fine.", "completed")
    assert run["request_key"]["sha256"] == mine.request.fingerprint
    assert run["provider_responses"] == [*mine.chain.response_ids]
    assert {each["kind"] for each in run["timeline"]} >= {"created", "ended"}
    assert kinds(await export(rig, BOB)) == {"session": 1, "run": 1, "items": 2}
    assert await export(rig, "user:an") == await export(rig, "user:ann2") == []


async def test_each_page_is_bounded_and_goes_on_inside_a_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        await rig.run_to_end(f"[script:s] {number}", owner=ANN)
    at_once = await export(rig)
    monkeypatch.setattr(owners, "PAGE_BYTES", 1)
    found = await pages(rig)
    assert max(len(page["data"]) for page in found) == 1
    assert [piece for page in found for piece in page["data"]] == at_once
    assert ["elsewhere" in page for page in found] == [False] * (len(found) - 1) + [True]
    assert {each["where"] for each in found[-1]["elsewhere"]} == {
        "provider",
        "task_hub",
        "callbacks",
        "logs",
        "backups",
    }
    monkeypatch.setattr(owners, "PAGE_BYTES", 10**9)
    monkeypatch.setattr(owners, "PAGE_SECONDS", 0.0)
    assert await export(rig) == at_once


async def test_a_run_that_is_active_waits_or_is_for_later_is_exported_as_it_stands(rig: Rig) -> None:
    await rig.start("[script:stuck]", owner=ANN)
    later = rig.clock.now.replace(year=rig.clock.now.year + 1, month=1)
    await rig.start("[script:s] later", owner=ANN, start_at=later)
    runs = [each["run"] for each in await export(rig) if each["kind"] == "run"]
    assert sorted(run["status"] for run in runs) == ["in_progress", "queued"]
    assert {run["start_at"] is None for run in runs} == {True, False}


async def test_tool_calls_and_long_texts_are_whole(rig: Rig) -> None:
    calls = [{"name": "write_much", "arguments": {"label": "x" * 40_000, "times": 1}}]
    await rig.model.script("much", [{"calls": calls}, {"text": "y" * 50_000}])
    run = await rig.run_to_end("[script:much]" + "z" * 60_000, owner=ANN)
    found = await of_run(rig, run)
    call = next(each["tool_call"] for each in found if each["kind"] == "tool_call")
    assert "x" * 40_000 in call["whole_arguments"]
    assert "x" * 40_000 in call["whole_result"]
    shown = next(each["run"] for each in found if each["kind"] == "run")
    assert shown["text"] == "y" * 50_000
    assert "z" * 60_000 in json.dumps(next(each["items"] for each in found if each["kind"] == "items"))


async def test_what_many_tools_gave_comes_in_pieces_and_goes_on_in_the_middle_of_them(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PART_BYTES", 20_000)
    monkeypatch.setattr(owners, "PAGE_BYTES", 1)
    calls = [{"name": "write_much", "arguments": {"label": f"{each}", "times": 10_000}} for each in range(6)]
    await rig.model.script("many", [{"calls": calls}, {"text": "Fine."}])
    run = await rig.run_to_end("[script:many]", owner=ANN)
    found = [each for each in await of_run(rig, run) if each["kind"] == "items"]
    assert [each["index"] for each in found] == [0, 1, 2, 2, 2, 3], "two of six a piece"
    assert [item for each in found for item in each["items"]] == await rig.items(run.id)


async def test_a_batch_is_exported_with_what_its_items_asked_for(rig: Rig) -> None:
    wanted = batches.asked("[script:s] one", "[script:s] two", key="b")
    wanted = replace(
        wanted,
        defaults=replace(wanted.defaults, owner=ANN),
        items=[replace(each, asked=replace(each.asked, owner=ANN)) for each in wanted.items],  # type: ignore[type-var]
    )
    submitted = await batches.submit_batch(rig.app.ports, wanted)
    found = await export(rig)
    assert kinds(found) == {"batch": 1, "batch_item": 2}
    assert {each["within"] for each in found} == {submitted.batch.id}
    assert [each["item"]["index"] for each in found if each["kind"] == "batch_item"] == [0, 1]
    assert "[script:s] two" in json.dumps([each.get("asked") for each in found])
    await cancel_batch(rig.app.ports, submitted.batch.id)
    assert (await erased(rig))["erased"]["batches"] == 1
    found = await export(rig)
    assert kinds(found) == {"being_deleted": 1}
    assert found[0]["id"] == submitted.batch.id


async def test_what_cannot_be_read_is_named_and_all_else_is_there(rig: Rig) -> None:
    one = await rig.run_to_end(owner=ANN)
    two = await rig.run_to_end(owner=ANN, session_id=one.request.session_id)
    await break_row(rig, one.id, **CONFUSED)
    found = await export(rig)
    assert [(each["id"], each["reason"]) for each in found if each["kind"] == "unreadable"] == [
        (one.id, "row_unreadable")
    ]
    assert {each["id"] for each in found if each["kind"] == "run"} == {two.id}
    done = await erased(rig)
    assert done["failed"] == [{"id": one.id, "reason": "row_unreadable"}]
    assert (done["erased"]["sessions"], done["erased"]["runs"]) == (1, 1)


async def test_without_the_encryption_key_what_it_hides_is_named(rigs: NewRig) -> None:
    secret = f"local:{base64.b64encode(b'k' * 32).decode()}"
    rig = await rigs(operator_key=KEY, encryption_key=secret)
    await rig.model.script("s", [{"text": "Fine."}])
    run = await rig.run_to_end("[script:s] secret", owner=ANN)
    assert "secret" in json.dumps(await export(rig))
    without = await rigs(operator_key=KEY)
    found = await export(without)
    assert [(each["kind"], each.get("reason")) for each in found] == [
        ("session", None),
        ("unreadable", "encryption_key_unavailable"),
    ]
    done = await erased(without)
    assert done["failed"] == [{"id": run.request.session_id, "reason": "encryption_key_unavailable"}]
    assert (await erased(rig))["failed"] == []


# --- the erasure ------------------------------------------------------------------------------------------


async def test_all_of_one_owner_is_erased_and_nothing_of_another(rig: Rig) -> None:
    ended = await rig.run_to_end(owner=ANN, idempotency_key="k")
    active = await rig.start("[script:stuck]", owner=ANN)
    theirs = [await rig.run_to_end(owner=BOB), await rig.run(await rig.start("[script:stuck]", owner=BOB))]
    hub = RecordingHub()
    done = await erased(rig, hub=hub)
    assert done["erased"] == {"sessions": 2, "runs": 2, "batches": 0, "schedules": 0, "keys": 1}
    assert done["remaining"] == {"tombstones": 4, "provider_copies": 2}
    assert (await rig.run(active)).status is RunStatus.CANCELLED
    for each in (ended.id, active):
        assert (await rig.run(each)).is_deleted
        with pytest.raises(RunNotFound):
            await run_of_owner(rig.app.ports, each, ANN)
    for run in theirs:
        assert (await run_of_owner(rig.app.ports, run.id, BOB)).status is run.status
    mine = {response for each in (ended.id, active) for response in (await rig.run(each)).chain.response_ids}
    for each in (ended.id, active) * 3:
        rig.clock.move(120)
        await rig.wake(each)
    again = await erased(rig)
    assert again["erased"] == dict.fromkeys(again["erased"], 0)
    assert again["remaining"] == {"tombstones": 4, "provider_copies": 0}
    assert {each.id for each in await rig.model.responses() if each.deleted} == mine


async def test_a_session_of_five_hundred_runs_and_five_hundred_of_one_are_erased(rig: Rig) -> None:
    first = await rig.run_to_end(owner=ANN)
    session = await rig.app.ports.runs.load_session(first.request.session_id)
    assert session is not None
    await _copies(rig, first, 500)
    for _ in range(30):
        await rig.run_to_end(owner=ANN)
    done = await erased(rig)
    assert done["erased"]["sessions"] == 31
    assert done["erased"]["runs"] == 530
    assert done["failed"] == []
    with pytest.raises(SessionNotFound):
        await session_of_owner(rig.app.ports, first.request.session_id, ANN)
    subject = f"session_{first.request.session_id}"
    for _ in range(40):
        rig.clock.move(61)
        await rig.run_activity(subject, RecordingHub())
    left = [row for row in rig.tables.rows(Table.RUNS) if row.values.get("text")]
    assert left == []


async def _copies(rig: Rig, run: Run, count: int) -> None:
    """The run as if its session had so many like it."""
    session_id = run.request.session_id
    rows = {row.key: row for row in rig.tables.rows(Table.RUNS, session_id)}
    for number in range(2, count + 1):
        for key, row in rows.items():
            if key == "session":
                continue
            made = json.loads(json.dumps(dict(row.values)).replace('\\"number\\":1', f'\\"number\\":{number}'))
            change = Change(kind=Kind.INSERT, key=key.replace("00000001", f"{number:08}", 1), values=made)
            await rig.tables.commit(Table.RUNS, session_id, [change])
    merge = Change(kind=Kind.MERGE, key="session", values={"next_number": count + 1}, etag=rows["session"].etag)
    await rig.tables.commit(Table.RUNS, session_id, [merge])


async def test_what_was_submitted_meanwhile_is_found_by_the_second_pass(rig: Rig) -> None:
    await rig.run_to_end(owner=ANN)
    late: list[str] = []
    done: Counter[str] = Counter()

    async def wake(_subject: str) -> None:
        if not late:
            # Its id sorts anywhere, so that the first pass may have been there already.
            late.extend([await rig.start("[script:stuck]", owner=ANN) for _ in range(12)])

    async for step in erase(rig.app.ports, ANN, OwnerPlace(), wake):
        done.update({each.value: count for each, count in step.erased.items()})
    assert done["sessions"] == 13
    assert [each for each in late if not (await rig.run(each)).is_deleted] == []


async def test_a_session_whose_deletion_is_under_way_and_runs_that_are_deleted_are_no_hindrance(rig: Rig) -> None:
    gone = await rig.run_to_end(owner=ANN)
    await delete_session(rig.app.ports, gone.request.session_id)
    single = await rig.run_to_end(owner=ANN)
    await delete_run(rig.app.ports, single.id)
    rig.clock.move(1)
    found = await export(rig)
    assert [(each["kind"], each["id"]) for each in found if each["kind"] == "being_deleted"] == [
        ("being_deleted", gone.request.session_id)
    ]
    assert [each["id"] for each in found if each["kind"] == "session"] == [single.request.session_id]
    done = await erased(rig)
    assert done["erased"] == {"sessions": 1, "runs": 0, "batches": 0, "schedules": 0, "keys": 0}


async def test_two_operators_who_erase_at_once_do_not_hinder_each_other(rig: Rig) -> None:
    runs = [(await rig.run_to_end(owner=ANN, idempotency_key=f"{number}")).id for number in range(12)]
    runs.append(await rig.start("[script:stuck]", owner=ANN))
    both = await asyncio.gather(erased(rig), erased(rig), export(rig))
    assert [each["failed"] for each in both[:2]] == [[], []]
    assert all([(await rig.run(each)).is_deleted for each in runs])
    again = await erased(rig)
    assert again["erased"] == dict.fromkeys(again["erased"], 0)


async def test_schedules_are_exported_and_erased_before_they_begin_another_run(rig: Rig) -> None:
    mine, theirs = await make(rig, owner=ANN, title="Mine"), await make(rig, owner=BOB)
    found = await export(rig)
    assert [(each["kind"], each["id"]) for each in found] == [("schedule", mine.id)]
    assert found[0]["schedule"]["title"] == "Mine"
    assert "each hour" in json.dumps(found[0]["asked"])
    driver = Driver(rig)
    done = await erased(rig, hub=driver)  # type: ignore[arg-type]
    assert done["erased"]["schedules"] == 1
    await driver.pass_time(7_500)
    assert {run.request.owner for run in runs(rig).values()} == {BOB}
    assert [row.key for row in rig.tables.rows(Table.DUE) if row.key.startswith("schedule_")] == [theirs.id]


async def test_a_schedule_that_stands_in_the_code_is_named_and_left(rig: Rig) -> None:
    own = OwnSchedule(cron="0 6 * * 1", input="[script:s]", name="weekly", owner=ANN)
    ports = replace(rig.app.ports, own_schedules=[("workshop", own)], own_due={})
    await ensure_own(ports)
    with_it = replace(rig, app=replace(rig.app, ports=ports))
    done = await erased(with_it)
    assert done["failed"] == [{"id": own_id("workshop", own), "reason": "agents_own"}]
    assert done["erased"]["schedules"] == 0
    # A version without it has it removed.
    assert (await erased(rig))["erased"]["schedules"] == 1


@interruptions
async def test_an_erasure_that_is_cut_off_anywhere_is_finished_by_the_next(
    rigs: NewRig, error: BaseException, applied: bool
) -> None:
    at = 0
    while True:
        at += 1
        rig = await rigs(operator_key=KEY, max_active_runs=50)
        rig.tables._rows.clear()
        await rig.model.script("s", [{"text": "Fine."}])
        await rig.model.script("stuck", [{"stuck": True}])
        runs = [(await rig.run_to_end(owner=ANN, idempotency_key="k")).id]
        runs.append(await rig.start("[script:stuck]", owner=ANN))
        with FailAt(rig, at=at, applied=applied, error=error) as failure:
            try:
                await erased(rig)
            except (type(error), Exception):
                pass
        assert (await erased(rig))["failed"] == []
        for each in runs:
            assert (await rig.run(each)).is_deleted
        again = await erased(rig)
        assert again["erased"] == dict.fromkeys(again["erased"], 0)
        assert [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("key:")] == []
        if not failure.sprung:
            break
    assert at > 10


# --- what is asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "owner", ["", "ann", "user:", "nobody:x", "user:a\n", "functions", "user:\x00", "x" * 2_000, 7]
)
async def test_an_owner_that_is_none_is_refused(rig: Rig, owner: Any) -> None:
    for call in (export, erased):
        with pytest.raises(InvalidRequest) as refused:
            await call(rig, owner)
        assert "owner" in str(refused.value.details), refused.value.details


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!",
        *(
            base64.urlsafe_b64encode(json.dumps(made).encode()).decode().rstrip("=")
            for made in (
                {},
                [],
                ["nowhere", None, "", 0, [0, 0, 0]],
                ["sessions", 1, "", 0, [0, 0, 0]],
                ["sessions", None, "", -1, [0, 0, 0]],
                ["sessions", None, "", 1, [0, 0]],
                ["sessions", "not json", "", 0, [0, 0, 0]],
            )
        ),
    ],
)
async def test_a_cursor_that_is_none_is_refused(rig: Rig, cursor: str) -> None:
    await rig.run_to_end(owner=ANN)
    headers = {"x-dormouse-operator-key": KEY}
    for call in (
        lambda asked: owners.export_owner(asked, rig.app),
        lambda asked: owners.erase_owner(asked, rig.app, rig.driver(RecordingHub())),
    ):
        with pytest.raises(InvalidRequest):
            await call(request({"owner": ANN, "cursor": cursor}, headers=headers))
    assert kinds(await export(rig))["session"] == 1


async def test_a_cursor_of_another_owner_shows_nothing_of_theirs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.run_to_end(owner=BOB)
    monkeypatch.setattr(owners, "PAGE_BYTES", 1)
    headers = {"x-dormouse-operator-key": KEY}
    for page in (await pages(rig, BOB))[:-1]:
        asked = request({"owner": ANN, "cursor": page["next_cursor"]}, headers=headers)
        assert content(await owners.export_owner(asked, rig.app))["data"] == []


async def test_each_call_is_written_down_without_the_owners_name(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.run_to_end(owner=ANN)
    with caplog.at_level(logging.INFO):
        await export(rig)
        await erased(rig)
    lines = [each.getMessage() for each in caplog.records if "audit:" in each.getMessage()]
    assert len(lines) == 2
    assert "export what is stored of the owner with SHA-256 " + digest_of(ANN) in lines[0]
    assert "erase what is stored of the owner with SHA-256 " + digest_of(ANN) in lines[1]
    assert ANN not in caplog.text
