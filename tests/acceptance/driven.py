"""A real browser, step by step: a person a set of cookies, a tab a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from local.stack import NodeTools
from tests.acceptance.test_browser import HOME, unpacked

TIMEOUT_MS = 30_000


class Browser:
    """Chromium, by the script that drives it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def step(self, **told: Any) -> Any:
        """One step, and what came of it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        answer = json.loads(await self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def open(self, who: str, address: str) -> Tab:
        """A new tab of this person's."""
        return Tab(self, await self.step(who=who, open=address))

    async def lose_cookies(self, who: str) -> None:
        """Take this person's cookies away."""
        await self.step(who=who, cookies=False)

    async def heard(self, who: str) -> list[str]:
        """All answers that this person's browser had, each with its headers and, once it is over, its body."""
        heard: list[str] = await self.step(who=who, heard=True)
        return heard


class Tab:
    """A page that somebody has open."""

    def __init__(self, browser: Browser, number: int) -> None:
        self._browser = browser
        self._number = number

    async def do(self, method: str, *args: Any) -> Any:
        """Call this method of the driver's page."""
        return await self._browser.step(page=self._number, method=method, args=args)

    async def fill(self, selector: str, value: str) -> None:
        await self.do("fill", selector, value, {"timeout": TIMEOUT_MS})

    async def click(self, selector: str) -> None:
        await self.do("click", selector, {"timeout": TIMEOUT_MS})

    async def says(self, selector: str, text: str) -> None:
        """Wait until this element is seen and holds this text."""
        # The driver's own selectors: a script of the driver's would have to be one that the page allows.
        seen = f"{selector}:visible:has-text({json.dumps(text)})"
        try:
            await self.do("waitForSelector", seen, {"timeout": TIMEOUT_MS})
        except AssertionError as error:
            raise AssertionError(f"{selector} does not say {text!r}: {await self.do('textContent', 'body')}") from error

    async def text(self, selector: str) -> str:
        """What this element holds, seen or not."""
        return str(await self.do("textContent", selector))


@asynccontextmanager
async def browser(node: NodeTools) -> AsyncIterator[Browser]:
    """A browser that ends with the block."""
    pipe = asyncio.subprocess.PIPE
    given = json.dumps({"unpacked": unpacked()})
    process = await asyncio.create_subprocess_exec(
        node.node, HOME / "driver.mjs", given, stdin=pipe, stdout=pipe, limit=64 * 1024 * 1024
    )
    try:
        yield Browser(process)
        assert process.stdin
        process.stdin.close()
        async with asyncio.timeout(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
