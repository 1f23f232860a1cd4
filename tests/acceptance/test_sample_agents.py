"""The sample agents as their users run them, with the scripts that the scripted model has for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target
from tests.acceptance.test_approvals import answer, asked, parked


async def filing(target: Target, subject: str, approve: bool, reason: str = "") -> dict[str, Any]:
    """A compliance run whose filing is approved or refused."""
    run_id = await target.api.start(f"Report on {subject}.", agent="compliance")
    run = await parked(target.api, run_id)
    (call,) = run["required_action"]["calls"]
    assert call["name"] == "file_report"
    assert "cannot be taken back" in call["reason"]
    assert subject in call["arguments"]
    assert run["tool_calls"][0]["state"] == "finished"
    assert (await answer(target.api, run_id, {call["id"]: (approve, reason)})).status == 200
    return await target.api.finished(run_id)


@pytest.mark.main
@pytest.mark.http_only
async def test_compliance_files_what_a_person_approves(driver: str, target: Target) -> None:
    filed, refused = await asyncio.gather(
        filing(target, "the payroll system", True), filing(target, "the archive", False, "The backups are fine by now.")
    )
    for run in (filed, refused):
        assert run["status"] == "completed", run
        areas = [finding["area"] for finding in run["output"]["findings"]]
        assert areas == ["access review", "backups", "encryption", "incident log"]
        assert {finding["severity"] for finding in run["output"]["findings"]} <= {"low", "medium", "high"}
    assert filed["output"]["filed"] is True
    assert filed["output"]["reference"].startswith("CR-")
    assert (refused["output"]["filed"], refused["output"]["reference"]) == (False, None)
    assert [call["approval"] for call in refused["tool_calls"]] == [None, "refused"]


async def test_compliance_shows_how_far_it_is(own_stack: Callable[..., Stack]) -> None:
    host = await asyncio.to_thread(own_stack(DORMOUSE_SAMPLE_TOOL_SECONDS="6").host)
    async with Api(host.url) as api:
        run_id = await api.start("Report on the payroll system.", agent="compliance")
        for area in ("backups", "encryption", "incident log"):
            words = f"reading {area} of Report on the payroll system."
            run = await api.until(run_id, partial(says, words))
            assert run["status"] == "in_progress"
            assert run["progress"]["name"] == "collect_records"
            assert 0 < run["progress"]["fraction"] < 1
        run = await parked(api, run_id)
        assert (run["progress"]["fraction"], len(asked(run))) == (1.0, 1)


def says(words: str, run: dict[str, Any]) -> bool:
    """Whether the run's progress says this."""
    return run["progress"] is not None and run["progress"]["message"] == words


@pytest.mark.http_only
async def test_the_analyst_searches_at_the_provider_and_looks_prices_up_here(driver: str, target: Target) -> None:
    run_id = await target.api.start(
        "What do you think of ACME shares?", agent="analyst", metadata={"audience": "beginner"}
    )
    run = await target.api.finished(run_id)
    assert run["status"] == "completed", run
    assert [(call["name"], call["starts"]) for call in run["tool_calls"]] == [("price_history", 1)]
    assert "An analysis" in run["text"]
    assert run["reasoning"] == []
    assert {(call["type"], call["turn"]) for call in run["hosted_calls"]} >= {("web_search_call", 1)}
    assert run["annotations"]
    for note in run["annotations"]:
        assert note["url"].startswith("https://")
        assert run["text"][note["start_index"] : note["end_index"]].strip()
    if target.stack is None:
        return
    first, second = await target.model.creates(run=run_id)
    for create in (first, second):
        assert create.body is not None
        assert {"type": "web_search"} in create.body["tools"]
        assert "for somebody who has never bought a share." in create.body["instructions"]
    assert second.body is not None
    (prices,) = second.body["input"]
    assert prices["output"] in run["text"]


@pytest.mark.main
@pytest.mark.http_only
async def test_the_agents_are_listed_with_what_they_need(driver: str, target: Target) -> None:
    data = (await target.api.call("GET", "/api/agents"))["data"]
    found = {agent["name"]: agent for agent in data}
    assert [agent["name"] for agent in data][:4] == ["novelist", "compliance", "analyst", "assistant"]
    assert [agent["name"] for agent in data if agent["default"]] == ["novelist"]
    assert {tool["name"]: tool["requires_approval"] for tool in found["compliance"]["tools"]} == {
        "collect_records": False,
        "file_report": True,
    }
    assert found["compliance"]["output"]["required"] == ["title", "findings", "filed", "reference"]
    assert found["analyst"]["output"] is None
    assert found["assistant"]["tools"] == []
