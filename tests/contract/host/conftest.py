"""A host with the recorded app, and a session to its management routes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from azurefunctions.extensions import base

from local.host import Host, MovableClock
from local.host.http import FASTAPI_EXTENSION
from tests.contract.host.stage import HERE, HOST_JSON, KEYS, Recorder, Stage


@pytest.fixture
def app_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The recorded app has Microsoft's extension. A process takes one, and here others may have loaded the app's own.
    monkeypatch.setattr(base.ModuleTrackerMeta, "_module", FASTAPI_EXTENSION)
    monkeypatch.setattr(base.RequestTrackerMeta, "_request_type", None)
    monkeypatch.setattr(base.ResponseTrackerMeta, "_response_types", {})
    (tmp_path / "function_app.py").write_bytes((HERE / "recorded_app.py").read_bytes())
    (tmp_path / "host.json").write_text(json.dumps(HOST_JSON))
    return tmp_path


@pytest.fixture
async def stage(app_dir: Path) -> AsyncIterator[Stage]:
    clock = MovableClock()
    async with Host(app_dir, port=0, clock=clock, keys=KEYS) as host:
        hub = host.hub
        recorder = Recorder(hub.caller, lambda: any(one.busy for one in hub.query()))
        hub.caller = recorder
        yield Stage(host, clock, recorder)


@pytest.fixture
async def rpc(stage: Stage) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"{stage.host.rpc_url}/durabletask/") as session:
        yield session
