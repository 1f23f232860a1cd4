"""The whole stack for acceptance tests: hosts as processes, Azurite, the scripted model.

``shared_stack`` is one host a driver for the whole session, for tests that break nothing. ``own_stack`` makes hosts
that a test may kill, move in time and configure. ``target`` is whatever ``--against`` names, or a shared stack.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from local import ROOT
from local.model.control import ModelControl
from local.stack import Azurite, FunctionsHost, ScriptedModel
from tests.acceptance.client import AGAINST, Api
from tests.parts.workshop import LOG_VARIABLE, Trace, traces

QUICK = {
    "DORMOUSE_POLL_FIRST_SECONDS": "0.1",
    "DORMOUSE_POLL_MAX_SECONDS": "2",
    "DORMOUSE_SWEEP_SECONDS": "1",
    "DORMOUSE_SAMPLE_TOOL_SECONDS": "0.1",
}
"""The schedule of the tests: the same code, with gaps that a test can wait for."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `--all` what is not marked `main`: a new test here costs the default tier nothing unless it says so."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and not item.get_closest_marker("main"):
            item.add_marker(pytest.mark.slow)


CLIENT_KEYS = {"ada": "ada-secret-0123456789", "bob": "bob-secret-0123456789"}
"""The keys of OpenAI clients, by name."""


@dataclass(kw_only=True)
class Stack:
    """One app: its storage and model account, and a way to make hosts of it."""

    driver: str
    azurite: Azurite
    model_server: ScriptedModel
    account: str
    prefix: str
    folder: Path
    env: Mapping[str, str]
    stack: contextlib.ExitStack

    @property
    def model(self) -> ModelControl:
        """The control of this stack's account at the scripted model."""
        return ModelControl(self.model_server.url, self.account)

    def host(
        self,
        *,
        driver: str | None = None,
        args: Sequence[str] = (),
        python: str | Path = sys.executable,
        module: str = "tests.acceptance.launch",
        app_dir: Path = ROOT,
        **env: str,
    ) -> FunctionsHost:
        """Start a host on this stack's storage, wait until it is ready. Stopped at the end of the test."""
        number = len(list(self.folder.glob("host-*.log")))
        host = FunctionsHost(
            python=python,
            module=module,
            app_dir=app_dir,
            args=["--movable-clock", *args],
            env={
                "AzureWebJobsStorage": self.azurite.connection_string,
                "OPENAI_API_KEY": self.account,
                "OPENAI_BASE_URL": f"{self.model_server.url}/v1",
                "DORMOUSE_TABLE_PREFIX": self.prefix,
                "DORMOUSE_DRIVER": driver or self.driver,
                "PYTHON_ENABLE_INIT_INDEXING": "1",
                LOG_VARIABLE: str(self.tool_log),
                "DORMOUSE_API_KEYS": ",".join(f"{name}:{secret}" for name, secret in CLIENT_KEYS.items()),
                **QUICK,
                **self.env,
                **env,
            },
            log=self.folder / f"host-{number}.log",
        )
        host.env.setdefault("DORMOUSE_PUBLIC_BASE_URL", host.url)
        self.stack.callback(host.stop)
        return host.start().wait_ready()

    @property
    def tool_log(self) -> Path:
        """Where the workshop's tools leave their trace."""
        return self.folder / "tools.jsonl"

    def traces(self, label: str | None = None, what: str | None = None) -> list[Trace]:
        """The trace of the workshop's tools."""
        return traces(self.tool_log, label, what)


def admin(host: FunctionsHost) -> dict[str, str]:
    """The header that opens a host's `/admin/…`."""
    return {"x-functions-key": host.admin_key}


async def move_clock(host: FunctionsHost, seconds: float) -> None:
    """Move the clock of a host, and of the app in it."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{host.url}/admin/clock", json={"advance": seconds}, headers=admin(host)) as response,
    ):
        assert response.status == 200, await response.text()


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running app: by its HTTP face, and, where it is ours, by its stack."""

    api: Api
    stack: Stack | None = None
    host: FunctionsHost | None = None

    @property
    def model(self) -> ModelControl:
        """The control of its model's account."""
        assert self.stack is not None
        return self.stack.model

    async def lasting(self) -> str:
        """An input whose run goes on until it is cancelled; at a model that is not ours, as long as a story takes."""
        if self.stack is None:
            return "Write a story about patience."
        await self.model.script("lasting", [{"stuck": True}])
        return "[script:lasting] A story, please."


def new_stack(
    driver: str,
    azurite: Azurite,
    model: ScriptedModel,
    folder: Path,
    stack: contextlib.ExitStack,
    env: Mapping[str, str],
) -> Stack:
    """A stack of its own: fresh tables, a fresh account."""
    name = secrets.token_hex(6)
    return Stack(
        driver=driver,
        azurite=azurite,
        model_server=model,
        account=f"account-{name}",
        prefix=f"t{name}",
        folder=folder,
        env=env,
        stack=stack,
    )


DRIVERS = ("as_it_runs",) if os.environ.get(AGAINST) else ("durable", "timer")


def client_of(url: str, key: str = CLIENT_KEYS["ada"], **more: Any) -> AsyncOpenAI:
    """A client as its users make it."""
    return AsyncOpenAI(base_url=f"{url}/api/v1", api_key=key, **more)


@pytest.fixture(params=[DRIVERS[0], *(pytest.param(other, marks=pytest.mark.slow) for other in DRIVERS[1:])])
def driver(request: pytest.FixtureRequest) -> str:
    """The driver of the app: `durable`, and with `--all` the timer as well. Under ``--against`` whatever it has."""
    return str(request.param)


both_drivers = pytest.mark.parametrize("driver", DRIVERS)
"""For what the driver is all about: runs under each of them without `--all`, too."""


@pytest.fixture(scope="session")
def shared_hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], tuple[Stack, FunctionsHost]]]:
    """One host a driver, started when first asked for."""
    running: dict[str, tuple[Stack, FunctionsHost]] = {}
    with contextlib.ExitStack() as stack:

        def get(driver: str) -> tuple[Stack, FunctionsHost]:
            if driver not in running:
                azurite = request.getfixturevalue("azurite")
                model = request.getfixturevalue("model_server")
                made = new_stack(driver, azurite, model, tmp_path_factory.mktemp(f"shared-{driver}"), stack, {})
                running[driver] = made, made.host()
            return running[driver]

        yield get


@pytest.fixture
async def target(
    request: pytest.FixtureRequest, shared_hosts: Callable[[str], tuple[Stack, FunctionsHost]]
) -> AsyncIterator[Target]:
    """A running app that the test breaks nothing of. Under ``--against`` it is the one at that URL."""
    against = os.environ.get(AGAINST)
    if against:
        async with Api(against, os.environ.get("DORMOUSE_TEST_KEY")) as api:
            yield Target(api=api)
        return
    stack, host = shared_hosts(request.getfixturevalue("driver"))
    async with Api(host.url) as api:
        yield Target(api=api, stack=stack, host=host)


@pytest.fixture
def own_stack(azurite: Azurite, model_server: ScriptedModel, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Make a stack of the test's own: ``own_stack(driver, SETTING="value")``."""
    with contextlib.ExitStack() as stack:

        def make(driver: str = "durable", **env: str) -> Stack:
            return new_stack(driver, azurite, model_server, tmp_path, stack, env)

        yield make


@pytest.fixture
async def ada(target: Target) -> AsyncIterator[AsyncOpenAI]:
    """A client with a key of the shared app."""
    async with client_of(target.api.url) as client:
        yield client
