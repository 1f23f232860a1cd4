"""A run that follows an older one begins a branch: what it knows, what it leaves alone, what may happen meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shared import errors
from shared.runs.actions import conversation
from shared.runs.commands import branching
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.store import runs
from shared.runs.store.tables import Row, Table
from tests.unit.runs.conftest import HeldCreate, NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, RunBefore, interruptions

LONG = "Hear all of this. " * 3_000


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    return await scripted(await rigs())


async def scripted(rig: Rig) -> Rig:
    await rig.model.script("one", [{"text": "First."}])
    await rig.model.script(
        "two", [{"calls": [{"name": "work", "arguments": {"label": "w"}}], "reasoning": "Hm."}, {"text": "Second."}]
    )
    await rig.model.script("three", [{"text": "Third."}])
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    await rig.model.script("stuck", [{"stuck": True}])
    return rig


def after(run: Run, **more: Any) -> dict[str, Any]:
    """To follow that run."""
    return {"session_id": run.request.session_id, "previous": run.request.number, **more}


async def said(rig: Rig, text: str, previous: Run | None = None, **more: Any) -> Run:
    """A run that completes."""
    run = await rig.run_to_end(f"[script:{text}]", **({} if previous is None else after(previous)), **more)
    assert run.status is RunStatus.COMPLETED
    return run


async def body(rig: Rig, run: Run) -> dict[str, Any]:
    """What the provider was sent for the run last."""
    return [each.body or {} for each in await rig.model.log("create") if each.metadata.get("run") == run.id][-1]


def words(request: dict[str, Any]) -> list[str]:
    """The messages of a request, and the kinds of its other items."""
    found = []
    for item in request["input"]:
        content = item.get("content", item["type"])
        found.append(content if isinstance(content, str) else content[0]["text"])
    return found


def partition(rig: Rig, run: Run) -> list[Row]:
    return [row for row in rig.tables.rows(Table.RUNS) if row.partition == run.request.session_id]


def branched(run: Run, previous: Run) -> bool:
    """Whether it began a branch there."""
    request = run.request
    assert request.follows == previous.request.number
    if request.session_id == previous.request.session_id:
        return False
    return (request.number, request.branch_of) == (1, previous.request.session_id)


async def replayed(rig: Rig, run: Run) -> list[str]:
    """What an ended run would be told without the provider's memory, and its answer."""
    anew = replace(run, chain=replace(run.chain, replay=True))
    return words({"input": await conversation.messages(rig.app.ports, anew, rig.app.ports.agents["workshop"])})


TWO = ["[script:two]", "function_call", "function_call_output", "Second."]


# --- what it knows ------------------------------------------------------------------------------------


async def test_an_older_run_is_followed_in_a_session_of_its_own(rig: Rig) -> None:
    first = await said(rig, "one")
    second = await said(rig, "two", first)
    assert not branched(second, first)
    before = partition(rig, first)
    branch = await said(rig, "three", first)
    assert branched(branch, first)
    assert partition(rig, first) == before, "the session that it leaves is untouched"
    request = await body(rig, branch)
    assert request["previous_response_id"] == first.chain.last_response_id
    assert words(request) == ["[script:three]"], "the provider knows the rest"
    onward = await said(rig, "one", branch)
    assert (onward.request.session_id, onward.request.number) == (branch.request.session_id, 2)
    assert (await body(rig, onward))["previous_response_id"] == branch.chain.last_response_id
    third = await said(rig, "three", second)
    assert (third.request.session_id, third.request.number) == (first.request.session_id, 3)


@pytest.mark.parametrize("chain", ["replay", "auto"])
async def test_a_branch_of_a_branch_knows_what_each_knew_until_then(rigs: NewRig, chain: str) -> None:
    rig = await scripted(await rigs(chain=chain))
    first = await said(rig, "one")
    second = await said(rig, "two", first)
    await said(rig, "three", second)
    branch = await said(rig, "three", second)
    onward = await said(rig, "one", branch)
    await said(rig, "one", onward)
    inner = await said(rig, "three", onward)
    innermost = await said(rig, "one", branch)
    assert all([branched(branch, second), branched(inner, onward), branched(innermost, branch)])
    last = await said(rig, "one", inner)
    # Without the provider's memory, it is told everything.
    for run in (first, branch):
        await delete_session(rig.app.ports, run.request.session_id)
    so_far = ["[script:one]", "First.", *TWO, "[script:three]", "Third.", "[script:one]", "First."]
    assert (await replayed(rig, last))[:-1] == [*so_far, "[script:three]", "Third.", "[script:one]"]
    if chain == "replay":
        assert words(await body(rig, inner)) == [*so_far, "[script:three]"]
        assert words(await body(rig, innermost)) == [*so_far[:8], "[script:one]"]
        assert "previous_response_id" not in await body(rig, inner)
    else:
        assert (await body(rig, inner))["previous_response_id"] == onward.chain.last_response_id


async def test_what_did_not_complete_is_no_part_of_it(rig: Rig) -> None:
    first = await said(rig, "one")
    failed = await rig.run_to_end("[script:bad]", **after(first))
    await said(rig, "two", first)
    branch = await said(rig, "three", failed)
    assert branched(branch, failed)
    assert (await body(rig, branch))["previous_response_id"] == first.chain.last_response_id
    # Where nothing completed before, there is nothing to share.
    alone = await rig.run_to_end("[script:bad]")
    await said(rig, "one", alone)
    branch = await said(rig, "three", alone)
    assert branched(branch, alone)
    assert branch.request.history == ()
    request = await body(rig, branch)
    assert ("previous_response_id" in request, words(request)) == (False, ["[script:three]"])


@pytest.mark.parametrize("chain", ["replay", "auto"])
async def test_a_branch_whose_first_run_failed_goes_on_from_where_it_began(rigs: NewRig, chain: str) -> None:
    rig = await scripted(await rigs(chain=chain))
    first = await said(rig, "one")
    await said(rig, "two", first)
    failed = await rig.run_to_end("[script:bad]", **after(first))
    assert branched(failed, first)
    again = await said(rig, "three", failed)
    assert (again.request.session_id, again.request.number) == (failed.request.session_id, 2)
    request = await body(rig, again)
    if chain == "auto":
        assert request["previous_response_id"] == first.chain.last_response_id
        assert words(request) == ["[script:three]"]
    else:
        assert words(request) == ["[script:one]", "First.", "[script:three]"]
    # From the failed run again, now that another has completed: the same beginning, by its copies.
    inner = await said(rig, "one", failed)
    assert branched(inner, failed)
    assert words(await body(rig, inner)) == ["[script:one]", "First.", "[script:one]"]


async def test_what_was_learnt_of_the_provider_is_known_in_the_branch(rig: Rig) -> None:
    await rig.model.switches(azure_tool_outputs=True)
    first = await said(rig, "one")
    second = await said(rig, "two", first)
    assert (await rig.session(second.id)).replay
    await said(rig, "three", second)
    branch = await said(rig, "three", second)
    assert (branched(branch, second), branch.chain.replay) == (True, True)
    assert (await rig.session(branch.id)).replay
    assert words(await body(rig, branch)) == ["[script:one]", "First.", *TWO, "[script:three]"]


# --- what may be followed -----------------------------------------------------------------------------


async def test_a_running_run_is_followed_by_none_and_an_older_one_by_a_branch(rig: Rig) -> None:
    first = await said(rig, "one")
    running = await rig.start("[script:stuck]", **after(first))
    with pytest.raises(errors.SessionBusy) as busy:
        await rig.submit(**after(await rig.run(running)))
    assert busy.value.details["active_run"] == running
    branch = await said(rig, "three", first)
    assert branched(branch, first)
    assert (await rig.run(running)).status is RunStatus.IN_PROGRESS
    await cancel(rig.app.ports, running)
    onward = await said(rig, "two", first)
    assert not branched(onward, first), "nothing has followed it that completed"


async def test_anothers_run_is_not_found_and_another_agent_is_none_of_the_conversation(rig: Rig) -> None:
    first = await said(rig, "one")
    await said(rig, "two", first)
    count = len(rig.tables.rows(Table.RUNS))
    with pytest.raises(errors.SessionNotFound):
        await rig.submit(**after(first, owner="another"))
    with pytest.raises(errors.AgentMismatch):
        await rig.submit(**after(first, agent="novelist"))
    await delete_run(rig.app.ports, first.id)
    with pytest.raises(errors.PreviousResponseNotFound):
        await rig.submit(**after(first))
    assert len(rig.tables.rows(Table.RUNS)) == count


# --- deletion -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["replay", "auto"])
async def test_a_branch_outlives_the_session_that_it_left(rigs: NewRig, chain: str) -> None:
    """Its provider's copies go too, and the provider then knows nothing to go on from."""
    rig = await scripted(await rigs(chain=chain))
    first = await said(rig, "one")
    second = await said(rig, "two", first)
    await said(rig, "three", second)
    await rig.model.script("late", [{"text": "Late.", "faults": {"create": [{"status": 429}]}}])
    late = await rig.start("[script:late]", **after(second))
    for each in await delete_session(rig.app.ports, first.request.session_id):
        await rig.follow(each, lambda run: len(run.outbox.entries) == 1)
    assert [each for each in partition(rig, first) if each.key.startswith(("item:", "part:"))] == []
    run = await rig.follow(late)
    assert run.status is RunStatus.COMPLETED
    assert words(await body(rig, run)) == ["[script:one]", "First.", *TWO, "[script:late]"]
    assert (await said(rig, "one", run)).request.number == 2


async def test_what_is_deleted_is_no_part_of_a_later_branch_not_even_by_the_providers_memory(rig: Rig) -> None:
    first = await said(rig, "one")
    second = await said(rig, "two", first)
    third = await said(rig, "three", second)
    await said(rig, "one", third)
    await delete_run(rig.app.ports, second.id)
    branch = await said(rig, "one", third)
    assert branched(branch, third)
    request = await body(rig, branch)
    assert "previous_response_id" not in request
    assert words(request) == ["[script:one]", "First.", "[script:three]", "Third.", "[script:one]"]


async def test_with_its_first_run_a_branch_loses_its_copies(rig: Rig) -> None:
    first = await said(rig, "one")
    await said(rig, "two", first)
    branch = await said(rig, "three", first)
    onward = await said(rig, "one", branch)
    assert [row for row in partition(rig, branch) if row.key.startswith("part:00000001")] != []
    await delete_run(rig.app.ports, branch.id)
    last = await said(rig, "three", onward)
    assert words(await body(rig, last)) == ["[script:one]", "First.", "[script:three]"]
    await rig.follow(branch.id, lambda run: len(run.outbox.entries) == 1)
    assert [row for row in partition(rig, branch) if ":00000001:" in row.key] == []
    assert (await rig.run(branch.id)).request.history == ()


# --- races, crashes, limits ---------------------------------------------------------------------------


async def test_two_that_follow_the_same_at_once_are_its_next_and_a_branch(rig: Rig) -> None:
    first = await said(rig, "one")
    held = HeldCreate(rig)
    asked = [asyncio.create_task(rig.submit("[script:three]", **after(first))) for _ in range(5)]
    held.released.set()
    found = [await rig.follow((await each).run.id) for each in asked]
    assert {run.status for run in found} == {RunStatus.COMPLETED}
    assert sorted(branched(run, first) for run in found) == [False, True, True, True, True]
    assert len({run.request.session_id for run in found}) == 5


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "key"])
async def test_whoever_is_faster_at_whatever_step_nothing_is_lost_or_refused(rig: Rig, key: str | None) -> None:
    for step in range(1, 100):
        first = await said(rig, "one")
        asked = after(first, idempotency_key=None if key is None else f"{key}-{step}")
        with RunBefore(rig, step, lambda: rig.submit("[script:three]", **after(first))) as race:  # noqa: B023
            mine = (await rig.submit("[script:three]", **asked)).run
        if not race.happened:
            break
        run = await rig.follow(mine.id)
        assert run.status is RunStatus.COMPLETED
        others = [row for row in partition(rig, first) if row.key.startswith("run:")]
        assert len(others) == 2, "one of both is the next of the session"
        if key is not None:
            assert (await rig.submit("[script:three]", **asked)).run.id == run.id
    assert step > 6
    await Driver(rig).pass_time(2 * 3_600)
    assert {row.partition for row in rig.tables.rows(Table.RUNS) if row.key.startswith("part:")} <= {
        row.partition for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")
    }


@pytest.mark.slow
@interruptions
async def test_a_branch_that_was_cut_off_anywhere_is_one_when_its_key_comes_again(
    rig: Rig, error: BaseException, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branching, "TOGETHER", 40)
    for step in range(1, 100):
        first = await said(rig, "one")
        second = await said(rig, "two", first)
        await said(rig, "three", second)
        asked = after(second, idempotency_key=f"key-{step}")
        before = {row.partition for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")}
        with FailAt(rig, at=step, applied=applied, error=error) as trap:
            try:
                await rig.submit("[script:three]", **asked)
            except type(error):
                pass
        mine = (await rig.submit("[script:three]", **asked)).run
        run = await rig.follow(mine.id)
        assert (run.status, branched(run, second)) == (RunStatus.COMPLETED, True)
        born = {row.partition for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")} - before
        assert born == {run.request.session_id}
        assert (await replayed(rig, run))[:-2] == ["[script:one]", "First.", *TWO]
        if not trap.sprung:
            break
    assert step > 12


@pytest.mark.slow
async def test_what_is_deleted_while_a_branch_copies_it_is_there_as_a_whole_or_not_at_all(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "ITEMS_A_PAGE", 1)
    outcomes = set()
    for step in range(1, 100):
        first = await said(rig, "one")
        second = await said(rig, "two", first)
        third = await said(rig, "three", second)
        await said(rig, "one", third)

        async def delete(run: Run = second) -> None:
            await delete_run(rig.app.ports, run.id)
            await rig.app.ports.runs.delete_rows(run)

        with RunBefore(rig, step, delete) as race:
            mine = (await rig.submit("[script:one]", **after(third))).run
        if not race.happened:
            break
        run = await rig.follow(mine.id)
        assert run.status is RunStatus.COMPLETED
        told = (await replayed(rig, run))[:-2]
        assert told in (
            ["[script:one]", "First.", *TWO, "[script:three]", "Third."],
            ["[script:one]", "First.", "[script:three]", "Third."],
        )
        outcomes.add(len(told))
    assert outcomes == {4, 8}
    assert step > 10


async def test_a_session_that_is_deleted_while_a_branch_copies_it_has_none(rig: Rig) -> None:
    for step in range(1, 100):
        first = await said(rig, "one")
        second = await said(rig, "two", first)
        await said(rig, "three", second)

        async def delete(run: Run = second) -> None:
            await delete_session(rig.app.ports, run.request.session_id)
            for each in (first, second):  # noqa: B023
                await rig.app.ports.runs.delete_rows(each)

        with RunBefore(rig, step, delete) as race:
            try:
                mine: Run | None = (await rig.submit("[script:one]", **after(second))).run
            except (errors.SessionNotFound, errors.PreviousResponseNotFound):
                mine = None
        if not race.happened:
            break
        if mine is not None:
            assert (await rig.follow(mine.id)).status is RunStatus.COMPLETED
    assert step > 10


async def test_a_long_conversation_is_copied_in_pieces_that_no_wake_reads(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branching, "TOGETHER", 50_000)
    first = await rig.run_to_end(f"[script:one] {LONG}")
    for _ in range(3):
        first = await rig.run_to_end(f"[script:one] {LONG}", **after(first))
    await said(rig, "two", first)
    branch = await said(rig, "three", first)
    assert len(branch.request.history) == 5
    (row,) = [row for row in partition(rig, branch) if row.key == "run:00000001"]
    assert len(str(dict(row.values))) < 10_000
    assert (await replayed(rig, branch))[:-2] == [f"[script:one] {LONG}", "First."] * 4


async def test_a_conversation_that_could_not_be_sent_anew_begins_no_branch(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await scripted(await rigs(max_active_runs=1))
    first = await rig.run_to_end(f"[script:one] {LONG}")
    await said(rig, "two", first)
    monkeypatch.setattr(branching, "MAX_REPLAYED", 50_000)
    count = len([row for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")])
    for _ in range(2):
        with pytest.raises(errors.ConversationTooLong):
            await rig.submit("[script:three]", **after(first, idempotency_key="k"))
    assert len([row for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")]) == count
    monkeypatch.undo()
    assert (await said(rig, "three", first, idempotency_key="k")).request.branch_of is not None, "key and slot are free"
    await Driver(rig).pass_time(2 * 3_600)
    assert rig.tables.rows(Table.DUE) == []


async def test_a_key_stands_for_its_branch_whatever_became_of_the_session(rig: Rig) -> None:
    first = await said(rig, "one")
    await said(rig, "two", first)
    asked = after(first, idempotency_key="k")
    branch = await rig.run_to_end("[script:three]", **asked)
    await delete_session(rig.app.ports, first.request.session_id)
    with pytest.raises(errors.IdempotencyKeyReused):
        await rig.submit("[script:one]", **asked)
    assert (await rig.submit("[script:three]", **asked)).run.id == branch.id


async def test_a_process_that_died_before_its_branch_leaves_nothing_behind(rig: Rig) -> None:
    first = await said(rig, "one")
    await said(rig, "two", first)
    before = len(rig.tables.rows(Table.RUNS))
    for step in range(4, 13):
        with FailAt(rig, at=step, applied=False, error=Killed()), pytest.raises(Killed):
            await rig.submit(LONG, **after(first))
    host = Driver(rig)
    await host.pass_time(2 * 3_600)
    sessions = {row.partition for row in rig.tables.rows(Table.RUNS) if row.key == "session"}
    assert {row.partition for row in rig.tables.rows(Table.RUNS)} == sessions
    assert len(rig.tables.rows(Table.RUNS)) >= before
