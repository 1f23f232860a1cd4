"""Waiting for a response, and reading one that goes away meanwhile."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from shared.api.v1.starting import finished, given_to, moment, said_in
from shared.api.v1.streaming import failure, seconds_left
from shared.errors import DormouseError, ResponseNotFound, StillRunning
from shared.runs.run import Run
from shared.runs.store.tables import StoreUnavailable
from shared.settings import Settings
from tests.unit.runs.records import NOW, a_run


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

    appended_items = given_items


def app_of(run: Run | None) -> Any:
    return SimpleNamespace(settings=Settings(), services=SimpleNamespace(store=Store(run)))


async def is_disconnected() -> bool:
    return False


async def test_a_request_waits_from_when_it_came_and_not_from_when_its_run_was_submitted() -> None:
    """A submit may take half a minute, and the platform counts it."""
    app, request = app_of(a_run()), SimpleNamespace(is_disconnected=is_disconnected)
    with pytest.raises(StillRunning):
        await finished(request, a_run(), app, since=moment() - app.settings.api_wait)
    assert app.services.store.looks == 1, "a last look, and no more"
    assert seconds_left(app, moment() - 200) <= app.settings.events_seconds - 200


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
