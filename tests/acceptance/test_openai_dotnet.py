"""OpenAI's, Microsoft's and Azure's clients for .NET, as they were recorded: .NET is not installed where this runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from typing import Any

import aiohttp

from local.openapi.clients import MEASURED, Measured
from tests.acceptance.conftest import Stack, client_of
from tests.acceptance.dotnet_replay import Exchange, Replay, all_recorded, needs, reaches, recorded
from tests.parts.openai_shapes import events_of

AT_ONCE = 12
"""Cases that are replayed at the same time."""

NOW_TAKEN = {
    *(f"param-{name}" for name in ("instructions", "temperature", "top-p", "max-output-tokens", "max-tool-calls")),
    *(f"param-{name}" for name in ("reasoning", "store-false", "developer-message", "system-message")),
    *(f"meai-{name}" for name in ("system-message", "option-instructions", "option-temperature", "option-reasoning")),
    *("meai-option-max-tokens", "agents-instructions", "chat-system", "error-400-approval"),
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
    instead = await asked_of_the_assistant(host.url, cases)
    for name in ROWS:
        now, file = row(name, done, instead=instead), MEASURED / f"{name}.json"
        if RECORD:
            file.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")
        assert json.loads(file.read_text("utf-8")) == now, "measure anew: with DORMOUSE_TEST_RECORD=1"


async def asked_of_the_assistant(url: str, cases: dict[str, list[Exchange]]) -> dict[str, Replay]:
    """The cases with tools of the caller's, asked of the sample that takes them, where there is one."""
    names = [case for _, _, steps in ROWS.values() for case in steps.get("tools", [])]
    async with client_of(url) as client:
        if "assistant" not in [model.id async for model in client.models.list()]:
            return {}
    done = await replayed(url, {name: cases[name] for name in names}, model="assistant")
    assert [problem for replay in done.values() for problem in replay.problems] == []
    return done


RECORD = bool(os.environ.get("DORMOUSE_TEST_RECORD"))
ROWS: dict[str, tuple[str, str, dict[str, list[str]]]] = {
    "dotnet_openai": (
        "OpenAI (.NET)",
        "2.15.0",
        {
            "text": ["create-waits", "background", "cancel", "delete", "input-items", "models"],
            "stream": ["stream", "stream-background", "stream-left-resumed", "stream-cut-resumed", "stream-of-done"],
            "turns": ["previous"],
            "system": ["param-instructions", "param-developer-message", "param-system-message"],
            "options": [f"param-{name}" for name in ("temperature", "top-p", "max-output-tokens", "reasoning")],
            "tools": ["param-tools"],
            "lost": ["retry-500-once"],
        },
    ),
    "dotnet_openai_chat": (
        "OpenAI (.NET), chat",
        "2.15.0",
        {"text": ["chat"], "stream": ["chat-stream"], "turns": ["chat-history"], "system": ["chat-system"]},
    ),
    "dotnet_openai_key": (
        "OpenAI (.NET), a policy sets `Idempotency-Key`",
        "2.15.0",
        {"lost": ["retry-idempotency-key"]},
    ),
    "dotnet_meai": (
        "Microsoft.Extensions.AI.OpenAI",
        "10.11.0 with OpenAI 2.14.0",
        {
            "text": ["meai-get", "meai-background-poll"],
            "stream": ["meai-stream", "meai-token-resume"],
            "turns": ["meai-conversation", "meai-history"],
            "system": ["meai-option-instructions", "meai-system-message"],
            "options": [f"meai-option-{name}" for name in ("temperature", "max-tokens", "reasoning", "format-text")],
            "tools": ["meai-option-tools"],
            "lost": ["meai-retry-500-once"],
        },
    ),
    "dotnet_agents": (
        "Agent Framework (.NET)",
        "1.28.0 with Microsoft.Extensions.AI.OpenAI 10.11.0 and OpenAI 2.14.0",
        {
            "text": ["agents-run", "agents-background"],
            "stream": ["agents-run-stream", "agents-stream-left-resumed", "agents-stream-end-resumed"],
            "turns": ["agents-session", "agents-session-stream"],
            "system": ["agents-instructions"],
            "tools": ["agents-tools", "agents-stream-instructions-tools", "agents-novel"],
            "lost": ["agents-retry-drop-once"],
        },
    ),
    "dotnet_azure_2_1": (
        "Azure.AI.OpenAI (.NET), chat",
        "2.1.0",
        {"text": ["azure21-chat"], "stream": ["azure21-chat-stream"], "lost": ["azure21-retry-500-once"]},
    ),
    "dotnet_azure_2_9": (
        "Azure.AI.OpenAI (.NET)",
        "2.9.0-beta.1",
        {
            "text": ["azure29-responses", "azure29-responses-background"],
            "stream": ["azure29-responses-stream", "azure29-patched-responses-stream-resumed"],
            "lost": ["azure29-patched-responses-retry-500-once"],
        },
    ),
}
"""The rows of docs/clients.md: the client, its version, and the cases that are behind each column."""


def row(name: str, done: dict[str, Replay], *, instead: dict[str, Replay]) -> Measured:
    """What came of the steps of one client; ``instead`` are cases that another agent was asked in."""
    client, version, steps = ROWS[name]
    found: dict[str, Any] = {}
    # The third request of one case goes on from an older response, which no column is about.
    for step, names in steps.items():
        replays = [instead.get(each) or done[each] for each in names]
        refusal = next((each.refusal for each in replays if (400 in dict(each.answers[:2]))), None)
        found[step] = refusal or (len(replays[0].started) if step == "lost" else "yes")
    return {"client": client, "version": version, "steps": found}


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
