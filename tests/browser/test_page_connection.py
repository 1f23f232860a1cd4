"""A page that stays open: over outages, while nothing happens, out of sight, and many at once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from local.stack import FunctionsHost
from tests.acceptance.test_approvals import asking
from tests.browser.chromium import Chromium, Tab, in_a_browser
from tests.browser.conftest import App, hand_in, shoot, shown_as
from tests.parts.cutting_proxy import cutting_proxy
from tests.parts.waiting import eventually

pytestmark = in_a_browser

NewApp = Callable[..., Awaitable[App]]
STREAM = re.compile(r"/events$")
# What a browser notes of a connection that is refused, or ends before its time.
OUTAGE = r"Failed to load resource: net::ERR_|ERR_INCOMPLETE_CHUNKED|status of 50[0-9]"


def again(host: FunctionsHost) -> None:
    """The next host on the same address."""
    host.start().wait_ready()


def streams(tab: Tab) -> list[Any]:
    """The requests for live events so far."""
    return [each for each in tab.requests if STREAM.search(each.url)]


async def open_streams(tab: Tab) -> int:
    """How many of them have not ended."""
    return int(await tab.page.evaluate("window.__open ?? 0"))


COUNTED = """
const real = window.fetch;
window.__open = 0;
window.fetch = async (address, options) => {
  const answer = await real(address, options);
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) return answer;
  window.__open += 1;
  const ended = () => { if (!ended.once) { ended.once = true; window.__open -= 1; } };
  options?.signal?.addEventListener("abort", ended);
  const reader = answer.body.getReader();
  const body = new ReadableStream({
    async pull(to) {
      try {
        const { done, value } = await reader.read();
        if (done) { ended(); to.close(); } else to.enqueue(value);
      } catch (error) { ended(); to.error(error); }
    },
    cancel(why) { ended(); return reader.cancel(why); },
  });
  return new Response(body, { status: answer.status, headers: answer.headers });
};
"""
"""Counts the streams that a page holds open, by the page's own `fetch`."""


async def test_a_host_that_is_killed_is_noticed_at_once_and_the_run_completes(
    own_app: NewApp, browser: Chromium
) -> None:
    app = await own_app()
    tab = await browser.tab(app.url)
    tab.expect(OUTAGE)
    text = "".join(f"Part {number}. " for number in range(200))
    run_id = await hand_in(tab, await app.script({"text": text, "think": 1, "stuck": True}))
    await tab.sees("Part 20.")
    app.host.kill()
    killed = time.monotonic()
    await tab.sees("Reconnecting", timeout=10_000)
    noticed = time.monotonic() - killed
    await shoot(tab, "run-reconnecting")
    await app.finish()
    again(app.host)
    await shown_as(tab, "Completed")
    assert (await app.api.run(run_id))["text"] == text
    assert await tab.page.get_by_text("Reconnecting").filter(visible=True).count() == 0
    assert noticed < 5, "two seconds on a machine that is not busy"


async def test_offline_for_minutes_it_never_gives_up_and_is_back_at_once(app: App, browser: Chromium) -> None:
    async with cutting_proxy(app.url) as network:
        tab = await browser.tab(network.url)
        tab.expect(OUTAGE)
        await tab.page.clock.install()
        run_id = await hand_in(tab, await app.script({"text": "All of it.", "think": 1, "stuck": True}))
        await tab.page.clock.resume()
        await shown_as(tab, "In progress")
        # Chromium lets a connection that is open live on while it plays to be offline.
        await tab.page.context.set_offline(True)
        network.go_down()
        await tab.sees("offline")
        await shoot(tab, "run-offline")
        for _ in range(10):
            await tab.page.clock.fast_forward(30_000)
            await asyncio.sleep(0.1)
        await shown_as(tab, "In progress")
        assert "nothing is lost" in await tab.page.get_by_role("main").inner_text()
        await app.finish()
        await app.api.finished(run_id)
        network.down = False
        begun = time.monotonic()
        await tab.page.context.set_offline(False)
        await shown_as(tab, "Completed")
        assert "All of it." in await tab.said()
        assert time.monotonic() - begun < 15, "it asks when the browser is back, not when its timer says so"


async def test_while_a_run_is_parked_nothing_is_held_open_and_hardly_anything_is_asked(
    app: App, browser: Chromium
) -> None:
    person = await browser.person()
    await person.add_init_script(COUNTED)
    tab = await browser.tab(app.url, person)
    await tab.page.clock.install()
    await hand_in(tab, await app.script(asking(("send", "a"))))
    await shown_as(tab, "Needs you")
    await eventually(lambda: _has_open(tab, 0))
    await tab.page.wait_for_load_state("networkidle")
    tab.requests.clear()
    for _ in range(12):
        await tab.page.clock.fast_forward(5_000)
        await asyncio.sleep(0.05)
    assert len([each for each in tab.requests if "/api/" in each.url]) <= 2, [each.url for each in tab.requests]
    assert await open_streams(tab) == 0


async def _has_open(tab: Tab, number: int) -> bool:
    return await open_streams(tab) == number


async def test_a_hidden_tab_holds_no_stream_and_one_that_is_seen_again_does(app: App, browser: Chromium) -> None:
    person = await browser.person()
    await person.add_init_script(COUNTED)
    tab = await browser.tab(app.url, person)
    run_id = await hand_in(tab, await app.script({"text": "All of it.", "think": 1, "stuck": True}))
    await eventually(lambda: _has_open(tab, 1))
    await see(tab, "hidden")
    await eventually(lambda: _has_open(tab, 0))
    await see(tab, "visible")
    await eventually(lambda: _has_open(tab, 1))
    await app.finish()
    await shown_as(tab, "Completed")
    await eventually(lambda: _has_open(tab, 0))
    assert (await app.api.run(run_id))["text"] == "All of it."


async def see(tab: Tab, state: str) -> None:
    """Put the tab out of sight, or back: as far as the page can tell."""
    await tab.page.evaluate(
        """(state) => {
          Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
          Object.defineProperty(document, "hidden", { configurable: true, get: () => state === "hidden" });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


async def test_eight_tabs_of_one_run_all_load_and_move(app: App, browser: Chromium) -> None:
    """Over HTTP/1.1 a browser opens six connections to a host: streams may not take them all."""
    person = await browser.person()
    run_id = await app.start(await app.script({"text": "Text.", "think": 1, "stuck": True}), stream=True)
    tabs = [await browser.tab(app.url, person) for _ in range(8)]
    for tab in tabs:
        await tab.go(f"/ui/runs/{run_id}")
    for tab in tabs:
        await shown_as(tab, "In progress")
    await app.finish()
    for tab in tabs:
        await shown_as(tab, "Completed")
        assert "Text." in await tab.said()


async def test_eight_tabs_of_eight_runs_all_load_and_move(app: App, browser: Chromium) -> None:
    """Of the tabs of one window one is seen, and the others hold nothing."""
    person = await browser.person()
    texts = [await app.script({"text": f"Text {number}.", "think": 1, "stuck": True}) for number in range(8)]
    runs = [await app.start(text, stream=True) for text in texts]
    tabs: list[Tab] = []
    for run_id in runs:
        for before in tabs[-1:]:
            await see(before, "hidden")
        tabs.append(await browser.tab(app.url, person))
        await tabs[-1].go(f"/ui/runs/{run_id}")
        await shown_as(tabs[-1], "In progress")
    await app.finish()
    for number, tab in enumerate(tabs):
        for other in tabs:
            await see(other, "visible" if other is tab else "hidden")
        await shown_as(tab, "Completed")
        assert f"Text {number}." in await tab.said()
