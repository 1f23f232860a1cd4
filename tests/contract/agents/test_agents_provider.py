"""The connection to a provider, against a server that does anything at all with its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.agentkit import faults
from shared.agentkit.provider import Credential, Provider, ProviderConfig

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
RESPONSE = {"id": "resp_1", "status": "queued"}


@asynccontextmanager
async def provider_at(
    url: str | None,
    *,
    seconds: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = lambda: 0.0,
    credential: Credential = "key",
    **config: Any,
) -> AsyncIterator[Provider]:
    given = ProviderConfig(credential=credential, base_url=url, **config)
    provider = Provider(given, seconds=seconds, random=random)
    provider.client()  # its import is not to be timed
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def serving(play: Play, **config: Any) -> AsyncIterator[Provider]:
    """A provider whose server plays ``play`` on every connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await play(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with provider_at(f"http://127.0.0.1:{port}", **config) as provider:
        try:
            yield provider
        finally:
            server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The head of one request; its body is read, too."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return head


def answer(body: Any) -> bytes:
    data = json.dumps(body).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"I am no web server\r\n\r\n")
    await writer.drain()


async def hang_up_halfway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(HEAD + b'Content-Length: 1000\r\n\r\n{"id": ')
    await writer.drain()


async def hang_up_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def hang_up_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("play", [garbage, hang_up_halfway, hang_up_after_reading, hang_up_at_once])
async def test_whatever_comes_after_the_connection_leaves_a_create_in_doubt(play: Play) -> None:
    async with serving(play) as provider:
        with pytest.raises(faults.PerhapsAccepted):
            await provider.send("/responses", {}, timeout=30)
        with pytest.raises(faults.NoNews):
            await provider.query("/responses/resp_1", timeout=30)


@pytest.mark.parametrize("play", [drip, say_nothing])
async def test_an_answer_that_never_ends_is_given_up_and_leaves_a_create_in_doubt(play: Play) -> None:
    """Half of the time given is for the connection, which a busy machine needs too."""
    async with serving(play) as provider, asyncio.timeout(60):
        with pytest.raises(faults.PerhapsAccepted):
            await provider.send("/responses", {}, timeout=2)
        with pytest.raises(faults.NoNews):
            await provider.query("/responses/resp_1", timeout=0.3)


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """An address that never takes a connection: its queue is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def no_address() -> AsyncIterator[str]:
    """A setting that is no URL."""
    yield "localhost:1"


@pytest.mark.parametrize("place", [black_hole, nobody, no_address])
async def test_without_a_connection_a_create_was_surely_not_accepted(place: Callable[[], Any]) -> None:
    async with place() as url, provider_at(url) as provider:
        with pytest.raises(faults.NotAccepted):
            await provider.send("/responses", {}, timeout=0.6)
        with pytest.raises(faults.NoNews):
            await provider.query("/responses/resp_1", timeout=0.6)


async def test_no_request_is_ever_repeated() -> None:
    seen = []

    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_request(reader))
            writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n")

    async with serving(fail) as provider:
        with pytest.raises(faults.PerhapsAccepted):
            await provider.send("/responses", {}, timeout=5)
        with pytest.raises(faults.NoNews):
            await provider.query("/responses/resp_1", timeout=5)
    assert [line.split(b" ")[0] for line in seen] == [b"POST", b"GET"]


@pytest.mark.slow
async def test_a_huge_answer_is_read_and_a_huge_request_is_sent() -> None:
    big = {**RESPONSE, "output": "x" * 20_000_000}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer(big))

    async with serving(serve) as provider:
        assert await provider.send("/responses", {"input": "y" * 5_000_000}, timeout=20) == big
        assert await provider.query("/responses/resp_1", timeout=20) == big


async def test_no_more_calls_at_once_than_allowed_and_one_connection_serves_many() -> None:
    at_once, most, connections = 0, 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most, connections
        connections += 1
        while True:
            await read_request(reader)
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1
            writer.write(answer(RESPONSE))

    async with serving(serve, concurrency=3) as provider:
        await asyncio.gather(*(provider.query("/responses/resp_1", timeout=5) for _ in range(12)))
        await asyncio.gather(*(provider.send("/responses", {}, timeout=5) for _ in range(12)))
    assert most == 3
    assert connections == 3


@asynccontextmanager
async def hanging(work: Callable[[Provider], Coroutine[Any, Any, Any]], **config: Any) -> AsyncIterator[Provider]:
    """A provider whose server answers nothing but what says so, with ``work`` under way three times over."""
    asked = asyncio.Event()
    under_way = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way
        while True:
            head = await read_request(reader)
            if b"/answered" in head:
                writer.write(answer(RESPONSE))
                continue
            under_way += 1
            if under_way == 3:
                asked.set()
            await reader.read()

    async with serving(serve, **config) as provider:
        tasks = [asyncio.create_task(work(provider)) for _ in range(3)]
        await asked.wait()
        yield provider
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def creates(provider: Provider, owner: str = "ann") -> Coroutine[Any, Any, Any]:
    return provider.send("/responses", {}, timeout=60, owner=owner)


def calls(provider: Provider) -> Coroutine[Any, Any, Any]:
    return provider.send("/chat/completions", {}, timeout=60, blocking=True)


def asks(provider: Provider) -> Coroutine[Any, Any, Any]:
    return provider.query("/responses/resp_1", timeout=60)


async def test_a_create_that_never_gets_its_turn_was_not_sent() -> None:
    async with hanging(creates, concurrency=4) as provider:
        with pytest.raises(faults.NotAccepted) as caught:
            await provider.send("/answered", {}, timeout=5, owner="ann")
    assert caught.value.code == "not_sent"


async def test_an_owner_whose_creates_hang_leaves_room_for_others() -> None:
    async with hanging(creates, concurrency=4) as provider:
        assert await provider.send("/answered", {}, timeout=5, owner="bob") == RESPONSE


@pytest.mark.parametrize("work", [creates, calls])
async def test_what_starts_work_and_hangs_keeps_no_question_and_no_cancel_from_being_asked(
    work: Callable[[Provider], Coroutine[Any, Any, Any]],
) -> None:
    async with hanging(work, concurrency=3 if work is calls else 4, blocking=3) as provider:
        assert await provider.query("/answered", timeout=5) == RESPONSE
        assert await provider.command("/answered", timeout=5, method="POST") == RESPONSE
        assert await provider.command("/answered", timeout=5, method="DELETE") == RESPONSE
        assert await provider.send("/answered", {}, timeout=5, owner="bob") == RESPONSE


async def test_questions_that_hang_keep_no_create_from_being_sent() -> None:
    async with hanging(asks, concurrency=3) as provider:
        assert await provider.send("/answered", {}, timeout=5) == RESPONSE
        with pytest.raises(faults.NoNews) as caught:
            await provider.query("/answered", timeout=5)
    assert caught.value.code == "not_sent"


async def test_a_wait_for_a_slot_is_no_part_of_a_request_s_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.agentkit.provider.SLOT_WAIT_SECONDS", 60.0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer(RESPONSE))

    async with serving(serve, concurrency=1) as provider:
        async with provider.create_slot():
            waiting = asyncio.create_task(provider.send("/responses", {}, timeout=1.0))
            await asyncio.sleep(1.3)
        assert await waiting == RESPONSE


async def test_an_answer_that_came_while_the_process_stood_still_is_not_lost() -> None:
    """The server is a thread, so that it answers while this one is frozen past the request's time."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = threading.Event()

    def serve() -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            with connection:
                connection.recv(65_536)
                asked.set()
                time.sleep(0.2)
                connection.sendall(answer({**RESPONSE, "text": "y" * 300_000}))
                connection.recv(65_536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    async with provider_at(f"http://127.0.0.1:{listener.getsockname()[1]}") as provider:
        for request in (
            lambda: provider.send("/responses", {}, timeout=1.0),
            lambda: provider.query("/responses/resp_1", timeout=1.0),
        ):
            asked.clear()
            waiting = asyncio.create_task(request())
            await asyncio.to_thread(asked.wait)
            time.sleep(1.3)  # noqa: ASYNC251 - the freeze
            assert (await waiting)["id"] == "resp_1"
            await provider.close()
            provider._client = None
    listener.close()


async def test_every_call_carries_a_token_and_without_one_nothing_is_sent() -> None:
    heads: list[bytes] = []
    tokens = iter(["t1", "t1", "t2", "t2"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await read_request(reader))
            writer.write(answer(RESPONSE))

    async def token() -> str:
        try:
            return next(tokens)
        except StopIteration:
            raise RuntimeError("no more tokens") from None

    async with serving(serve, credential=token) as provider:
        await provider.send("/responses", {}, timeout=5)
        await provider.query("/responses/resp_1", timeout=5)
        with pytest.raises(faults.AccessDenied):
            await provider.send("/responses", {}, timeout=5)
        with pytest.raises(faults.NoNews):
            await provider.query("/responses/resp_1", timeout=5)
    assert [b"Bearer t1" in head or b"Bearer t2" in head for head in heads] == [True, True]


async def test_a_token_that_never_comes_is_no_create_in_doubt() -> None:
    async def token() -> str:
        await asyncio.sleep(60)
        return "late"

    async with serving(say_nothing, credential=token) as provider:
        with pytest.raises(faults.NotAccepted):
            await provider.send("/responses", {}, timeout=0.1)


async def test_a_pause_holds_back_every_question_but_a_probe() -> None:
    now, asked = 0.0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await read_request(reader)
            asked += 1
            if asked == 1:
                writer.write(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: 30\r\n\r\n")
            else:
                writer.write(answer(RESPONSE))

    async with serving(serve, seconds=lambda: now) as provider:
        for now, wait in ((0.0, 30.0), (0.0, 2.0), (1.0, 1.0)):  # noqa: B007 - the provider's clock reads it
            with pytest.raises(faults.NoNews) as caught:
                await provider.query("/responses/resp_1", timeout=5)
            assert caught.value.retry_after == wait
        assert asked == 1
        assert await provider.send("/responses", {}, timeout=5) == RESPONSE, "a create is not held back"
        now = 2.0
        assert await provider.query("/responses/resp_1", timeout=5) == RESPONSE


async def test_a_pause_holds_back_no_cancel_and_no_delete_and_no_other_model() -> None:
    async with hanging_back() as (provider, asked):
        with pytest.raises(faults.NoNews):
            await provider.query("/responses/resp_1", timeout=5, model="large")
        assert await provider.command("/responses/resp_1/cancel", timeout=5, method="POST") == RESPONSE
        assert await provider.command("/responses/resp_1", timeout=5, method="DELETE") == RESPONSE
        assert await provider.query("/responses/resp_1", timeout=5, model="small") == RESPONSE
        with pytest.raises(faults.NoNews) as caught:
            await provider.query("/responses/resp_1", timeout=5, model="large")
    assert (caught.value.code, len(asked)) == ("rate_limited", 4)


@pytest.mark.parametrize(("drawn", "waits"), [(0.0, 2.0), (0.5, 2.1)])
async def test_a_pause_of_a_quarter_of_an_hour_is_two_minutes_for_who_met_it_and_seconds_for_others(
    drawn: float, waits: float
) -> None:
    async with hanging_back(random=lambda: drawn, retry_after=b"900") as (provider, _):
        for wait in (120.0, waits):  # who met it, and who asks after that
            with pytest.raises(faults.NoNews) as caught:
                await provider.query("/responses/resp_1", timeout=5)
            assert caught.value.retry_after == pytest.approx(wait)
        with pytest.raises(faults.NotAccepted) as refused:
            await provider.send("/refused", {}, timeout=5)
    assert refused.value.retry_after == 120.0


@asynccontextmanager
async def hanging_back(*, retry_after: bytes = b"30", **config: Any) -> AsyncIterator[tuple[Provider, list[bytes]]]:
    """A provider whose first question meets a 429, and the heads of what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await read_request(reader))
            slow = len(asked) == 1 or b"/refused" in asked[-1]
            pause = b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: " + retry_after + b"\r\n\r\n"
            writer.write(pause if slow else answer(RESPONSE))

    async with serving(serve, seconds=lambda: 0.0, **config) as provider:
        yield provider, asked


async def test_the_client_logs_no_line_a_call(caplog: pytest.LogCaptureFixture) -> None:
    async def well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer(RESPONSE))
        await writer.drain()

    caplog.set_level(logging.INFO)
    async with serving(well) as provider:
        assert await provider.send("/responses", {}, timeout=5.0) == RESPONSE
    assert [record.getMessage() for record in caplog.records if record.name.startswith(("httpx", "openai"))] == []
