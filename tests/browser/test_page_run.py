"""One run on the page: handed in, left, found again, and told to the last byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.acceptance.test_approvals import asking
from tests.browser.chromium import Chromium, Tab, in_a_browser
from tests.browser.conftest import App, hand_in, shoot, shown_as
from tests.parts.waiting import eventually

pytestmark = in_a_browser

LINE = "Ein Satz mit *Sternen*, \u201eZitaten\u201c, 名字 und \U0001f439.  \r\n\r\n"
TEXT = "".join(f"Nr {number}: {LINE}" for number in range(60)) + "  the end  "


async def plain(tab: Tab) -> str:
    """The text as it is, without its Markdown being read."""
    await tab.page.get_by_label("Plain text").check()
    return str(await tab.page.get_by_role("log").locator("pre").text_content())


async def test_a_tab_closed_at_once_loses_nothing(app: App, browser: Chromium) -> None:
    text = await app.script({"text": "Far away.", "think": 1}) + " Watch nobody."
    tab = await browser.tab(app.url)
    run_id = await hand_in(tab, text)
    address = tab.page.url
    await tab.page.close()

    again = await browser.tab(app.url)
    await again.page.goto(address)
    await shown_as(again, "Completed")
    assert "Far away." in await again.said()
    runs = (await app.api.call("GET", "/api/runs")).body["data"]
    assert [run["id"] for run in runs if run["title"].endswith("Watch nobody.")] == [run_id]
    await shoot(again, "run-completed")


async def test_a_reload_in_the_middle_of_the_text_shows_all_of_it_to_the_byte(app: App, browser: Chromium) -> None:
    text = await app.script({"text": TEXT, "think": 1, "stuck": True})
    tab = await browser.tab(app.url)
    run_id = await hand_in(tab, text)
    await tab.sees("Nr 10: Ein Satz")
    await shoot(tab, "run-live")
    await tab.page.reload()
    await tab.sees("Nr 10: Ein Satz")
    await app.finish()
    await shown_as(tab, "Completed")

    run = await app.api.run(run_id)
    assert run["text"] == TEXT
    # `textContent` and the answer, both as JavaScript strings: nothing is normalised on the way.
    assert await plain(tab) == run["text"]


# --- approvals ---


async def test_the_arguments_shown_are_those_that_run(app: App, browser: Chromium) -> None:
    label = 'to: \u202eada\u202c "x" <b>& 12345678901234567890 \u200b' + "long " * 300
    text = await app.script({"calls": [{"name": "send", "arguments": {"label": label}}]})
    tab = await browser.tab(app.url)
    run_id = await hand_in(tab, text)
    await shown_as(tab, "Needs you")
    await shoot(tab, "run-approval")
    shown = str(await tab.page.locator("[data-arguments]").text_content())
    assert "\u202e" not in shown, "what cannot be seen is written out"
    assert "\u200b" not in shown
    await tab.press("Approve")
    await shown_as(tab, "Completed")

    (ran,) = [each for each in app.stack.traces() if each.run_id == run_id]
    assert json.loads(shown) == {"label": ran.label}
    assert ran.label == label


async def test_of_two_tabs_the_one_that_comes_too_late_reads_who_decided_what(app: App, browser: Chromium) -> None:
    text = await app.script(asking(("send", "a")))
    first = await browser.tab(app.url)
    run_id = await hand_in(first, text)
    second = await browser.tab(app.url)
    await second.go(f"/ui/runs/{run_id}")
    for tab in (first, second):
        await shown_as(tab, "Needs you")
    # The second does not hear of it before it answers.
    held = asyncio.Event()

    async def late(route: Any) -> None:
        await held.wait()
        await route.continue_()

    await second.page.route(re.compile(r"/answers$"), late)
    await second.press("Refuse")
    await first.press("Approve")
    await shown_as(first, "Completed")
    held.set()
    second.expect("status of 409")
    await second.sees("has already approved send")
    await shown_as(second, "Completed")
    assert [each.tool for each in app.stack.traces() if each.run_id == run_id] == ["send"]


async def test_a_cancel_says_what_had_finished_and_nothing_is_said_to_run_any_more(app: App, browser: Chromium) -> None:
    calls = [
        {"name": "work", "arguments": {"label": "quick"}},
        {"name": "hold", "arguments": {"label": "held-for-cancel"}},
    ]
    tab = await browser.tab(app.url)
    run_id = await hand_in(tab, await app.script({"calls": calls}))
    await tab.page.locator("li.call").filter(has_text="hold").filter(has_text="running").wait_for()
    await tab.page.locator("li.call").filter(has_text="work").filter(has_text="finished").wait_for()
    await shoot(tab, "run-tools")
    await tab.press("Cancel")
    await tab.page.get_by_role("dialog").get_by_text("What its tools have done stays done.").wait_for()
    await tab.press("Cancel the run")
    await shown_as(tab, "Cancelled")
    await tab.sees("these had finished")
    notice = await tab.page.locator(".notice").inner_text()
    assert "work" in notice.split("Not finished")[0]
    assert "hold" in notice.split("Not finished")[1]
    await eventually(lambda: _nothing_runs(tab))
    assert (await app.api.run(run_id))["status"] == "cancelled"
    await shoot(tab, "run-cancelled")


async def _nothing_runs(tab: Tab) -> bool:
    return "running" not in await tab.page.get_by_role("main").inner_text()


# --- the timeline ---


async def steps(tab: Tab) -> tuple[int, int, str]:
    """The sums of the timeline's lines: wakes and milliseconds; and its last line."""
    await tab.page.get_by_text(re.compile("^All .* steps$")).click()
    table = tab.page.get_by_role("table")
    await table.wait_for()
    script = "cells => cells.reduce((sum, cell) => sum + Number(cell.dataset.%s ?? 0), 0)"
    wakes = await table.locator("td[data-wakes]").evaluate_all(script % "wakes")
    worked = await table.locator("td[data-ms]").evaluate_all(script % "ms")
    return wakes, worked, str(await table.locator("tfoot").inner_text())


async def test_the_lines_of_a_timeline_add_up_to_what_the_run_says(
    own_app: Callable[..., Awaitable[App]], browser: Chromium
) -> None:
    """Many looks are one line, and of very many lines some are left out; it is opened only when all is over."""
    app = await own_app(DORMOUSE_POLL_FIRST_SECONDS="0.01", DORMOUSE_POLL_MAX_SECONDS="0.01")
    calls = [
        {"name": "work", "arguments": {"label": "a", "seconds": 0.3}},
        {"name": "stumble", "arguments": {"label": "b"}},
    ]
    run_id = await app.start(await app.script({"calls": calls}, {"text": "x", "stuck": True}))
    await app.api.until(run_id, lambda run: run["wakes"] >= 3_000, timeout=240)
    await app.finish()
    run = await app.api.finished(run_id)

    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run_id}")
    await shown_as(tab, "Completed")
    wakes, worked, last = await steps(tab)
    assert wakes == run["wakes"]
    assert worked == pytest.approx(run["active_seconds"] * 1000, abs=1)
    assert f"{run['wakes']:,}" in last.split(), last
    await shoot(tab, "run-timeline")


async def bars(tab: Tab) -> list[tuple[float, float, float, str]]:
    """Each bar that is drawn: milliseconds, width and left edge in pixels, and what it is."""
    script = """bars => bars.map((bar) => {
      const { width, left } = bar.getBoundingClientRect();
      const margin = bar.parentElement.getBoundingClientRect().left;
      return [Number(bar.dataset.ms), width, left - margin, bar.className];
    })"""
    return [tuple(each) for each in await tab.page.locator(".bar").evaluate_all(script)]


async def test_bars_are_drawn_to_scale_and_only_idle_time_shrinks(app: App, browser: Chromium) -> None:
    calls = [{"name": "work", "arguments": {"label": "a", "seconds": seconds}} for seconds in (0.8, 1.6)]
    text = await app.script({"calls": calls, "think": 2}, {"text": "x", "think": 2})
    run_id = await app.start(text)
    await app.api.finished(run_id)
    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run_id}")
    await tab.page.locator(".bar").first.wait_for()
    drawn = await bars(tab)
    whole = max(drawn, key=lambda each: each[0])
    scale = whole[1] / whole[0]
    assert len([each for each in drawn if "tool" in each[3]]) == 2
    for milliseconds, width, _, name in drawn:
        assert width == pytest.approx(max(milliseconds * scale, 0), abs=1) or milliseconds * scale < 3, (name, width)

    await tab.page.get_by_label("Leave out idle time").check()
    shrunk = await bars(tab)
    assert len(shrunk) == len(drawn)
    busy = [(before, after) for before, after in zip(drawn, shrunk, strict=True) if "tool" in before[3]]
    (long, long_after), (short, short_after) = sorted(busy, reverse=True)
    assert long_after[1] / short_after[1] == pytest.approx(long[0] / short[0], rel=0.02)
    assert long_after[1] > long[1], "what is not idle has the room"
    thinking = [(before, after) for before, after in zip(drawn, shrunk, strict=True) if before[3].split()[1] == "model"]
    assert all(after[1] < before[1] for before, after in thinking)
    assert [each[3] for each in sorted(shrunk, key=lambda each: each[2])] != []
    await shoot(tab, "run-timeline-collapsed")
