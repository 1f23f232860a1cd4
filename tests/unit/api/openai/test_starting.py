"""Starting a run once, however often its client asks, and waiting for its end."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from shared.api.openai import starting
from shared.api.openai.http import error_object
from shared.api.openai.starting import loop_time, seconds_left, start_run, wait_for_end
from shared.api.openai.streaming import error_of_stream
from shared.api.pacing import LONGEST
from shared.errors import DormouseError, RunNotFound, StillRunning
from shared.runs.commands.submission import Submission
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.watch import Watching
from shared.settings import Settings
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
    with pytest.raises(StillRunning):
        await wait_for_end(request, SUBMISSION, a_run(), app, arrived=loop_time() - LONGEST)
    assert app.ports.runs.looks == 1, "a last look, and no more"
    now = loop_time()
    assert seconds_left(220, now - 30) <= LONGEST - 30 < 220
    assert seconds_left(100, now - 30) == 100, "there is time enough"
    assert seconds_left(1, now - 30) == 1


def test_a_stream_that_the_store_ends_says_so() -> None:
    assert error_of_stream(StoreUnavailable("away"), a_run()).code == "storage_unavailable"
    assert error_of_stream(ValueError("?"), a_run()).code == DormouseError().code
    assert error_object(error_of_stream(RunNotFound(), a_run()))["code"] == "response_not_found"


class Abandoned:
    """The notes of callers that hung up, and how many runs were submitted."""

    def __init__(self, *names: str | None) -> None:
        self.names = list(names)
        self.run = a_run()
        self.submits = 0
        index = SimpleNamespace(take_unanswered=self.take, leave_unanswered=self.leave)
        runs = SimpleNamespace(load_visible=self.load)
        ports = SimpleNamespace(clock=lambda: NOW, index=index, runs=runs, submit=self.submit)
        self.app: Any = SimpleNamespace(ports=ports)
        self.driver: Any = SimpleNamespace(start_run=self.start_run)

    async def take(self, *_: object) -> str | None:
        return self.names.pop(0) if self.names else None

    async def leave(self, _owner: str, _request: str, name: str, _at: object) -> None:
        self.names.append(name)

    async def load(self, _: str) -> Any:
        return SimpleNamespace(value=self.run)

    async def submit(self, _: Submission) -> Any:
        self.submits += 1
        return SimpleNamespace(run=self.run)

    async def start_run(self, *_: object) -> None:
        return


def a_retry(*, gone_after: int | None = None) -> Any:
    asked = itertools.count()

    async def is_disconnected() -> bool:
        return gone_after is not None and next(asked) >= gone_after

    return SimpleNamespace(headers={"x-stainless-retry-count": "1"}, is_disconnected=is_disconnected)


@pytest.fixture
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "submit_run", lambda ports, wanted: ports.submit(wanted))
    monkeypatch.setattr(starting, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(starting, "LOOK_GAP", 0.0)


@pytest.mark.usefixtures("short_looks")
async def test_a_retry_waits_for_the_word_of_who_holds_the_same_request() -> None:
    """Whoever holds a request sees a little later that its caller hung up, on a busy machine more than a little."""
    noted = Abandoned(None, None, "its id")
    with starting._holding(SUBMISSION):
        assert await start_run(a_retry(), SUBMISSION, noted.app, noted.driver) is noted.run
    assert noted.submits == 0
    await start_run(a_retry(), SUBMISSION, noted.app, noted.driver)
    assert noted.submits == 1, "nobody holds it, and no other retry: it is a new request"
    assert not starting._held


@pytest.mark.usefixtures("short_looks")
async def test_a_request_is_held_while_it_is_submitted() -> None:
    """Its caller may hang up meanwhile, and the retry come before the run is there."""
    noted, submitting, go_on = Abandoned(), asyncio.Event(), asyncio.Event()
    first = SimpleNamespace(headers={}, is_disconnected=a_retry(gone_after=0).is_disconnected)

    async def submit(_: Submission) -> Any:
        noted.submits += 1
        submitting.set()
        await go_on.wait()
        return SimpleNamespace(run=a_run_that_is(RunStatus.COMPLETED))

    noted.app.ports.submit = submit
    one = asyncio.create_task(start_run(first, SUBMISSION, noted.app, noted.driver))
    await submitting.wait()
    two = asyncio.create_task(start_run(a_retry(), SUBMISSION, noted.app, noted.driver))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not two.done()
    go_on.set()
    assert await two is noted.run
    assert (await one).terminal
    assert noted.submits == 1


@pytest.mark.usefixtures("short_looks")
async def test_a_retry_whose_own_caller_hangs_up_starts_nothing() -> None:
    noted = Abandoned()
    with starting._holding(SUBMISSION), pytest.raises(StillRunning, match="hung up"):
        await start_run(a_retry(gone_after=3), SUBMISSION, noted.app, noted.driver)
    assert noted.submits == 0


async def test_a_caller_that_hangs_up_just_before_the_end_is_noted_too() -> None:
    app, noted = app_of(a_run_that_is(RunStatus.COMPLETED)), Abandoned()
    app.ports.index, app.ports.clock = noted.app.ports.index, noted.app.ports.clock
    await wait_for_end(a_retry(gone_after=0), SUBMISSION, a_run(), app, arrived=loop_time())
    assert noted.names == [a_run().id]
