"""Idle connections: the servers of the local stack keep them longer than their clients do.

A client that writes to a connection just as the server closes it cannot know what became of its request.
"""

from __future__ import annotations

from pathlib import Path

import aiohttp

from local.host.server import serving
from local.model.server import build_app, model_config
from local.serving import listen
from local.stack import Azurite
from shared.agentkit import provider


async def longest_of_aiohttp() -> float:
    """Seconds; what the durable client, the tables' client and the tests call with."""
    async with aiohttp.TCPConnector() as connector:
        return connector._keepalive_timeout


async def test_the_host_outlasts_its_callers_and_the_durable_client() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    with listen("127.0.0.1", 0) as listener:
        assert serving(app, listener).config.timeout_keep_alive > await longest_of_aiohttp()


def test_the_scripted_model_outlasts_the_provider_s_client() -> None:
    assert model_config(build_app()).timeout_keep_alive > provider.KEEP_ALIVE_SECONDS


async def test_azurite_outlasts_the_tables_client(tmp_path: Path) -> None:
    azurite = Azurite(tmp_path, (1, 2, 3), node=Path("node"), entry=Path("azurite.js"), log=tmp_path / "log")
    flags = dict(flag.split("=") for flag in azurite.command if "KeepAliveTimeout=" in flag)
    assert flags.keys() == {f"--{kind}KeepAliveTimeout" for kind in ("blob", "queue", "table")}
    assert min(map(int, flags.values())) > await longest_of_aiohttp()
