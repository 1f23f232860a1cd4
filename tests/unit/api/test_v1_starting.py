"""Waiting for a response, and reading one that goes away meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from shared.api.pacing import LONGEST
from shared.api.v1 import starting
from shared.api.v1.starting import finished, given_to, moment, said_in, seconds_left
from shared.api.v1.streaming import failure
from shared.errors import DormouseError, ResponseNotFound, StillRunning
from shared.runs.commands.submission import Submission
from shared.runs.model.phases import Ended, RunStatus
from shared.runs.model.run import Run
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.watch import Watching
from shared.settings import Settings
from tests.unit.api.conftest import a_run_that_is
from tests.unit.runs.records import NOW, a_run

WANTED = Submission(owner="o", items=())


class Store:
    """Rows of one run, of which only the first is left."""

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self.looks = 0

    async def load(self, _: str) -> Any:
        self.looks += 1
        return None if self.run is None else SimpleNamespace(value=self.run)

    async def given_items(self, _: Run) -> Any:
        raise LookupError("no item 0")

    async def each_appended(self, _: Run) -> Any:
        raise LookupError("no item 0")
        yield


def app_of(run: Run | None) -> Any:
    ports: Any = SimpleNamespace(settings=Settings(), runs=Store(run), random=lambda: 0.0)
    return SimpleNamespace(settings=ports.settings, ports=ports, watching=Watching(ports))


async def is_disconnected() -> bool:
    return False


async def test_a_request_is_over_in_time_however_long_its_submit_took() -> None:
    app, request = app_of(a_run()), SimpleNamespace(is_disconnected=is_disconnected)
    with pytest.raises(StillRunning):
        await finished(request, WANTED, a_run(), app, since=moment() - LONGEST)
    assert app.ports.runs.looks == 1, "a last look, and no more"
    now = moment()
    assert seconds_left(220, now - 30) <= LONGEST - 30 < 220
    assert seconds_left(100, now - 30) == 100, "there is time enough"
    assert seconds_left(1, now - 30) == 1


@pytest.mark.parametrize(
    "now", [None, a_run(phase=Ended(status=RunStatus.CANCELLED, completed_at=NOW, deleted_at=NOW))]
)
async def test_what_is_deleted_while_it_is_read_is_not_found(now: Run | None) -> None:
    for read in (given_to, said_in):
        with pytest.raises(ResponseNotFound):
            await read(a_run(), app_of(now))


async def test_what_is_missing_of_a_run_that_is_there_is_a_fault_of_ours() -> None:
    for read in (given_to, said_in):
        with pytest.raises(LookupError):
            await read(a_run(), app_of(a_run()))


def test_a_stream_that_the_store_ends_says_so() -> None:
    assert failure(StoreUnavailable("away"), a_run()).code == "storage_unavailable"
    assert failure(ValueError("?"), a_run()).code == DormouseError().code
    assert failure(ResponseNotFound(), a_run()).code == "response_not_found"


class Noted:
    """What was noted of callers that hung up, and how often somebody asked for it."""

    def __init__(self, *names: str | None) -> None:
        self.names = list(names)
        self.run = a_run()
        self.submits = 0
        index = SimpleNamespace(take_unanswered=self.take, leave_unanswered=self.leave)
        runs = SimpleNamespace(load_visible=self.load)
        ports = SimpleNamespace(clock=lambda: NOW, index=index, runs=runs, submit=self.submit)
        self.app: Any = SimpleNamespace(ports=ports)
        self.driver: Any = SimpleNamespace(started=self.started)

    async def take(self, *_: object) -> str | None:
        return self.names.pop(0) if self.names else None

    async def leave(self, _owner: str, _request: str, name: str, _at: object) -> None:
        self.names.append(name)

    async def load(self, _: str) -> Any:
        return SimpleNamespace(value=self.run)

    async def submit(self, _: Submission) -> Any:
        self.submits += 1
        return SimpleNamespace(run=self.run)

    async def started(self, *_: object) -> None:
        return


def a_repeat(*, gone_after: int | None = None) -> Any:
    asked = itertools.count()

    async def is_disconnected() -> bool:
        return gone_after is not None and next(asked) >= gone_after

    return SimpleNamespace(headers={"x-stainless-retry-count": "1"}, is_disconnected=is_disconnected)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "submit_run", lambda ports, wanted: ports.submit(wanted))
    monkeypatch.setattr(starting, "LOOKS_SECONDS", 0.0)
    monkeypatch.setattr(starting, "LOOK_GAP", 0.0)


@pytest.mark.usefixtures("hasty")
async def test_a_repeat_waits_for_the_word_of_who_holds_the_same_request() -> None:
    """Whoever holds a request sees a little later that its caller hung up, on a busy machine more than a little."""
    noted = Noted(None, None, "its id")
    with starting._holding(WANTED):
        assert await starting.begin(a_repeat(), WANTED, noted.app, noted.driver) is noted.run
    assert noted.submits == 0
    await starting.begin(a_repeat(), WANTED, noted.app, noted.driver)
    assert noted.submits == 1, "nobody holds it, and no other repeat: it is a new request"
    assert not starting._held


@pytest.mark.usefixtures("hasty")
async def test_a_request_is_held_while_it_is_submitted() -> None:
    """Its caller may hang up meanwhile, and the repeat come before the run is there."""
    noted, submitting, go_on = Noted(), asyncio.Event(), asyncio.Event()
    first = SimpleNamespace(headers={}, is_disconnected=a_repeat(gone_after=0).is_disconnected)

    async def submit(_: Submission) -> Any:
        noted.submits += 1
        submitting.set()
        await go_on.wait()
        return SimpleNamespace(run=a_run_that_is(RunStatus.COMPLETED))

    noted.app.ports.submit = submit
    one = asyncio.create_task(starting.begin(first, WANTED, noted.app, noted.driver))
    await submitting.wait()
    two = asyncio.create_task(starting.begin(a_repeat(), WANTED, noted.app, noted.driver))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not two.done()
    go_on.set()
    assert await two is noted.run
    assert (await one).terminal
    assert noted.submits == 1


@pytest.mark.usefixtures("hasty")
async def test_a_repeat_whose_own_caller_hangs_up_starts_nothing() -> None:
    noted = Noted()
    with starting._holding(WANTED), pytest.raises(StillRunning, match="hung up"):
        await starting.begin(a_repeat(gone_after=3), WANTED, noted.app, noted.driver)
    assert noted.submits == 0


async def test_a_caller_that_hangs_up_just_before_the_end_is_noted_too() -> None:
    app, noted = app_of(a_run_that_is(RunStatus.COMPLETED)), Noted()
    app.ports.index, app.ports.clock = noted.app.ports.index, noted.app.ports.clock
    await finished(a_repeat(gone_after=0), WANTED, a_run(), app, since=moment())
    assert noted.names == [a_run().id]
