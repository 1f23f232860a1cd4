"""The main job: submit, think in the background, run tools, write the story."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target, both_drivers


@pytest.mark.main
@both_drivers
@pytest.mark.http_only
async def test_a_story_is_written_from_both_tools(driver: str, target: Target) -> None:
    reply = await target.api.submit("Write a story about the moons of Jupiter.")
    assert reply.status == 202
    assert reply.headers["Location"] == reply["url"]
    assert int(reply.headers["Retry-After"]) >= 1
    run = await target.api.finished(reply["id"])
    assert run["status"] == "completed", run["error"]
    assert "Olympus Mons is 22 km high" in run["text"]
    assert "Captain Ada Okafor" in run["text"]
    assert {call["name"] for call in run["tool_calls"]} == {"research_space_facts", "generate_character_profiles"}
    assert all(call["state"] == "finished" and call["starts"] == 1 for call in run["tool_calls"])
    assert run["turn"] == 2
    assert run["usage"]["total_tokens"] > 0
    assert run["wake_at"] is None


@pytest.mark.main
async def test_a_response_is_left_alone_until_its_first_look_is_due(
    own_stack: Callable[..., Stack], driver: str
) -> None:
    stack = own_stack(driver, DORMOUSE_POLL_FIRST_SECONDS="1")
    host = stack.host()
    await stack.model.script("s", [{"text": "Fine.", "think": 0.5}])
    async with Api(host.url) as api:
        run = await api.finished((await api.submit("[script:s]", agent="workshop"))["id"])
    assert run["text"] == "Fine."
    assert len(await stack.model.log("retrieve")) == 1
