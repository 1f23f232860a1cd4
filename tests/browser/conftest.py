"""The page in a real browser, over the whole local stack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from local import ROOT
from local.stack import FunctionsHost
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, own_stack
from tests.acceptance.test_approvals import script
from tests.browser.chromium import Chromium, Tab, chromium

__all__ = ["own_stack"]

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

    async def start(self, text: str, agent: str = "workshop", **more: Any) -> str:
        """Submit it; the run's id."""
        return await self.api.start(text, agent=agent, **more)


@pytest.fixture
async def app(own_stack: Callable[..., Stack]) -> AsyncIterator[App]:
    """An app on the local stack; nobody else uses it."""
    stack = own_stack("durable")
    host = stack.host()
    async with Api(host.url) as api:
        yield App(stack, host, api)


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
