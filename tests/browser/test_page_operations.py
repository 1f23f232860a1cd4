"""The operator's view: who gets in, what it shows and does, and that it keeps what somebody is at."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.runs.store.azure import AzureTables
from shared.runs.store.due import DueStore
from tests.browser.chromium import Chromium, Tab, in_a_browser
from tests.browser.conftest import App, shoot
from tests.parts.waiting import eventually

pytestmark = in_a_browser

NewApp = Callable[..., Awaitable[App]]
KEY = "operator-key-0123456789-of-the-tests"
FUNCTION_KEY = "the-key-of-operators"
OFF = "DORMOUSE_OPERATOR_KEY has a value"


async def give(tab: Tab, key: str) -> None:
    """Give this key in the operator's view."""
    await tab.page.get_by_label("Operator's key").fill(key)
    await tab.press("Use this key")


def links(tab: Tab) -> Any:
    """The page's links to the operator's view, in its navigation."""
    return tab.page.get_by_role("navigation", name="Main").get_by_role("link", name="Operations")


async def told(tab: Tab, text: str) -> None:
    """Wait until the page says that this has just happened."""
    await tab.has(tab.page.locator(".told").filter(has_text=text))


async def refresh(tab: Tab) -> None:
    """Have the page look again now, as it does when its device is online again."""
    async with tab.page.expect_response(lambda answer: "/api/ops/quarantined" in answer.url):
        await tab.page.evaluate("dispatchEvent(new Event('online'))")


async def test_the_operators_key_opens_a_view_and_is_sent_with_its_calls_alone(
    own_app: NewApp, browser: Chromium
) -> None:
    app = await own_app(args=["--function-key", FUNCTION_KEY], key=FUNCTION_KEY, DORMOUSE_OPERATOR_KEY=KEY)
    tab = await browser.tab(app.url)
    tab.expect("status of 401")
    await tab.go("/ui/about")
    await tab.page.get_by_label("Function key").fill(FUNCTION_KEY)
    await tab.page.get_by_label("Operator's key").fill("x" * 32)
    await tab.press("Use this key")
    await tab.sees("does not take this operator's key")
    assert await links(tab).count() == 0
    await tab.press("Forget the operator's key")
    await tab.page.get_by_role("alert").wait_for(state="detached")
    await tab.page.get_by_role("main").get_by_role("link", name="Operations").click()
    await tab.sees("For whoever runs this app")
    asked = len(tab.requests)
    await give(tab, "schlüssel" * 4)
    await tab.sees("does not take this operator's key")
    assert len(tab.requests) == asked, "what no header may hold is not sent"
    await give(tab, "y" * 32)
    await tab.sees("invalid_operator_key")
    await give(tab, KEY)
    await tab.sees("Nothing is overdue.")
    assert await links(tab).get_attribute("aria-current") == "page"
    assert await tab.axe() == []

    await tab.go("/ui/runs")
    await tab.has(links(tab))
    assert KEY not in tab.page.url + "".join(each.url for each in tab.requests)
    sent = {each.url.removeprefix(app.url) for each in tab.requests if each.headers.get("x-dormouse-operator-key")}
    assert sent
    assert [each for each in sent if not each.startswith("/api/ops/")] == []
    kept = await tab.page.evaluate("[JSON.stringify(localStorage), document.cookie, JSON.stringify(sessionStorage)]")
    assert KEY not in kept[0] + kept[1]
    assert KEY in kept[2]
    await links(tab).click()
    await tab.press("Forget the operator's key")
    await tab.sees("For whoever runs this app")
    assert await links(tab).count() == 0
    assert KEY not in await tab.page.evaluate("JSON.stringify(sessionStorage)")


async def test_an_app_without_these_calls_says_which_setting_turns_them_on(app: App, browser: Chromium) -> None:
    tab = await browser.tab(app.url)
    tab.expect("status of 404")
    await tab.go("/ui/operations")
    await give(tab, KEY)
    await tab.sees(OFF)
    assert await links(tab).count() == 0
    assert await tab.axe() == []


async def test_an_operator_pauses_drains_and_sees_to_what_is_overdue(own_app: NewApp, browser: Chromium) -> None:
    app = await own_app(DORMOUSE_OPERATOR_KEY=KEY)
    text = await app.script({"text": "x", "stuck": True})
    late, later, aside = [await app.start(text) for _ in range(3)]
    for each in (late, later, aside):
        await app.api.until(each, lambda run: run["status"] == "in_progress")
    tab = await browser.tab(app.url, color_scheme="light")
    await tab.go("/ui/operations")
    await give(tab, KEY)

    # Paused and resumed, by the keyboard.
    await tab.has(tab.page.get_by_role("button", name="Pause", exact=True))
    await tab.page.get_by_role("button", name="Pause", exact=True).focus()
    await tab.page.keyboard.press("Enter")
    await tab.page.keyboard.type("Back at noon.")
    await tab.page.keyboard.press("Enter")
    await told(tab, "Every instance obeys within five seconds")
    await tab.sees("Paused since")
    await tab.sees("Back at noon.")
    refused = await app.api.submit("x")
    assert (refused.status, refused["code"]) == (503, "intake_paused")
    assert await tab.page.evaluate("document.activeElement.textContent") == "Resume", "where the keyboard was"
    await tab.page.keyboard.press("Enter")
    await tab.sees("New runs have been taken since")

    # Drained: from now on nothing moves the rows by itself.
    await tab.press("Drain")
    await tab.page.get_by_role("dialog").get_by_role("button", name="Drain the app").click()
    await told(tab, "The app drains")
    await tab.sees("The app has been draining since")
    await overdue(app, late, later, aside)
    await refresh(tab)

    # What is overdue comes by itself, and whoever is at a row keeps it.
    asks = tab.page.get_by_role("button", name=f"End {later}")
    await tab.has(asks)
    await tab.sees("Sweeps in a row that have found it overdue: 3.")
    await tab.sees("A field is not known: shape")
    await shoot(tab, "operations")
    assert await tab.overflow() <= 0
    assert await tab.axe() == []
    await asks.click()
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_text(later).wait_for()
    assert await tab.page.evaluate("document.activeElement.textContent") == "Back"
    await app.api.call("POST", f"/api/ops/runs/{later}/release", headers={"x-dormouse-operator-key": KEY})
    await app.api.call("POST", f"/api/runs/{later}/cancel")
    await refresh(tab)
    await tab.page.keyboard.press("Escape")
    assert await asks.evaluate("each => each === document.activeElement"), "its row is still there"
    await tab.page.keyboard.press("Enter")
    await dialog.get_by_role("button", name="End the run").click()
    await told(tab, f"{later} was ended. Its status: Cancelled.")
    await tab.press(f"Wake {late}")
    await told(tab, f"{late} was woken")
    await tab.press(f"Release {aside}")
    await told(tab, f"{aside} was given back")
    await tab.sees("No longer in this list.")
    await tab.page.get_by_role("button", name="Leave out what is done").first.click()
    await tab.sees("Nothing is put aside.")

    await tab.press("End the drain")
    await told(tab, "The drain has ended")
    await tab.page.get_by_role("link", name=late).click()
    await tab.page.wait_for_url(re.compile(f"/ui/runs/{late}$"))


async def overdue(app: App, late: str, later: str, aside: str) -> None:
    """Two of them are overdue, one has been put aside: as sweeps write it."""
    tables = AzureTables.from_connection_string(app.stack.azurite.connection_string, app.stack.prefix)
    due, now = DueStore(tables), datetime.now(UTC)

    async def written(run_id: str, minutes: int) -> bool:
        row = await due.get(run_id)
        assert row is not None
        if run_id == aside:
            return await due.quarantine(row, "A field is not known: shape", now)
        return await due.set_due(row, now - timedelta(minutes=minutes), now, overdue_sweeps=3)

    for run_id, minutes in ((late, 30), (later, 20), (aside, 0)):
        await eventually(lambda run_id=run_id, minutes=minutes: written(run_id, minutes))
    await tables.close()


async def test_a_failure_is_told_with_its_code_and_loses_nothing(own_app: NewApp, browser: Chromium) -> None:
    app = await own_app(DORMOUSE_OPERATOR_KEY=KEY)
    tab = await browser.tab(app.url, locale="zh-CN", color_scheme="dark")
    tab.expect("status of 503")
    problem = {"type": "urn:x", "title": "x", "status": 503, "code": "storage_unavailable", "detail": "Storage."}
    fails = False

    async def storage(route: Any) -> None:
        if fails:
            await route.fulfill(status=503, json=problem, content_type="application/problem+json")
        else:
            await route.continue_()

    await tab.page.route(re.compile(r"/api/ops/"), storage)
    await tab.go("/ui/operations")
    await tab.page.get_by_label("运维密钥").fill(KEY)
    await tab.press("使用此密钥")
    await tab.press("暂停")
    fails = True
    reason = tab.page.get_by_label("理由")
    await reason.fill("维护")
    await tab.press("暂停接收")
    await tab.has(tab.page.get_by_role("dialog").get_by_role("alert").filter(has_text="storage_unavailable"))
    await refresh(tab)
    await tab.has(tab.page.locator(".notice").filter(has_text="目前无法刷新"))
    assert await reason.input_value() == "维护"
    await shoot(tab, "operations-failure-chinese")
    fails = False
    await tab.press("暂停接收")
    await tab.page.locator("dialog").wait_for(state="detached")
    await tab.sees("维护")
    await tab.page.locator(".notice").wait_for(state="detached")
    assert await tab.axe() == []
    await shoot(tab, "operations-chinese")


async def test_a_run_for_later_says_when_it_starts(app: App, browser: Chromium) -> None:
    start = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    run_id = await app.start("Later.", start_at=start)
    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run_id}")
    await tab.sees("It starts at")
    await tab.sees("Starts in 2 d 23 h")
    main = await tab.page.get_by_role("main").inner_text()
    assert "Worked" not in main
    assert "Timeline" not in main
    await shoot(tab, "run-later")
    await tab.go("/ui/runs")
    row = tab.page.locator(".run-row").filter(has_text="Later.")
    await tab.has(row.filter(has_text="starts "))
