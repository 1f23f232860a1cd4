"""An owner's active runs: never more than allowed, and no slot lost, whatever races or crashes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from shared import errors
from shared.runs.actions.admission import ABSENT_FOR, COMMIT_WITHIN, is_stale, seconds_until_next_wake
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.commands.submission import Submitted
from shared.runs.model.ids import run_id
from shared.runs.model.phases import Creating, Ended, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.store.rows import decode
from shared.runs.store.slots import Slot
from shared.runs.store.tables import Change, Row, StoreUnavailable, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import FailAt, Killed
from tests.unit.runs.records import NOW, SESSION, TERMINAL, a_run, at

GRACE = ABSENT_FOR.total_seconds() + 1.0


def slots(rig: Rig) -> list[Row]:
    return [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("active:")]


def active(rig: Rig) -> list[str]:
    """The runs that are active, by their rows."""
    runs = [decode(Run, row.values) for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")]
    return [run.id for run in runs if not run.terminal]


def everything(rig: Rig) -> list[tuple[str, str]]:
    return [(row.key, row.etag) for table in Table for row in rig.tables.rows(table)]


async def limited(rigs: NewRig, most: int = 1, **settings: Any) -> Rig:
    rig = await rigs(max_active_runs=most, **settings)
    await rig.model.script("s", [{"text": "done"}])
    return rig


async def test_one_run_too_many_is_refused_and_writes_nothing(rigs: NewRig) -> None:
    rig = await limited(rigs, most=2)
    await rig.submit(idempotency_key="a")
    await rig.submit()
    before = everything(rig)
    for key in (None, "b"):
        with pytest.raises(errors.TooManyActiveRuns) as caught:
            await rig.submit(idempotency_key=key)
        assert caught.value.headers == {"Retry-After": "2"}
        assert caught.value.details == {"limit": 2}
    assert everything(rig) == before


async def test_another_owner_has_an_allowance_of_their_own(rigs: NewRig) -> None:
    rig = await limited(rigs)
    await rig.submit(owner="ann")
    assert (await rig.submit(owner="bob")).run.request.owner == "bob"


async def test_without_the_setting_there_is_no_limit_and_no_row(rig: Rig) -> None:
    for _ in range(5):
        await rig.submit()
    assert slots(rig) == []


async def test_a_key_whose_run_is_there_is_never_refused(rigs: NewRig) -> None:
    rig = await limited(rigs)
    first = await rig.submit(idempotency_key="k")
    assert (await rig.submit(idempotency_key="k")).run.id == first.run.id
    await rig.finish(first.run.id)
    await rig.submit()
    assert (await rig.submit(idempotency_key="k")).run.status is RunStatus.COMPLETED


async def test_a_run_that_has_ended_leaves_its_slot_to_the_next(rigs: NewRig) -> None:
    rig = await limited(rigs)
    session = None
    for _ in range(3):
        run = await rig.finish(await rig.start(session_id=session) if session else await rig.start())
        session = run.request.session_id
        assert slots(rig) == []
    await rig.submit()
    with pytest.raises(errors.TooManyActiveRuns):  # the next run of a session counts like any
        await rig.submit(session_id=session)


@pytest.mark.parametrize("how", ["cancel", "delete_run", "delete_session"])
async def test_a_run_that_is_stopped_leaves_its_slot_at_once(rigs: NewRig, how: str) -> None:
    rig = await limited(rigs)
    run = (await rig.submit()).run
    if how == "cancel":
        await cancel(rig.app.ports, run.id)
    elif how == "delete_run":
        await delete_run(rig.app.ports, run.id)
    else:
        await delete_session(rig.app.ports, run.request.session_id)
    assert slots(rig) == []
    assert (await rig.submit()).run.id != run.id


async def test_an_end_whose_slot_was_not_given_back_is_found_when_it_is_needed(rigs: NewRig) -> None:
    rig = await limited(rigs, most=2)
    runs = [(await rig.submit()).run.id for _ in range(2)]

    async def gone(operation: str, table: Table, partition: str | None, _c: Sequence[Change]) -> None:
        if table is Table.INDEX and str(partition).startswith("active:"):
            raise StoreUnavailable("gone")

    rig.tables.before = gone
    for run in runs:
        await cancel(rig.app.ports, run)
    rig.tables.before = None
    assert len(slots(rig)) == 2
    later = [(await rig.submit()).run.id for _ in range(2)]
    assert sorted(active(rig)) == sorted(later)
    assert len(slots(rig)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 3])
async def test_of_many_submits_at_once_as_many_are_taken_as_are_allowed(rigs: NewRig, most: int) -> None:
    rig = await limited(rigs, most=most)
    peak = 0

    async def count(_o: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        nonlocal peak
        peak = max(peak, len(active(rig)))

    rig.tables.after = count
    for _ in range(3):
        answers = await asyncio.gather(*(rig.submit() for _ in range(12)), return_exceptions=True)
        taken = [answer for answer in answers if isinstance(answer, Submitted)]
        assert len(taken) == most
        assert all(isinstance(each, Submitted | errors.TooManyActiveRuns) for each in answers)
        for each in taken:
            await rig.finish(each.run.id)
    assert peak == most


async def test_the_same_key_many_times_at_once_takes_one_slot(rigs: NewRig) -> None:
    rig = await limited(rigs, most=12)
    answers = await asyncio.gather(*(rig.submit(idempotency_key="k") for _ in range(12)))
    assert len({answer.run.id for answer in answers}) == 1
    assert len(slots(rig)) == 1
    await rig.finish(answers[0].run.id)
    assert slots(rig) == []


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_a_key_sent_again_after_any_crash_keeps_its_slot_and_takes_no_second_one(
    rigs: NewRig, applied: bool
) -> None:
    rig = await limited(rigs, most=2)
    for step in range(1, 100):
        with FailAt(rig, at=step, applied=applied, error=Killed()) as trap, contextlib.suppress(Killed):
            await rig.submit(idempotency_key=f"key-{step}")
        again = await rig.submit(idempotency_key=f"key-{step}")
        assert active(rig) == [again.run.id]
        await rig.finish(again.run.id)
        rig.clock.move(GRACE)  # what died before it had its key held a slot for a run that nobody knows
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert step > 8


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_a_submit_that_crashed_and_is_not_repeated_loses_no_slot(rigs: NewRig, applied: bool) -> None:
    rig = await limited(rigs)
    for step in range(1, 100):
        with FailAt(rig, at=step, applied=applied, error=Killed()) as trap, contextlib.suppress(Killed):
            await rig.submit(idempotency_key=f"key-{step}")
        held, born = slots(rig), active(rig)
        if held:
            with pytest.raises(errors.TooManyActiveRuns):
                await rig.submit()
        rig.clock.move(GRACE)
        for run in born:
            assert (await rig.finish(run)).terminal
        later = (await rig.submit()).run
        assert active(rig) == [later.id]
        await rig.finish(later.id)
        assert slots(rig) == []
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert step > 8


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_submit_that_takes_too_long_commits_no_run_on_a_slot_that_may_be_anothers(
    rigs: NewRig, keyed: bool
) -> None:
    rig = await limited(rigs)
    key = "k" if keyed else None

    async def slow(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and table is Table.DUE:
            rig.clock.move(COMMIT_WITHIN.total_seconds() + 1.0)

    rig.tables.after = slow
    with pytest.raises(StoreUnavailable):
        await rig.submit(idempotency_key=key)
    rig.tables.after = None
    assert active(rig) == []
    rig.clock.move(GRACE)
    taken = await rig.submit()
    if keyed:
        with pytest.raises(errors.TooManyActiveRuns):
            await rig.submit(idempotency_key=key)
    assert active(rig) == [taken.run.id]


async def test_a_request_that_loses_its_session_gives_its_slot_back(rigs: NewRig) -> None:
    rig = await limited(rigs, most=2)
    session = (await rig.finish(await rig.start())).request.session_id
    answers = await asyncio.gather(*(rig.submit(session_id=session) for _ in range(2)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["SessionBusy", "Submitted"]
    assert len(slots(rig)) == 1


async def test_after_the_limit_was_lowered_the_runs_beyond_it_count(rigs: NewRig) -> None:
    rig = await limited(rigs, most=4)
    runs = [(await rig.submit()).run.id for _ in range(4)]
    lower = await limited(rigs, most=2)
    for run in runs[:2]:
        with pytest.raises(errors.TooManyActiveRuns):
            await lower.submit()
        await rig.finish(run)
    with pytest.raises(errors.TooManyActiveRuns):
        await lower.submit()
    await rig.finish(runs[2])
    await lower.submit()
    with pytest.raises(errors.TooManyActiveRuns):
        await lower.submit()
    await rig.finish(runs[3])
    await lower.submit()


async def test_a_run_that_this_version_cannot_read_keeps_its_slot(rigs: NewRig) -> None:
    rig = await limited(rigs)
    run = (await rig.submit()).run
    (row,) = (row for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:"))
    newer = Change(kind="merge", key=row.key, values={"schema": 99}, etag=row.etag)  # type: ignore[arg-type]
    await rig.tables.commit(Table.RUNS, run.request.session_id, [newer])
    rig.clock.move(GRACE)
    with pytest.raises(errors.TooManyActiveRuns):
        await rig.submit()


# --- decisions ----------------------------------------------------------------------------------------

SLOT = Slot(number=3, run_id=run_id(SESSION, 1), fingerprint="s", taken_at=NOW)
HOLDER = a_run(slot=3)
PARKED = WaitingForAnswers(answer_by=at(2), seconds_left=None)


@pytest.mark.parametrize(
    ("run", "seconds", "over"),
    [
        (HOLDER, 0, False),
        (HOLDER, 10**7, False),
        (a_run(slot=3, phase=PARKED), 10**6, False),
        *((a_run(slot=3, phase=Ended(status=status, completed_at=NOW)), 0, True) for status in TERMINAL),
        (a_run(slot=3, fingerprint="another"), 0, True),
        (a_run(slot=4), 0, True),
        (a_run(slot=None), 0, True),
        (None, ABSENT_FOR.total_seconds(), False),
        (None, GRACE, True),
    ],
)
def test_a_slot_is_over_when_its_run_is(run: Run | None, seconds: float, over: bool) -> None:
    assert is_stale(SLOT, run, NOW + timedelta(seconds=seconds)) is over


@pytest.mark.parametrize(
    ("wakes", "seconds"), [([], 60), ([at(4.2), at(9)], 5), ([at(-3)], 1), ([at(0)], 1), ([at(500)], 60)]
)
def test_who_is_refused_comes_again_when_something_may_have_ended(wakes: list[Any], seconds: int) -> None:
    waking = [a_run(phase=Creating(not_before=wake)) for wake in wakes]
    assert seconds_until_next_wake([*waking, a_run(phase=PARKED)], NOW) == seconds


def test_a_slot_outlasts_every_submit_that_may_yet_commit() -> None:
    assert timedelta(minutes=1) <= ABSENT_FOR - COMMIT_WITHIN
