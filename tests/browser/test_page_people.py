"""The page for whoever uses it: by keyboard alone, in the dark, on a phone, from right to left, without access."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.acceptance.test_approvals import asking, parked
from tests.browser.chromium import Chromium, Tab, in_a_browser
from tests.browser.conftest import App, shoot, shown_as

pytestmark = in_a_browser

MARKDOWN = "# Title\n\nA *text* with `code`, a [link](https://a.test).\n\n- a\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
NewApp = Callable[..., Awaitable[App]]


async def focus_on(tab: Tab, name: str, *, role: str = "button", most: int = 60) -> None:
    """Press Tab until the keyboard is at this element, and see that it shows."""
    wanted = tab.page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
    await tab.has(wanted.first)
    for _ in range(most):
        if await wanted.first.evaluate("each => each === document.activeElement"):
            outline = await wanted.first.evaluate("each => getComputedStyle(each).outlineStyle")
            assert outline != "none", f"nothing shows that {name} has the focus"
            return
        await tab.page.keyboard.press("Tab")
    raise AssertionError(f"Tab never comes to {name}")


async def test_the_keyboard_alone_submits_approves_and_cancels(app: App, browser: Chromium) -> None:
    turns = (asking(("send", "a")), asking(("hold", "held-for-keys")))
    tab = await browser.tab(app.url)
    await tab.go("/ui/")
    await tab.page.get_by_role("radio").first.wait_for()
    for _ in range(10):
        await tab.page.keyboard.press("Tab")
        if await tab.page.evaluate("document.activeElement.type") == "radio":
            break
    for _ in range(12):
        if await tab.page.evaluate("document.activeElement.value") == "workshop":
            break
        await tab.page.keyboard.press("ArrowDown")
    await focus_on(tab, "Task", role="textbox")
    await tab.page.keyboard.insert_text(await app.script(*turns))
    await focus_on(tab, "Start")
    await tab.page.keyboard.press("Enter")
    await shown_as(tab, "Needs you")
    await focus_on(tab, "Approve")
    await tab.page.keyboard.press("Enter")
    await tab.page.locator("li.call").filter(has_text="hold").filter(has_text="running").wait_for()
    await focus_on(tab, "Cancel")
    await tab.page.keyboard.press("Enter")
    dialog = tab.page.get_by_role("dialog")
    await dialog.wait_for()
    await tab.page.keyboard.press("Escape")
    assert await tab.page.evaluate("document.activeElement.textContent") == "Cancel", "back where it was"
    await tab.page.keyboard.press("Enter")
    await focus_on(tab, "Cancel the run", most=6)
    await tab.page.keyboard.press("Enter")
    await shown_as(tab, "Cancelled")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_any_state(scheme: Any, app: App, browser: Chromium) -> None:
    done = await app.start(await app.script({"text": MARKDOWN}))
    asks = await app.start(await app.script(asking(("send", "a"), ("work", "b"))))
    failed = await app.start(await app.script({"status": "failed", "error": {"code": "x", "message": "No."}}))
    await app.api.finished(done)
    await app.api.finished(failed)
    await parked(app.api, asks)
    tab = await browser.tab(app.url, color_scheme=scheme)
    found: dict[str, list[str]] = {}
    for name, path in {
        "new": "/ui/",
        "runs": "/ui/runs",
        "needs you": "/ui/runs?tab=needs_you",
        "batches": "/ui/runs?tab=batches",
        "about": "/ui/about",
        "done": f"/ui/runs/{done}",
        "asks": f"/ui/runs/{asks}",
        "failed": f"/ui/runs/{failed}",
        "session": f"/ui/sessions/{done.split('_')[1]}",
    }.items():
        await tab.go(path)
        await tab.page.get_by_role("heading", level=1).or_(tab.page.get_by_role("heading")).first.wait_for()
        await tab.page.wait_for_timeout(300)  # what is loaded after it
        found[name] = await tab.axe()
        if scheme == "light":
            await shoot(tab, f"view-{name.replace(' ', '-')}")
    assert {name: each for name, each in found.items() if each} == {}


async def test_on_a_phone_nothing_is_wider_than_the_window(app: App, browser: Chromium) -> None:
    run_id = await app.start(await app.script(asking(("send", "a" * 300))))
    await parked(app.api, run_id)
    tab = await browser.tab(app.url, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    for path in ("/ui/", "/ui/runs", "/ui/about", f"/ui/runs/{run_id}", f"/ui/sessions/{run_id.split('_')[1]}"):
        await tab.go(path)
        await tab.page.get_by_role("heading").first.wait_for()
        await tab.page.wait_for_timeout(200)
        assert await tab.overflow() <= 0, path


async def test_what_is_written_from_right_to_left_is_shown_so(app: App, browser: Chromium) -> None:
    hebrew = "שלום עולם, זה טקסט ארוך."
    run_id = await app.start(await app.script({"text": hebrew}), title=hebrew)
    await app.api.finished(run_id)
    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run_id}")
    await shown_as(tab, "Completed")
    for element in (tab.page.get_by_role("heading", level=1), tab.page.get_by_role("log").locator("[dir]").first):
        assert await element.evaluate("each => getComputedStyle(each).direction") == "rtl"
    await shoot(tab, "run-rtl")


async def test_the_page_speaks_chinese(app: App, browser: Chromium) -> None:
    tab = await browser.tab(app.url, locale="zh-CN")
    await tab.go("/ui/")
    await tab.page.get_by_role("button", name="开始", exact=True).wait_for()
    assert await tab.page.evaluate("document.documentElement.lang") in ("zh", "zh-CN", "zh-Hans")
    await shoot(tab, "new-chinese")


# --- errors: a sentence, and a next step ---


async def test_a_key_is_asked_for_kept_for_the_tab_and_sent_in_the_header_alone(
    own_app: NewApp, browser: Chromium
) -> None:
    app = await own_app(args=["--function-key", "the-key-of-operators"], key="the-key-of-operators")
    run_id = await app.start(await app.script({"text": "Secret."}))
    tab = await browser.tab(app.url)
    tab.expect("status of 401")
    await tab.go(f"/ui/runs/{run_id}")
    await tab.sees("For operators")
    await shoot(tab, "key")
    await tab.page.get_by_label("Function key").fill("a wrong one")
    async with tab.page.expect_response(lambda answer: answer.status == 401):  # then the form is a new one
        await tab.press("Use this key")
    await tab.sees("This key does not open the app.")
    await tab.page.get_by_label("Function key").fill("the-key-of-operators")
    await tab.press("Use this key")
    await shown_as(tab, "Completed")
    assert [each.url for each in tab.requests if "the-key" in each.url] == []
    assert "the-key" not in tab.page.url
    kept = await tab.page.evaluate("[JSON.stringify(localStorage), document.cookie, JSON.stringify(sessionStorage)]")
    assert "the-key" not in kept[0] + kept[1]
    assert "the-key" in kept[2]


async def test_who_has_not_signed_in_is_sent_to_do_so_and_comes_back_to_the_same_address(
    own_app: NewApp, browser: Chromium
) -> None:
    """The platform before the app is played here: its login, and the headers by which it names who has signed in."""
    app = await own_app(DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True")
    tab = await browser.tab(app.url)
    tab.expect("status of 401")
    signed_in, logins = False, []

    async def login(route: Any) -> None:
        nonlocal signed_in
        address = urlsplit(route.request.url)
        logins.append((address.path, parse_qs(address.query)["post_login_redirect_uri"][0]))
        signed_in = len(logins) > 1  # the first time it does not work
        await route.fulfill(status=302, headers={"Location": logins[-1][1]})

    async def named(route: Any) -> None:
        who = {"x-ms-client-principal-id": "ada", "x-ms-client-principal-idp": "aad"} if signed_in else {}
        await route.continue_(headers={**route.request.headers, **who})

    await tab.page.route(re.compile(r"/\.auth/"), login)
    await tab.page.route(re.compile(r"/api/"), named)
    here = "/ui/runs?tab=failed#kept"
    await tab.go(here)
    # Who comes back and still has no access is asked, not sent round and round.
    await tab.sees("Sign in to go on.")
    assert logins == [("/.auth/login/aad", here)]
    await tab.has(tab.page.get_by_role("link", name="I have the operator's key"))
    await tab.press("Sign in")
    await tab.sees("Nothing has failed.")
    assert logins == [("/.auth/login/aad", here)] * 2
    assert tab.page.url == app.url + here


async def test_what_is_not_there_has_a_sentence_and_a_way_on(app: App, browser: Chromium) -> None:
    tab = await browser.tab(app.url)
    tab.expect("status of 404")
    await tab.go(f"/ui/runs/run_{'0' * 32}_1")
    await tab.sees("There is nothing here")
    await shoot(tab, "error-404")
    await tab.page.get_by_role("link", name="Runs", exact=True).first.click()
    await tab.page.get_by_role("heading", name="Runs").wait_for()


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [(429, "too_many_runs", "too much at once"), (503, "storage_unavailable", "Nothing is lost")],
)
async def test_a_busy_app_has_a_sentence_and_can_be_tried_again(
    status: int, code: str, sentence: str, app: App, browser: Chromium
) -> None:
    tab = await browser.tab(app.url)
    tab.expect(f"status of {status}")
    refuses = True

    async def busy(route: Any) -> None:
        if not refuses:
            await route.continue_()
            return
        problem = {"type": f"urn:dormouse:{code}", "title": code, "status": status, "code": code, "detail": "Busy."}
        await route.fulfill(status=status, json=problem, content_type="application/problem+json")

    await tab.page.route(re.compile(r"/api/agents"), busy)
    await tab.go("/ui/")
    await tab.sees(sentence, timeout=60_000)
    await shoot(tab, f"error-{status}")
    refuses = False
    await tab.press("Try again")
    await tab.page.get_by_role("button", name="Start", exact=True).wait_for()


async def test_a_run_token_shows_one_run_and_nothing_else(own_app: NewApp, browser: Chromium) -> None:
    app = await own_app(args=["--function-key", "k"], key="k", DORMOUSE_RUN_TOKEN_SECRET="a-secret-of-the-tests-" * 2)
    run = await app.api.submit(
        await app.script(asking(("send", "a"))), agent="workshop", token={"rights": ["read", "answer", "cancel"]}
    )
    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run['id']}#token={run['token']['token']}")
    await shown_as(tab, "Needs you")
    await tab.press("Approve")
    await shown_as(tab, "Completed")
    asked = [each.url for each in tab.requests if "/api/" in each.url]
    assert [each for each in asked if "/api/shared/" not in each] == []
    assert [each for each in asked if run["token"]["token"] in each] == []
    assert await tab.page.get_by_role("navigation").count() == 0
    await shoot(tab, "run-by-token")
