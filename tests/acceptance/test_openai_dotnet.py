"""OpenAI's, Microsoft's and Azure's clients for .NET, as they were recorded: .NET is not installed where this runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import aiohttp
import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.dotnet_replay import Exchange, Replay, all_recorded, needs, reaches, recorded
from tests.parts.openai_shapes import events_of

AT_ONCE = 12
"""Cases that are replayed at the same time."""

NOW_TAKEN = {
    *(f"param-{name}" for name in ("instructions", "temperature", "top-p", "max-output-tokens", "max-tool-calls")),
    *(f"param-{name}" for name in ("reasoning", "store-false", "developer-message", "system-message")),
    *(f"meai-{name}" for name in ("system-message", "option-instructions", "option-temperature", "option-reasoning")),
    *("meai-option-max-tokens", "agents-instructions", "chat-system"),
    *("azure21-chat", "azure21-chat-stream", "azure29-chat", "azure29-chat-stream"),
    *("azure29-responses", "azure29-responses-background", "azure29-responses-stream"),
}
"""Cases that the recorded app refused, and that go through."""

EITHER = {"previous"}
"""Cases that go through once a conversation may go on from any of its responses."""


async def replayed(url: str, cases: dict[str, list[Exchange]], model: str | None = None) -> dict[str, Replay]:
    """All cases against the app at ``url``."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(session: aiohttp.ClientSession, exchanges: list[Exchange]) -> Replay:
        replay = Replay(session, url, model)
        async with limit:
            await replay.play(exchanges)
        return replay

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        done = await asyncio.gather(*(one(session, exchanges) for exchanges in cases.values()))
    return dict(zip(cases, done, strict=True))


def expected(name: str, exchanges: list[Exchange]) -> list[list[int]]:
    """The statuses that each request of a case may be answered with."""
    reached = [exchange.get("app_answer") or exchange for exchange in exchanges]
    statuses = [[each["status"]] for each in reached]
    if name in NOW_TAKEN:
        assert statuses == [[400]] or statuses == [[404]]
        return [[200]]
    if name in EITHER:
        statuses[-1].append(200)
    return statuses


@pytest.mark.slow
async def test_what_clients_on_dotnet_sent_is_answered_as_they_need_it(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack("durable")
    host = await asyncio.to_thread(stack.host)
    cases = recorded()
    assert len(cases) > 100
    done = await replayed(host.url, cases)
    wrong = [problem for replay in done.values() for problem in replay.problems]
    for name, replay in done.items():
        reached = [exchange for exchange in cases[name] if reaches(exchange)]
        answered = [status for status, _ in replay.answers]
        if replay.left:
            continue
        wanted = expected(name, reached)
        if len(wanted) != len(answered) or any(now not in may for now, may in zip(answered, wanted, strict=True)):
            wrong.append(f"{name}: {replay.answers}, not {wanted}")
    assert wrong == []
    # A response and a completion are named after their run.
    started = {re.split("[_-]", name, maxsplit=1)[1] for replay in done.values() for name in replay.started}
    seen = {(each.metadata.get("run") or "").removeprefix("run_") for each in await stack.model.log("create")}
    unheard_of = seen - started
    assert len(unheard_of) <= sum(replay.left for replay in done.values()), "a run was started that nobody asked for"
    assert len(seen) > len(started) / 2


THROWN = ("FormatException", "InvalidOperationException", "ArgumentOutOfRangeException")
TAKEN_ALL_THE_SAME = {"created-at-missing", "status-missing", "output-missing", "stream-sequence-missing"}
"""What the clients do without, and OpenAI's types do not."""


def test_what_is_checked_is_what_the_clients_threw_at() -> None:
    """The answers made by hand, each with one thing changed, are read here as the clients have read them."""
    threw = set()
    for name, (exchange, *_) in all_recorded().items():
        if not name.startswith("shape-"):
            continue
        raw, outcome = exchange.get("answer_raw"), exchange["outcome"].partition(":")[0]
        if outcome == "ok":
            answers = [exchange["answer"]] if raw is None else events_of(raw.encode())
            taken = not any(needs(answer) for answer in answers)
            assert taken == (name.removeprefix("shape-") not in TAKEN_ALL_THE_SAME), name
        elif outcome in THROWN:
            answers = [exchange["answer"]] if raw is None else events_of(raw.encode())
            assert any(needs(answer) for answer in answers), (name, exchange["outcome"])
            threw.add(name)
    assert len(threw) > 15
