"""Starting a run once, however often its client asks, and waiting for its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.api.openai import starting
from shared.api.openai.http import error_object
from shared.api.openai.starting import loop_time, one_of_its_tries, seconds_left, wait_for_end
from shared.api.openai.streaming import error_of_stream
from shared.api.pacing import LONGEST
from shared.errors import (
    DormouseError,
    RunNotFound,
    StillRunning,
    StorageUnavailable,
    TooManyActiveRuns,
    TooManyViewers,
)
from shared.runs.commands.retries import may_be_repeated
from shared.runs.commands.submission import Submission
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.store.index import key_digest
from shared.runs.store.tables import StoreUnavailable
from shared.runs.store.tries import Tries as TryStore
from shared.runs.store.tries import Try
from shared.runs.watching.watch import Watching
from shared.settings import Settings
from tests.parts.memory import MemoryTables
from tests.unit.api.conftest import a_run_that_is
from tests.unit.runs.records import NOW, a_run

SUBMISSION = Submission(owner="o", items=())


class Store:
    """The row of one run."""

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self.looks = 0

    async def load(self, _: str) -> Any:
        self.looks += 1
        return None if self.run is None else SimpleNamespace(value=self.run)


def app_of(run: Run | None) -> Any:
    ports: Any = SimpleNamespace(settings=Settings(), runs=Store(run), random=lambda: 0.0)
    return SimpleNamespace(settings=ports.settings, ports=ports, watching=Watching(ports))


async def is_disconnected() -> bool:
    return False


async def test_a_request_is_over_in_time_however_long_its_submit_took() -> None:
    app, request = app_of(a_run()), SimpleNamespace(is_disconnected=is_disconnected)
    with pytest.raises(StillRunning, match="Ask otherwise") as late:
        await wait_for_end(cast("Any", request), a_run(), app, arrived=loop_time() - LONGEST, instead="Ask otherwise.")
    assert late.value.status == 422, "the one status that no client repeats by itself"
    assert error_object(late.value)["type"] == "server_error"
    assert app.ports.runs.looks == 1, "a last look, and no more"
    now = loop_time()
    assert seconds_left(220, now - 30) <= LONGEST - 30 < 220
    assert seconds_left(100, now - 30) == 100, "there is time enough"
    assert seconds_left(1, now - 30) == 1


def test_a_stream_that_the_store_ends_says_so() -> None:
    assert error_of_stream(StoreUnavailable("away"), a_run()).code == "storage_unavailable"
    assert error_of_stream(ValueError("?"), a_run()).code == DormouseError().code
    assert error_object(error_of_stream(RunNotFound(), a_run()))["code"] == "response_not_found"


class Client:
    """A client of OpenAI's, and the app's notes of its tries; runs are there as soon as they are asked for."""

    def __init__(self) -> None:
        self.now = NOW
        self.loads = 0
        self.runs: dict[str, Run] = {}
        self.store = TryStore(MemoryTables())
        index = SimpleNamespace(tries=self.store, key=self._key)
        ports = SimpleNamespace(clock=lambda: self.now, index=index, runs=self, settings=Settings())
        self.app: Any = SimpleNamespace(ports=ports, settings=ports.settings)

    async def _key(self, digest: str) -> Any:
        return SimpleNamespace(session_id=digest[:32], number=1) if digest in self.runs else None

    async def load(self, name: str) -> Any:
        self.loads += 1
        return next((SimpleNamespace(value=run) for key, run in self.runs.items() if key[:32] in name), None)

    @asynccontextmanager
    async def sends(self, count: int | str | None = 0, *, gone: bool = False, **more: Any) -> AsyncIterator[Any]:
        """One try, from its arrival to its answer: the key that it got."""

        async def is_disconnected() -> bool:
            return gone

        headers = {} if count is None else {"x-stainless-retry-count": str(count)}
        request: Any = SimpleNamespace(headers=headers, is_disconnected=is_disconnected)
        wanted = replace(SUBMISSION, **{"background": False, **more})
        async with one_of_its_tries(request, wanted, self.app) as keyed:
            yield keyed.idempotency_key

    async def gets(self, count: int | str | None = 0, run: Run | None = None, **more: Any) -> str | None:
        """The key of a try that is answered with the run as it is."""
        async with self.sends(count, **more) as key:
            if key is not None:
                self.runs.setdefault(key_digest("o", key), run or ENDED)
        return cast("str | None", key)

    async def is_told(self, error: Exception, **more: Any) -> str:
        """The key of a try whose run is on its way, and that is answered with an error."""
        found = ""
        try:
            async with self.sends(0, **more) as found:
                self.runs[key_digest("o", found)] = a_run()
                raise error
        except type(error):
            return found

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


ENDED = a_run_that_is(RunStatus.COMPLETED)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose repeats look again at once."""
    monkeypatch.setattr(starting, "LOOK_GAP", 0.0)
    monkeypatch.setattr(starting, "LOOK_SECONDS", 0.05)
    return Client()


async def test_every_repeat_of_a_request_whose_answer_was_lost_has_its_key(client: Client) -> None:
    first = await client.gets(0)
    assert first is not None
    for count in (1, 2, 3):
        client.later(8)
        assert await client.gets(count) == first
    assert not starting._held


async def test_an_equal_request_is_no_repeat(client: Client) -> None:
    """However alike it is: only a client that says so repeats."""
    seen = {await client.gets(0) for _ in range(3)}
    assert len(seen) == 3
    assert await client.gets(None) is None, "who counts no tries has no key of the app's"
    assert await client.gets("x") is None
    assert await client.gets(0, idempotency_key="mine") == "mine"
    assert await client.gets(1, idempotency_key="mine") == "mine"
    for more in ({"owner": "another"}, {"background": True}, {"instructions": "x"}, {"metadata": {"a": "b"}}):
        assert await client.gets(1, **more) not in seen


async def test_an_older_answer_is_given_to_nobody(client: Client) -> None:
    """Somebody asks the same every minute, and one of the requests is lost before it comes here."""
    ended = ENDED.completed_at
    assert ended is not None
    client.now = ended
    first = await client.gets(0)
    client.later(60)
    assert await client.gets(1) != first


async def test_each_answer_is_given_to_one_repeat(client: Client) -> None:
    first, second = await client.gets(0), await client.gets(0)
    assert {await client.gets(1), await client.gets(1)} == {first, second}
    assert await client.gets(1) not in {first, second}
    assert await client.gets(2) is not None


async def test_of_equal_requests_the_one_that_failed_is_repeated(client: Client) -> None:
    """As many do who ask the same many times at once, and are over their limit."""
    kept = [await client.gets(0) for _ in range(3)]
    errors = (TooManyViewers(), TooManyActiveRuns(), StorageUnavailable(), StoreUnavailable("away"))
    failed = [await client.is_told(error) for error in errors]
    kept += [await client.gets(0) for _ in range(3)]
    client.later(10)
    assert {await client.gets(1) for _ in failed} == set(failed)
    assert not set(failed) & set(kept)


async def test_an_answer_that_no_client_repeats_is_none_to_go_on_from(client: Client) -> None:
    """The run goes on, and an equal request that is lost on its way here must not be given it."""
    first = await client.is_told(StillRunning())
    client.later(3)
    assert await client.gets(1) != first


async def test_a_caller_that_hung_up_is_the_one_that_repeats(client: Client) -> None:
    async with client.sends(0, gone=True) as first:
        client.runs[key_digest("o", first)] = a_run()
    second = await client.is_told(StillRunning(), gone=True)
    client.later(20)
    assert {await client.gets(1), await client.gets(1)} == {first, second}


async def test_who_is_still_waiting_here_is_not_repeated(client: Client) -> None:
    async with client.sends(0) as waiting:
        client.runs[key_digest("o", waiting)] = a_run()
        assert await client.gets(1) != waiting
    assert not starting._held


async def test_a_repeat_waits_until_it_is_seen_that_its_caller_hung_up(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "LOOK_SECONDS", 5.0)
    go_on = asyncio.Event()

    async def hangs_up() -> str:
        async with client.sends(0, gone=True) as key:
            client.runs[key_digest("o", key)] = a_run()
            await go_on.wait()
        return cast(str, key)

    one = asyncio.create_task(hangs_up())
    await asyncio.sleep(0)
    two = asyncio.create_task(client.gets(1))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not two.done()
    go_on.set()
    assert await two == await one


async def test_a_repeat_whose_own_caller_hangs_up_meanwhile_starts_nothing(client: Client) -> None:
    async with client.sends(0) as waiting:
        client.runs[key_digest("o", waiting)] = a_run()
        with pytest.raises(StillRunning, match="hung up"):
            await client.gets(1, gone=True)
    assert len(client.runs) == 1


async def test_a_repeat_of_what_was_sent_very_often_reads_little(client: Client) -> None:
    for _ in range(60):
        await client.gets(0)
    client.later(120)
    async with client.sends(0) as waiting:
        client.runs[key_digest("o", waiting)] = a_run()
        client.loads = 0
        assert await client.gets(1) != waiting
    assert client.loads == starting.TRIES_LOOKED_AT


def a_try(*, age: float, lost: bool = False, count: int = 0) -> Try:
    return Try(row="r", key="k", count=count, at=NOW - timedelta(seconds=age), lost=lost, etag="e")


@pytest.mark.parametrize(
    ("found", "run", "more", "may"),
    [
        (a_try(age=70, lost=True), None, {}, True),
        (a_try(age=80, lost=True), a_run(), {}, False),
        (a_try(age=90), None, {}, True),
        (a_try(age=110), None, {}, False),
        (a_try(age=40), a_run(), {"background": True}, True),
        (a_try(age=50), a_run(), {"background": True}, False),
        (a_try(age=50), a_run(), {"stream": True}, False),
        (a_try(age=600), a_run(), {}, True),
        (a_try(age=600), ENDED, {}, True),
        (a_try(age=600), "older", {}, False),
        (a_try(age=5), "older", {}, True),
    ],
)
def test_a_try_is_repeated_only_within_the_time_that_a_client_takes(
    found: Try, run: Any, more: dict[str, Any], may: bool
) -> None:
    now = NOW
    if run in (ENDED, "older"):
        assert ENDED.completed_at is not None
        now = ENDED.completed_at + timedelta(seconds=10 if run is ENDED else 30)
        found, run = replace(found, at=now - (NOW - found.at)), ENDED
    wanted = replace(SUBMISSION, **{"background": False, **more})
    assert may_be_repeated(found, run, wanted, now, 30.0) is may
