"""Progress: what a tool says of itself is shown while it runs. And a tool's own timeout."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.acceptance.conftest import Target
from tests.acceptance.test_approvals import asking, outputs, script
from tests.parts.workshop import release

one_driver = pytest.mark.parametrize("driver", ["durable"])


def said(progress: dict[str, Any] | None) -> tuple[str, float | None] | None:
    """What a progress says, and how far it is."""
    return None if progress is None else (progress["message"], progress["fraction"])


@pytest.mark.main
async def test_progress_is_shown_while_the_tool_runs(driver: str, target: Target) -> None:
    assert target.stack is not None
    log, label = target.stack.tool_log, secrets.token_hex(4)
    text = await script(target.model, asking(("hold", label), ("work", "a")))
    run_id = await target.api.start(text, agent="workshop")
    for step in range(3):
        now = (f"{label}: step {step}", step / 4)
        run = await target.api.until(run_id, lambda run, now=now: said(run["progress"]) == now)  # type: ignore[misc]
        hold, work = run["tool_calls"]
        assert run["status"] == "in_progress"
        assert (hold["state"], said(hold["progress"]), hold["finished_at"]) == ("started", now, None)
        assert (run["progress"]["call_id"], run["progress"]["name"]) == (hold["call_id"], "hold")
        assert work["progress"] is None
        release(log, label, step)
    run = await target.api.finished(run_id)
    assert run["status"] == "completed", run
    assert said(run["tool_calls"][0]["progress"]) == (f"{label}: done", 1)  # said right before the end, and kept
    assert f"hold: held {label}" in run["text"]


@one_driver
async def test_progress_of_many_tools_from_threads_too(driver: str, target: Target) -> None:
    assert target.stack is not None
    log, labels = target.stack.tool_log, [secrets.token_hex(4) for _ in range(3)]
    text = await script(target.model, asking(*(("hold_in_a_thread", label) for label in labels)))
    run_id = await target.api.start(text, agent="workshop")
    everyone = [(f"{label}: in a thread", None) for label in labels]
    run = await target.api.until(run_id, lambda run: [said(call["progress"]) for call in run["tool_calls"]] == everyone)
    latest = max(run["tool_calls"], key=lambda call: call["progress"]["at"])
    assert run["progress"]["at"] == latest["progress"]["at"]
    release(log, labels[1])
    await target.api.until(
        run_id, lambda run: [call["state"] for call in run["tool_calls"]] == ["started", "finished", "started"]
    )
    release(log, labels[0])
    release(log, labels[2])
    assert (await target.api.finished(run_id))["status"] == "completed"


@one_driver
async def test_a_tool_s_own_timeout_is_told_to_the_model(driver: str, target: Target) -> None:
    text = await script(target.model, asking(("nap", "a"), ("work", "b")))
    run = await target.api.finished(await target.api.start(text, agent="workshop"))
    assert run["status"] == "completed", run
    nap, work = await outputs(target.model, run["id"])
    assert json.loads(nap["output"])["error"] == {
        "code": "tool_timeout",
        "message": "The tool did not finish within 0.3 seconds.",
    }
    assert work["output"] == "worked on b"
