"""The page in a real browser, over the whole local stack."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from local import ROOT
from local.stack import FunctionsHost
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, own_stack, shared_hosts
from tests.acceptance.test_approvals import script
from tests.browser.chromium import Chromium, Tab, chromium

__all__ = ["own_stack", "shared_hosts"]

RUN = re.compile(r"/ui/runs/(run_[0-9a-f]{32}_[0-9]+)$")
SCREENSHOTS = ROOT / ".dormouse" / "screenshots"


@dataclass
class App:
    """A running app of the test's own."""

    stack: Stack
    host: FunctionsHost
    api: Api

    @property
    def url(self) -> str:
        """Where it is."""
        return self.host.url

    async def script(self, *turns: Mapping[str, Any]) -> str:
        """The input that plays these turns, and a last one that says what the tools gave."""
        return await script(self.stack.model, *turns)

    async def finish(self) -> None:
        """Let the model end all that it is at."""
        for each in await self.stack.model.responses():
            await self.stack.model.finish(each.id)

    async def start(self, text: str, agent: str = "workshop", **more: Any) -> str:
        """Submit it; the run's id."""
        return await self.api.start(text, agent=agent, **more)


@pytest.fixture
async def app(shared_hosts: Callable[[str], tuple[Stack, FunctionsHost]]) -> AsyncIterator[App]:
    """An app on the local stack that the tests of this process share: one that breaks nothing."""
    stack, host = shared_hosts("durable")
    async with Api(host.url) as api:
        yield App(stack, host, api)


@pytest.fixture
async def own_app(own_stack: Callable[..., Stack]) -> AsyncIterator[Callable[..., Awaitable[App]]]:
    """Make an app of the test's own: ``await own_app(SETTING="value", args=["--function-key", "k"])``."""
    async with contextlib.AsyncExitStack() as opened:

        async def make(driver: str = "durable", *, args: Sequence[str] = (), key: str | None = None, **env: str) -> App:
            stack = own_stack(driver, **env)
            host = stack.host(args=args)
            return App(stack, host, await opened.enter_async_context(Api(host.url, key)))

        yield make


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    """A browser. The test fails on whatever went wrong in one of its tabs."""
    async with chromium() as made:
        yield made


async def shoot(tab: Tab, name: str) -> None:
    """Pictures of what is seen: light and dark, wide and narrow. The tab is as before then."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    before = tab.page.viewport_size
    for scheme in ("light", "dark"):
        for width in (1280, 320):
            await tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await tab.page.set_viewport_size({"width": width, "height": 900})
            await tab.page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{width}.png", full_page=True)
    await tab.page.emulate_media(color_scheme="light")
    if before:
        await tab.page.set_viewport_size(before)


async def hand_in(tab: Tab, text: str, agent: str = "workshop") -> str:
    """Start a run as a person does; its id."""
    await tab.go("/ui/")
    await tab.page.get_by_role("radio", name=re.compile(f"^{agent}")).check()
    await tab.page.get_by_role("textbox", name="Task", exact=True).fill(text)
    await tab.press("Start")
    await tab.page.wait_for_url(RUN)
    found = RUN.search(tab.page.url)
    assert found
    return found[1]


async def shown_as(tab: Tab, status: str) -> None:
    """Wait until the run's status is this word."""
    await tab.has(tab.page.locator("header .status").filter(has_text=status))
