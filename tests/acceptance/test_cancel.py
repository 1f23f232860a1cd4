"""Cancel, at every moment of a run's life, twice each time: final here at once, and it reaches the provider."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target
from tests.parts.waiting import eventually


async def start(target: Target, *turns: dict[str, Any]) -> str:
    """Submit a run that plays these turns; its id."""
    name = f"s{secrets.token_hex(6)}"
    await target.model.script(name, turns)
    return await target.api.start(f"[script:{name}]", agent="workshop")


async def cancel_twice(target: Target, run_id: str, status: str = "cancelled") -> dict[str, Any]:
    """Cancel, and again: the same answer, and the run says the same."""
    first, again = await target.api.cancel(run_id), await target.api.cancel(run_id)
    assert (first.status, again.status) == (200, 200)
    assert (first["status"], again["status"]) == (status, status)
    assert first["completed_at"] == again["completed_at"]
    run = await target.api.run(run_id)
    assert (run["status"], run["completed_at"]) == (status, first["completed_at"])
    return run


async def at_the_provider(target: Target, *run_ids: str) -> list[str]:
    """The status of every response of these runs."""
    return [each.status for each in await target.model.responses() if each.metadata.get("run") in run_ids]


async def test_a_run_is_cancelled_before_it_has_started(driver: str, target: Target) -> None:
    await target.model.switches(unavailable=2)
    try:
        run_id = await start(target, {"text": "Never."})
        assert (await target.api.run(run_id))["status"] == "queued"
        await cancel_twice(target, run_id)
    finally:
        await target.model.switches(unavailable=None)
    later = await start(target, {"text": "Fine."})
    assert (await target.api.finished(later))["status"] == "completed"
    assert await target.model.creates(run=run_id) == []


@pytest.mark.main
async def test_a_run_is_cancelled_while_the_model_thinks(driver: str, target: Target) -> None:
    run_id = await start(target, {"stuck": True})
    run = await cancel_twice(target, run_id)
    assert run["error"] is None

    async def stopped() -> bool:
        return await at_the_provider(target, run_id) == ["cancelled"]

    await eventually(stopped)


@pytest.mark.main
async def test_a_run_is_cancelled_while_a_tool_runs(own_stack: Callable[..., Stack], driver: str) -> None:
    stack = own_stack(driver, DORMOUSE_TOOL_RENEWAL_SECONDS="2")
    host = stack.host()
    async with Api(host.url) as api:
        target = Target(api=api, stack=stack, host=host)
        calls = [{"name": "work", "arguments": {"label": label, "seconds": 1}} for label in ("a", "b")]
        long = {"name": "work", "arguments": {"label": "long", "seconds": 600}}
        run_id = await start(target, {"calls": [*calls, long]}, {"text": "Never."})
        await api.until(run_id, lambda run: [call["state"] for call in run["tool_calls"]].count("finished") == 2)
        run = await cancel_twice(target, run_id)
        assert sorted(call["state"] for call in run["tool_calls"]) == ["cancelled", "finished", "finished"]

        async def left_alone() -> bool:
            return "lost the lease" in host.log_path.read_text()

        await eventually(left_alone)
        assert (await api.run(run_id))["status"] == "cancelled"
        assert len(await target.model.creates(run=run_id)) == 1
        assert stack.traces("long", "end") == []


@pytest.mark.main
async def test_a_run_that_is_over_cannot_be_cancelled(driver: str, target: Target) -> None:
    endings: list[tuple[str, dict[str, Any]]] = [
        ("completed", {"text": "Fine."}),
        ("incomplete", {"text": "Fi", "status": "incomplete"}),
        ("failed", {"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}),
        ("cancelled", {"status": "cancelled"}),
    ]
    runs = [(status, await start(target, turn)) for status, turn in endings]
    for status, run_id in runs:
        before = await target.api.finished(run_id)
        assert await cancel_twice(target, run_id, status) == before
    assert [each for each in await target.model.log("cancel") if each.metadata.get("run") in dict(runs).values()] == []


async def test_a_response_that_completes_all_the_same_changes_nothing(driver: str, target: Target) -> None:
    run_id = await start(target, {"text": "Too late.", "think": 600, "late_completed": 0.3})
    await cancel_twice(target, run_id)

    async def completed() -> bool:
        return await at_the_provider(target, run_id) == ["completed"]

    await eventually(completed)
    run = await cancel_twice(target, run_id)
    assert (run["status"], run["text"]) == ("cancelled", "")


async def test_a_cancel_that_the_provider_does_not_take_is_repeated(driver: str, target: Target) -> None:
    runs = [
        await start(target, {"stuck": True, "faults": {"cancel": [{"status": status}]}}) for status in (400, 409, 500)
    ]
    for run_id in runs:
        assert (await target.api.cancel(run_id))["status"] == "cancelled"

    async def stopped() -> bool:
        return await at_the_provider(target, *runs) == ["cancelled"] * 3

    await eventually(stopped)
    for run_id in runs:
        assert (await target.api.run(run_id))["status"] == "cancelled"
