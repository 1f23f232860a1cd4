"""The stores, under one name, each empty at the start of a test: in memory, on Azurite, and with its texts sealed."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.runs.store.azure import AzureTables
from shared.runs.store.sealed import SealedTables
from shared.runs.store.tables import Tables
from shared.sealing.envelope import EnvelopeSealer
from shared.sealing.local_key import LocalKey
from tests.contract.store.played import Service
from tests.parts.memory import MemoryTables


@pytest.fixture
def prefix() -> str:
    """A table prefix of this test's own, so that tests share one Azurite."""
    return f"t{secrets.token_hex(8)}"


@pytest.fixture(params=["memory", "azurite", "sealed"])
async def tables(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Tables]:
    """Each store in turn."""
    store: Tables = MemoryTables()
    if request.param == "azurite":
        azurite = request.getfixturevalue("azurite")
        store = AzureTables.from_connection_string(azurite.connection_string, prefix)
    if request.param == "sealed":
        store = SealedTables(store, EnvelopeSealer([LocalKey(b"k" * 32)], lambda: datetime.now(UTC)))
    yield store
    await store.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A table service that plays its lines."""
    played = Service()
    app = web.Application(client_max_size=8 * 2**20)
    app.router.add_route("*", "/{path:.*}", played.answer)
    server = TestServer(app)
    await server.start_server()
    played.port = server.port or 0
    yield played
    await server.close()
