"""What the model answered is what the caller is told: every ending, over the whole stack. And what a session knows."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from tests.acceptance.conftest import Target

CALL = {"name": "work", "arguments": {"label": "a", "seconds": 0}}
ENDINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"text": "Fine."}, {"status": "completed", "text": "Fine.", "error": None, "incomplete_details": None}),
    ({}, {"status": "completed", "text": "", "error": None}),
    ({"refusal": "I would rather not."}, {"status": "completed", "text": "I would rather not."}),
    (
        {"status": "incomplete", "text": "Once upon", "incomplete_reason": "content_filter"},
        {
            "status": "incomplete",
            "text": "Once upon",
            "incomplete_details": {"reason": "content_filter"},
            "error": None,
        },
    ),
    (
        {"status": "failed", "error": {"code": "invalid_prompt", "message": "Not this one."}},
        {"status": "failed", "text": "", "error": {"code": "invalid_prompt", "message": "Not this one."}},
    ),
    ({"status": "cancelled"}, {"status": "cancelled", "text": ""}),
]


async def script(target: Target, *turns: dict[str, Any]) -> str:
    """The words that let the model play these turns."""
    name = f"s{secrets.token_hex(6)}"
    await target.model.script(name, turns)
    return f"[script:{name}]"


async def story(target: Target, text: str, **fields: Any) -> dict[str, Any]:
    """Submit to the workshop, and the run once it is terminal."""
    if "session_id" not in fields:
        fields["agent"] = "workshop"
    return await target.api.finished(await target.api.start(text, **fields))


@pytest.mark.main
async def test_every_ending_is_told_as_it_was(driver: str, target: Target) -> None:
    words = [await script(target, turn) for turn, _ in ENDINGS]
    runs = await asyncio.gather(*(story(target, each) for each in words))
    for run, (turn, told) in zip(runs, ENDINGS, strict=True):
        assert {name: run[name] for name in told} == told, turn
        assert run["completed_at"] is not None
        assert (run["wake_at"], run["retry_after"]) == (None, None)


@pytest.mark.main
async def test_usage_is_summed_over_the_turns(driver: str, target: Target) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    words = await script(target, {"calls": [CALL], "usage": usage}, {"text": "Done.", "usage": usage})
    run = await story(target, words)
    assert (run["status"], run["turn"]) == ("completed", 2)
    assert run["usage"].items() >= {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}.items()


@pytest.mark.main
async def test_a_second_run_of_a_session_knows_what_was_said(driver: str, target: Target) -> None:
    first = await story(target, "My name is Ada.")
    second = await story(target, "What is my name?", session_id=first["session_id"])
    assert second["session_id"] == first["session_id"]
    assert "Before that I heard 1 earlier user message." in second["text"]


async def test_runs_that_did_not_complete_leave_the_session_where_it_was(driver: str, target: Target) -> None:
    good = await script(target, {"text": "Fine."})
    first = await story(target, good)
    session = {"session_id": first["session_id"]}
    failing = await script(target, {"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}})
    halfway = await script(target, {"status": "incomplete", "text": "Fi"})
    assert (await story(target, failing, **session))["status"] == "failed"
    assert (await story(target, halfway, **session))["status"] == "incomplete"
    stuck = await target.api.start(await script(target, {"stuck": True}), **session)
    assert (await target.api.cancel(stuck))["status"] == "cancelled"
    last = await story(target, good, **session)
    assert last["status"] == "completed"
    (begin,) = await target.model.creates(run=first["id"])
    (end,) = await target.model.creates(run=last["id"])
    assert (end.body or {})["previous_response_id"] == begin.response_id


async def test_tool_outputs_that_cannot_be_chained_are_replayed(driver: str, target: Target) -> None:
    words = await script(target, {"reasoning": "Hm.", "calls": [CALL]}, {"text": "Done.", "echo": True})
    await target.model.switches(azure_tool_outputs=True)
    try:
        run = await story(target, words)
        assert run["status"] == "completed", run["error"]
        assert "worked on a" in run["text"]
        again = await story(target, "And now?", session_id=run["session_id"])
        assert "Before that I heard 1 earlier user message." in again["text"]
    finally:
        await target.model.switches(azure_tool_outputs=False)
    assert [call["starts"] for call in run["tool_calls"]] == [1]
    creates = [each for each in await target.model.log("create") if each.metadata.get("run") == run["id"]]
    assert [each.accepted for each in creates] == [True, False, True]
    replayed = (creates[-1].body or {})["input"]
    assert [item["type"] for item in replayed] == ["message", "function_call", "function_call_output"]
    assert not any("id" in item for item in replayed)
