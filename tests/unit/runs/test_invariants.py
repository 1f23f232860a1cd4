"""The invariants hold of an ordinary run at every moment, and each finds what it is for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from local.model.records import KnownResponse, LoggedRequest
from shared.agentkit.agent import ContinuationToken
from shared.drivers.sweep import sweep
from shared.runs.commands.answer import answer
from shared.runs.commands.delete import delete_run
from shared.runs.model.batch import Batch, Progress
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.facts import Approve
from shared.runs.model.outbox import CallbackState, Outbox
from shared.runs.model.phases import Ended, Pending, RunStatus, Scheduled
from shared.runs.model.run import Chain, Request, Run, Turn
from shared.runs.model.session import Session
from shared.runs.store.rows import encode
from shared.runs.store.tables import Change, Row, Table
from shared.settings import Settings
from tests.parts.invariants import ALWAYS, RULES, Seen, ToolStart, check, hold, read_rows
from tests.parts.receiver import Receiver
from tests.unit.runs.conftest import Rig
from tests.unit.runs.records import NOW, SESSION, a_run, a_session, at
from tests.unit.runs.test_batch import a_batch

RUN = f"run_{SESSION}_1"
KEY = f"{RUN}:1:0"
SOON = at(60)
SETTINGS = Settings(openai_api_key="k", app_name="unit")
CALLS = [{"name": "work", "arguments": {"label": "a"}}, {"name": "send", "arguments": {"label": "b"}}]


async def test_all_of_them_hold_of_an_ordinary_run_at_every_write(sending: Rig, receiver: Receiver) -> None:
    rig, tables = sending, sending.tables
    tables.written = []
    words = ["a private question"]

    async def seen(**more: Any) -> Seen:
        return Seen(
            now=rig.clock.now,
            settings=rig.app.settings,
            rows=await read_rows(tables),
            written=tables.written or (),
            responses=await rig.model.responses(),
            requests=await rig.model.log(),
            received=receiver.received,
            guarded=frozenset({"send"}),
            **more,
        )

    async def after(_o: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if changes:
            hold(await seen(), ALWAYS)

    tables.after = after
    await rig.model.script("s", [{"calls": CALLS}, {"text": "Fine."}])
    run_id = await rig.start("[script:s] a private question", callback_url=receiver.url)
    await rig.follow(run_id, lambda run: run.status is RunStatus.REQUIRES_ACTION)
    await rig.wake(run_id)  # the callback that it waits
    await answer(rig.app.ports, run_id, {(await rig.calls(run_id))[1].call_id: Approve(approve=True)})
    await rig.finish(run_id)
    rig.clock.move(120)
    await sweep(rig.app.ports, rig.driver())
    tables.after = None
    expected = {run_id: frozenset({RunStatus.COMPLETED})}
    hold(await seen(expected=expected, private={run_id: words}))
    assert [receipt.body["data"]["status"] for receipt in receiver.received] == ["requires_action", "completed"]

    assert await delete_run(rig.app.ports, run_id)
    for _ in range(3):  # what a wake does of the outbox blocks: one thing each
        await rig.wake(run_id)
    hold(await seen(private={run_id: words}))
    rig.clock.move(49 * 3_600)
    await rig.wake(run_id)
    await sweep(rig.app.ports, rig.driver())
    hold(await seen(private={run_id: words}, purged=frozenset({run_id})))


# --- each finds what it is for ------------------------------------------------------------------------


def batch_row(batch: Batch) -> Row:
    return Row(partition=batch.id, key="batch", etag="1", values=encode(batch))


def run_row(run: Run) -> Row:
    return Row(partition=SESSION, key=f"run:{run.request.number:08}", etag="1", values=encode(run))


def session_row(session: Session) -> Row:
    return Row(partition=SESSION, key="session", etag="1", values=encode(session))


def call_row(call: ToolCall) -> Row:
    return Row(
        partition=SESSION, key=f"tool:{call.number:08}:{call.turn:04}:{call.index:04}", etag="1", values=encode(call)
    )


def due_row(due: datetime = SOON) -> Row:
    values = {"due": due.timestamp(), "announced_at": NOW.timestamp()}
    return Row(partition=SESSION[-1], key=RUN, etag="1", values=values)


def list_row(status: str) -> Row:
    return Row(partition="owner:x", key=f"00000000000000:{RUN}:f", etag="1", values={"status": status})


def item_row(text: str = "[]") -> Row:
    return Row(partition=SESSION, key="item:00000001:000000", etag="1", values={"data": text, "data_part": ""})


def a_call(**changes: Any) -> ToolCall:
    call = ToolCall(session_id=SESSION, number=1, turn=1, index=0, call_id="c", name="send", arguments="{}")
    return replace(call, **changes)


def a_response(response_id: str, status: str, turn: int = 1) -> KnownResponse:
    return KnownResponse(
        id=response_id,
        status=status,
        script="s",
        turn=0,
        attempt=0,
        created_at=0.0,
        background=True,
        cancelled=False,
        deleted=False,
        forgotten=False,
        metadata={"run": RUN, "turn": str(turn), "attempt": "1"},
    )


def a_create(attempt: int, nonce: str, *, accepted: bool = True) -> LoggedRequest:
    said = {"run": RUN, "turn": "1", "attempt": str(attempt), "nonce": nonce}
    return LoggedRequest(time=0.0, method="POST", path="/", operation="create", accepted=accepted, metadata=said)


@dataclass(frozen=True)
class Receipt:
    webhook_id: str
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body


def a_receipt(event: str, status: str, *, timestamp: str = "t", run: str = RUN) -> Receipt:
    data = {"id": run, "object": "run", "status": status}
    raw = json.dumps({"type": f"run.{status}", "timestamp": timestamp, "data": data})
    return Receipt(webhook_id=f"msg_{run}_{event}", raw=raw.encode())


CREATING = a_run(chain=Chain(items=1))
PENDING = replace(CREATING, phase=Pending(token=ContinuationToken(response_id="resp_1"), next_look=at(2)))
ANOTHER = replace(CREATING, phase=Pending(token=ContinuationToken(response_id="resp_2"), next_look=at(2)))
LATER = a_run(start_at=NOW, deadline_at=None, phase=Scheduled(not_before=NOW, deadline_seconds=60.0))
DONE = replace(
    CREATING,
    phase=Ended(status=RunStatus.COMPLETED, completed_at=at(5)),
    chain=Chain(items=1, last_response_id="resp_1", response_ids=("resp_1",)),
)
FAILED = replace(DONE, phase=Ended(status=RunStatus.FAILED, completed_at=at(5)))
DELETED = replace(DONE, phase=Ended(status=RunStatus.COMPLETED, completed_at=at(5), deleted_at=at(9)))
AFTER = a_session(response_id="resp_1")


def told(run: Run, state: CallbackState | None = None) -> Run:
    request: Request = replace(run.request, callback_url="https://x.example")
    return replace(run, request=request, outbox=Outbox(callback_state=state))


def rows(*runs: Row, due: Sequence[Row] = (), listed: Sequence[Row] = ()) -> dict[Table, Sequence[Row]]:
    return {Table.RUNS: runs, Table.DUE: due, Table.INDEX: listed, Table.BATCHES: ()}


def seen_of(given: dict[Table, Sequence[Row]], *written: Run | ToolCall, **more: Any) -> Seen:
    states = [(Table.RUNS, run_row(each) if isinstance(each, Run) else call_row(each)) for each in written]
    return Seen(**{"now": at(10), "settings": SETTINGS, "rows": given, "written": states, **more})


def whole(run: Run, session: Session, *more: Row, due: Sequence[Row] = (), status: str = "") -> dict[Table, Any]:
    listed = [list_row(status or run.status.value)]
    return rows(session_row(session), run_row(run), item_row(), *more, due=due, listed=listed)


BROKEN = [
    ("terminal_is_terminal", seen_of(whole(DONE, AFTER), FAILED, DONE)),
    ("terminal_is_terminal", seen_of(whole(DONE, AFTER), DELETED, DONE)),
    (
        "one_response_at_a_time",
        seen_of(
            whole(ANOTHER, a_session(active_run=1), due=[due_row()]),
            CREATING,
            PENDING,
            ANOTHER,
            responses=[a_response("resp_1", "completed"), a_response("resp_2", "in_progress")],
        ),
    ),
    (
        "one_response_at_a_time",
        seen_of(
            whole(PENDING, a_session(active_run=1), due=[due_row()]),
            PENDING,
            responses=[a_response("resp_1", "in_progress", turn=2)],
        ),
    ),
    ("one_request_an_attempt", seen_of(whole(DONE, AFTER), requests=[a_create(1, "a"), a_create(1, "b")])),
    ("one_request_an_attempt", seen_of(whole(DONE, AFTER), requests=[a_create(1, "a"), a_create(2, "a")])),
    (
        "attempts_are_counted_and_bounded",
        seen_of(whole(replace(DONE, turn=Turn(attempt=1)), AFTER), requests=[a_create(2, "a")]),
    ),
    (
        "attempts_are_counted_and_bounded",
        seen_of(
            whole(replace(DONE, turn=Turn(attempt=30)), AFTER), requests=[a_create(n, str(n)) for n in range(1, 12)]
        ),
    ),
    (
        "attempts_are_counted_and_bounded",
        seen_of(
            whole(replace(CREATING, turn=Turn(unknown_outcomes=5)), a_session(active_run=1), due=[due_row()]),
        ),
    ),
    ("known_orphans_are_cancelled", seen_of(whole(DONE, AFTER), responses=[a_response("resp_1", "in_progress")])),
    ("known_orphans_are_cancelled", seen_of(whole(DONE, AFTER), responses=[a_response("resp_9", "in_progress")])),
    (
        "finished_tools_run_once",
        seen_of(
            whole(DONE, AFTER), a_call(starts=1), starts=[ToolStart(key=KEY, start=1), ToolStart(key=KEY, start=1)]
        ),
    ),
    (
        "finished_tools_run_once",
        seen_of(
            whole(DONE, AFTER),
            a_call(starts=2, state=CallState.FINISHED, finished_at=at(5)),
            starts=[ToolStart(key=KEY, start=1, at=at(4)), ToolStart(key=KEY, start=2, at=at(6))],
        ),
    ),
    (
        "finished_tools_run_once",
        seen_of(
            whole(DONE, AFTER),
            a_call(starts=2),
            starts=[ToolStart(key=KEY, start=1), ToolStart(key=KEY, start=2)],
            at_most_once=frozenset({"send"}),
        ),
    ),
    (
        "finished_tools_run_once",
        seen_of(whole(DONE, AFTER), a_call(state=CallState.FINISHED, result="a"), a_call(state=CallState.OPEN)),
    ),
    (
        "guarded_tools_run_when_approved",
        seen_of(
            whole(DONE, AFTER),
            a_call(approval=Approval.REFUSED),
            starts=[ToolStart(key=KEY, start=1)],
            guarded=frozenset({"send"}),
        ),
    ),
    ("later_runs_begin_once_and_in_time", seen_of(rows(), a_run(begun_at=at(1)))),
    (
        "later_runs_begin_once_and_in_time",
        seen_of(rows(), LATER, *(a_run(start_at=NOW, begun_at=at(seconds)) for seconds in (1, 2))),
    ),
    ("later_runs_begin_once_and_in_time", seen_of(rows(), a_run(start_at=at(9), begun_at=at(8)))),
    ("later_runs_begin_once_and_in_time", seen_of(rows(), replace(LATER, request=replace(LATER.request, slot=0)))),
    ("session_at_its_last_good_point", seen_of(whole(FAILED, AFTER))),
    ("session_at_its_last_good_point", seen_of(whole(DONE, a_session()))),
    ("one_active_run_a_session", seen_of(whole(DONE, replace(AFTER, active_run=1)))),
    ("one_active_run_a_session", seen_of(whole(CREATING, a_session(), due=[due_row()]))),
    (
        "one_body_and_id_an_event",
        seen_of(
            whole(DONE, AFTER),
            received=[a_receipt("completed", "completed"), a_receipt("completed", "completed", timestamp="u")],
        ),
    ),
    (
        "one_body_and_id_an_event",
        seen_of(
            whole(DONE, AFTER), received=[a_receipt("completed", "completed"), a_receipt("completed_2", "completed")]
        ),
    ),
    ("callbacks_tell_what_happened", seen_of(whole(DONE, AFTER), received=[a_receipt("failed", "failed")])),
    ("callbacks_arrive", seen_of(whole(told(DONE), AFTER))),
    ("callbacks_arrive", seen_of(whole(told(DONE, CallbackState.DELIVERED), AFTER))),
    ("every_row_has_somebody_who_looks", seen_of(whole(PENDING, a_session(active_run=1)))),
    (
        "every_row_has_somebody_who_looks",
        seen_of(whole(PENDING, a_session(active_run=1), due=[due_row(at(7_000))])),
    ),
    ("every_row_has_somebody_who_looks", seen_of(rows(item_row()))),
    ("every_row_has_somebody_who_looks", seen_of(whole(DONE, AFTER, status="in_progress"))),
    ("nothing_that_a_row_names_is_missing", seen_of(rows(session_row(AFTER), run_row(DONE)))),
    ("nothing_that_a_row_names_is_missing", seen_of(whole(replace(DONE, turn=Turn(calls=1)), AFTER))),
    (
        "nothing_that_a_row_names_is_missing",
        seen_of(
            rows(
                session_row(AFTER),
                run_row(DONE),
                replace(item_row(), values={"data": "beginning", "data_part": "00ff:1"}),
            )
        ),
    ),
    ("status_as_without_the_fault", seen_of(whole(FAILED, a_session()), expected={RUN: {RunStatus.COMPLETED}})),
    ("status_as_without_the_fault", seen_of(rows(), expected={RUN: {RunStatus.COMPLETED}})),
    ("everything_ends", seen_of(whole(CREATING, a_session(active_run=1), due=[due_row()]))),
    ("everything_ends", seen_of(whole(DONE, AFTER, due=[due_row()]))),
    ("lists_show_what_is", seen_of(whole(DONE, AFTER, status="in_progress", due=[due_row()]))),
    ("lists_show_what_is", seen_of(rows(session_row(AFTER), run_row(DONE), item_row()))),
    ("nothing_of_what_was_purged", seen_of(rows(session_row(AFTER), item_row()), purged=frozenset({RUN}))),
    ("nothing_of_what_was_purged", seen_of(rows(due=[due_row()]), purged=frozenset({SESSION}))),
    (
        "nothing_of_what_was_purged",
        seen_of(rows(), DONE, purged=frozenset({RUN}), responses=[a_response("resp_1", "completed")]),
    ),
    (
        "batch_counts_agree_with_results",
        seen_of({Table.BATCHES: [batch_row(a_batch(progress=Progress(cursor=2, completed=2)))]}),
    ),
    (
        "nothing_private_after_deletion",
        seen_of(rows(session_row(AFTER), run_row(DELETED), item_row("a secret")), private={RUN: ["secret"]}),
    ),
]


@pytest.mark.parametrize(("rule", "seen"), BROKEN, ids=[f"{name}-{index}" for index, (name, _) in enumerate(BROKEN)])
def test_each_finds_what_it_is_for(rule: str, seen: Seen) -> None:
    assert [each for each in check(seen, [RULES[rule]]) if each.rule == rule]


def test_each_has_something_that_it_finds() -> None:
    assert {name for name, _ in BROKEN} == set(RULES)


def test_what_is_right_breaks_none() -> None:
    hold(seen_of(whole(DONE, AFTER), CREATING, PENDING, DONE, responses=[a_response("resp_1", "completed")]))
    assert all(rule.sentence for rule in RULES.values())


def test_what_the_provider_itself_has_forgotten_is_no_orphan() -> None:
    forgotten = replace(a_response("resp_1", "in_progress"), forgotten=True)
    hold(
        seen_of(whole(DONE, AFTER), CREATING, PENDING, DONE, responses=[forgotten]),
        [RULES["known_orphans_are_cancelled"]],
    )
