"""Waiting for a response, and reading one that goes away meanwhile."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from shared.api.pacing import LONGEST
from shared.api.v1 import starting
from shared.api.v1.starting import finished, given_to, moment, said_in, seconds_left
from shared.api.v1.streaming import failure
from shared.errors import DormouseError, ResponseNotFound, StillRunning
from shared.runs.run import Run
from shared.runs.store.tables import StoreUnavailable
from shared.runs.submission import Submission
from shared.runs.viewing.watch import Viewing
from shared.settings import Settings
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
    services: Any = SimpleNamespace(settings=Settings(), store=Store(run), luck=lambda: 0.0)
    return SimpleNamespace(settings=services.settings, services=services, viewing=Viewing(services))


async def is_disconnected() -> bool:
    return False


async def test_a_request_is_over_in_time_however_long_its_submit_took() -> None:
    app, request = app_of(a_run()), SimpleNamespace(is_disconnected=is_disconnected)
    with pytest.raises(StillRunning):
        await finished(request, WANTED, a_run(), app, since=moment() - LONGEST)
    assert app.services.store.looks == 1, "a last look, and no more"
    now = moment()
    assert seconds_left(220, now - 30) <= LONGEST - 30 < 220
    assert seconds_left(100, now - 30) == 100, "there is time enough"
    assert seconds_left(1, now - 30) == 1


@pytest.mark.parametrize("now", [None, replace(a_run(), deleted_at=NOW)])
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


async def test_a_repeat_waits_for_the_word_of_who_holds_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds a request sees a little later that its caller hung up, on a busy machine more than a little."""
    monkeypatch.setattr(starting, "LOOKS_SECONDS", 0.0)
    monkeypatch.setattr(starting, "LOOK_GAP", 0.0)
    run, left = a_run(), iter([None, None, "its id", None])

    async def take(*_: object) -> str | None:
        return next(left)

    async def load(_: str) -> Any:
        return SimpleNamespace(value=run)

    index, store = SimpleNamespace(take_unanswered=take), SimpleNamespace(load_visible=load)
    app: Any = SimpleNamespace(services=SimpleNamespace(clock=lambda: NOW, index=index, store=store))
    again = SimpleNamespace(headers={"x-stainless-retry-count": "1"})
    with starting._holding(WANTED):
        assert await starting._left_before(again, WANTED, app) is run
    assert await starting._left_before(again, WANTED, app) is None
