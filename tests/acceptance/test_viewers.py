"""Many who watch the same run, over the whole stack: one stream for all, and so many viewers as an owner may have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import aiohttp
import pytest

from tests.acceptance.conftest import CLIENT_KEYS, Stack
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]

STUCK = [{"think": 0.1, "text": "Once upon a time there was a dormouse. " * 4, "stuck": True}]
one_driver = pytest.mark.parametrize("driver", ["durable"])


@one_driver
async def test_an_owner_watches_so_many_times_over_one_stream_and_no_more(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver)
    host = stack.host(DORMOUSE_MAX_VIEWERS="3")
    await stack.model.script("s", STUCK)
    key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
    async with aiohttp.ClientSession(host.url) as http, contextlib.AsyncExitStack() as watching:
        asked = {"input": "[script:s]", "agent": "workshop", "stream": True}
        async with http.post("/api/runs", json=asked) as answer:
            path = f"/api/runs/{(await answer.json())['id']}"
        for _ in range(3):
            stream = await watching.enter_async_context(http.get(f"{path}/events"))
            assert stream.status == 200
            while not (await stream.content.readline()).startswith(b"event: delta"):
                pass
        followed = [entry for entry in await stack.model.log("retrieve") if "starting_after" in entry.query]
        assert len(followed) == 1

        for refused in (f"{path}/events", f"{path}?wait=20"):
            async with http.get(refused) as answer:
                assert (answer.status, (await answer.json())["code"]) == (429, "too_many_viewers")
                assert int(answer.headers["Retry-After"]) > 0
        async with http.get(path) as answer:
            assert answer.status == 200, "to look at it is no watching"
        async with http.post("/api/runs", json=asked, headers={"Prefer": "wait=20"}) as answer:
            assert answer.status == 202, "it is begun, and is not waited for"
            assert "Preference-Applied" not in answer.headers

        responses = {"model": "novelist", "input": "[script:s]", "stream": True}
        async with contextlib.AsyncExitStack() as others:  # another owner
            for _ in range(3):
                stream = await others.enter_async_context(http.post("/api/v1/responses", json=responses, headers=key))
                assert stream.status == 200
            begun = len(await stack.model.log("create"))
            for path_of, body in (
                ("responses", responses),
                ("responses", {**responses, "stream": False}),
                ("chat/completions", {"model": "novelist", "messages": [{"role": "user", "content": "[script:s]"}]}),
            ):
                async with http.post(f"/api/v1/{path_of}", json=body, headers=key) as answer:
                    assert (answer.status, (await answer.json())["error"]["code"]) == (429, "too_many_viewers")
            assert len(await stack.model.log("create")) == begun, "nothing was begun"

        await watching.aclose()

        async def has_room() -> bool:
            async with http.get(f"{path}/events") as answer:
                return answer.status == 200

        await eventually(has_room)
