"""A run that is to follow a given one: what the agent knows must be what it knew then."""

from __future__ import annotations

from typing import Any

import pytest

from shared import errors
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from tests.unit.runs.conftest import Rig


@pytest.fixture
async def begun(rig: Rig) -> Run:
    """A completed run, the first of its session."""
    await rig.model.script("s", [{"text": "done"}])
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    return await rig.run_to_end()


def after(run: Run, **more: Any) -> dict[str, Any]:
    return {"session_id": run.request.session_id, "previous": run.request.number, **more}


async def test_the_latest_is_followed_in_its_session_and_any_other_is_not(rig: Rig, begun: Run) -> None:
    second = await rig.run_to_end(**after(begun))
    assert (second.status, second.request.number) == (RunStatus.COMPLETED, 2)
    branch = await rig.run_to_end(**after(begun))
    assert (branch.request.number, branch.request.branch_of) == (1, begun.request.session_id)
    assert (await rig.run_to_end(**after(second))).request.number == 3


async def test_runs_that_left_no_trace_may_lie_between(rig: Rig, begun: Run) -> None:
    failed = await rig.run_to_end("[script:bad]", **after(begun))
    assert failed.status is RunStatus.FAILED
    cancelled = await rig.start(**after(begun))
    await cancel(rig.app.ports, cancelled)
    deleted = await rig.run_to_end(**after(begun))
    await delete_run(rig.app.ports, deleted.id)
    again = await rig.run_to_end(**after(begun))
    assert (again.status, again.request.number) == (RunStatus.COMPLETED, 5)


@pytest.mark.parametrize("number", [0, 2, 99_999_999])
async def test_a_run_that_is_not_there_is_followed_by_none(rig: Rig, begun: Run, number: int) -> None:
    with pytest.raises(errors.PreviousResponseNotFound):
        await rig.submit(session_id=begun.request.session_id, previous=number)


async def test_a_deleted_run_is_followed_by_none(rig: Rig, begun: Run) -> None:
    await delete_run(rig.app.ports, begun.id)
    with pytest.raises(errors.PreviousResponseNotFound):
        await rig.submit(**after(begun))


async def test_an_active_run_is_followed_by_none(rig: Rig, begun: Run) -> None:
    active = await rig.run(await rig.start(**after(begun)))
    with pytest.raises(errors.SessionBusy):
        await rig.submit(**after(active))


async def test_a_key_sent_again_is_the_same_run_though_the_session_has_moved_on(rig: Rig, begun: Run) -> None:
    asked = after(begun, idempotency_key="k")
    second = await rig.run_to_end(**asked)
    await rig.run_to_end(**after(second))
    assert (await rig.submit(**asked)).run.id == second.id
    with pytest.raises(errors.IdempotencyKeyReused):
        await rig.submit(**{**asked, "previous": 2})
