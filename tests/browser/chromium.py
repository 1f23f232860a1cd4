"""A Chromium, and Playwright to drive it: what the machine has, else what npm and PyPI bring."""

from __future__ import annotations

import functools
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local import ROOT
from local.stack import find_node
from local.stack.setup import ensure_environment, ensure_packages
from tests.acceptance.test_browser import HOME, SOURCE, unpacked

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request

PYTHON_HOME = ROOT / ".dormouse" / "browser_python" / f"{sys.version_info.major}.{sys.version_info.minor}"
"""An environment of its own for Playwright, whose 50 MB only these tests want."""

AXE = HOME / "node_modules" / "axe-core" / "axe.min.js"
INSTALLED = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 20_000
REPORT = """
addEventListener("securitypolicyviolation", (each) => console.error("policy", each.violatedDirective, each.blockedURI));
"""
"""Runs in each page first: violations of the policy are errors in the console."""

in_a_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64",
        reason="the package has a Chromium for Linux on x86-64",
    ),
]
"""The marks of every module here: `pytestmark = in_a_browser`."""


@functools.cache
def packages() -> None:
    """Have Chromium, axe-core and Playwright ready."""
    ensure_packages("a headless Chromium", SOURCE, HOME, AXE, find_node(Path(sys.prefix)))
    for each in SOURCE.glob("*.mjs"):
        # Other processes may be reading it.
        made = HOME / f"{each.name}.{os.getpid()}"
        shutil.copyfile(each, made)
        made.replace(HOME / each.name)
    ensure_environment("Playwright", Path(__file__).with_name("requirements.txt"), PYTHON_HOME)
    (site,) = PYTHON_HOME.glob("lib/python3.*/site-packages")
    if str(site) not in sys.path:
        sys.path.append(str(site))  # last: what the tests' own environment has wins


@functools.cache
def how_to_start() -> dict[str, Any]:
    """Playwright's options for the Chromium of this machine, else for the one that is a package."""
    packages()
    found = next(filter(None, map(shutil.which, INSTALLED)), None)
    # Some distributions have a script there that only says how to install it.
    if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
        return {"executable_path": found, "args": ["--no-sandbox"]}
    node = find_node(Path(sys.prefix)).node
    command = [node, HOME / "prepare.mjs", unpacked()]
    made = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    return {"executable_path": made["executablePath"], "args": made["args"], "env": {**os.environ, **made["env"]}}


@dataclass
class Tab:
    """A page that somebody has open, and all that went wrong in it."""

    page: Page
    origin: str
    problems: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """A problem that is part of the test, as a regular expression: Chromium notes every answer of 400 and more."""
        self.expected.append(pattern)

    def unexpected(self) -> list[str]:
        """What went wrong besides: errors in the console, violations of the policy, requests to other origins."""
        return [each for each in self.problems if not any(re.search(pattern, each) for pattern in self.expected)]

    async def go(self, path: str) -> Any:
        """Open this address of the app."""
        return await self.page.goto(self.origin + path)

    async def sees(self, text: str, *, timeout: float = TIMEOUT_MS) -> None:
        """Wait until this text is seen."""
        await self.has(self.page.get_by_text(text).filter(visible=True).first, timeout=timeout)

    async def has(self, element: Locator, *, timeout: float = TIMEOUT_MS) -> None:
        """Wait until this is seen; without it, say what is."""
        try:
            await element.wait_for(timeout=timeout)
        except Exception as error:
            seen = await self.page.locator("body").inner_text()
            raise AssertionError(f"{element} is not there, but this: {seen} {self.problems}") from error

    async def press(self, name: str) -> None:
        """Press the button of this name."""
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def said(self) -> str:
        """The text that the model has written so far, as it is shown."""
        return str(await self.page.get_by_role("log").inner_text())

    async def axe(self) -> list[str]:
        """What axe finds: the rule, and where."""
        await self.page.evaluate(AXE.read_text("utf-8") + "; void 0")
        found = await self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    async def overflow(self) -> float:
        """By how many pixels the page is wider than its window."""
        return float(await self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def _listen(self) -> None:
        def asked(request: Request) -> None:
            self.requests.append(request)
            if not request.url.startswith((f"{self.origin}/", "data:")):
                self.problems.append(f"a request to {request.url}")

        def said(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.problems.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

        self.page.on("request", asked)
        self.page.on("console", said)
        self.page.on("pageerror", lambda error: self.problems.append(f"an exception: {error}"))
        self.page.on("dialog", lambda dialog: self.problems.append(f"a dialog: {dialog.message}"))


class Chromium:
    """A browser; each person in it has cookies and storage of their own."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.tabs: list[Tab] = []

    async def person(self, **options: Any) -> BrowserContext:
        """Somebody with a browser of their own."""
        given = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "timezone_id": "Europe/Berlin"}
        context = await self._browser.new_context(**{**given, **options})
        context.set_default_timeout(TIMEOUT_MS)
        await context.add_init_script(REPORT)
        return context

    async def tab(self, origin: str, person: BrowserContext | None = None, **options: Any) -> Tab:
        """A new tab, of this person or of a new one."""
        page = await (person or await self.person(**options)).new_page()
        tab = Tab(page, origin)
        tab._listen()
        self.tabs.append(tab)
        return tab


@asynccontextmanager
async def chromium(args: Sequence[str] = (), env: Mapping[str, str] | None = None) -> AsyncIterator[Chromium]:
    """A Chromium that ends with the block, and with it the test if anything went wrong in a tab."""
    options = how_to_start()
    playwright = importlib.import_module("playwright.async_api")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(**{**options, "args": [*options["args"], *args]})
        made = Chromium(browser)
        try:
            yield made
        finally:
            await browser.close()
    assert [problem for tab in made.tabs for problem in tab.unexpected()] == []
