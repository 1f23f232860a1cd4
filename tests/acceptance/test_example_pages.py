"""The page of the examples in a real browser: each way to let people in, from the sign-in to the end of a run."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from local.stack import NodeTools
from tests.acceptance import test_browser
from tests.acceptance.conftest import Stack, move_clock
from tests.acceptance.driven import Browser, Tab, browser
from tests.acceptance.example_sites import KEY, WAYS, Scene, scene
from tests.acceptance.test_approvals import asking

pytestmark = test_browser.pytestmark
node = test_browser.node

NewStack = Callable[..., Stack]

HALF = "A dormouse sleeps. " * 9
"""What is seen at least of a text of twice as much that is stuck half-way."""

TRIED = """async ([mine, other]) => {
    const opened = await (await fetch(`/runs/${mine}/token`, { method: "POST" })).json();
    const headers = { Authorization: `Bearer ${opened.token}` };
    const shared = [mine, other, `${other}/events`].map((path) => `shared/runs/${path}`);
    const paths = [...shared, "runs", `runs/${mine}`];
    const ask = (path) => fetch(`${opened.app}/api/${path}`, { headers });
    return Promise.all(paths.map((path) => ask(path).then((reply) => reply.status, () => "unreadable")));
}"""
"""Runs in the page of run tokens: what the token of one run opens."""

STRANGE = "<img src=x onerror=alert(1)>"


async def sign_in(its: Scene, tab: Tab, name: str) -> None:
    """Say this name where the page asks for one."""
    if its.way == "app_service":
        await tab.says("h1", "This stands in for App Service")
        await tab.fill("input[name=name]", name)
        await tab.click("button")
    else:
        await tab.says("#message", "You are not signed in.")
        await tab.fill("#sign-in input", name)
        await tab.click("#sign-in button")
    await tab.says("#ask", "Submit")


async def opened(its: Scene, chromium: Browser, name: str, fragment: str = "") -> Tab:
    """The page of somebody who has just signed in."""
    tab = await chromium.open(name, f"{its.site.url}/{fragment}")
    await sign_in(its, tab, name)
    return tab


async def submit(tab: Tab, text: str) -> None:
    await tab.fill("#ask [name=agent]", "workshop")
    await tab.fill("#ask [name=input]", text)
    await tab.click("#ask button:not([type])")


async def fragment_of(tab: Tab) -> str:
    """What stands in the address behind `#`, and the sign."""
    return str(await tab.do("evaluate", "location.hash"))


async def finish(its: Scene) -> None:
    """Let the model end the response that is stuck."""
    waiting = [each.id for each in await its.stack.model.responses() if each.status == "in_progress"]
    (response,) = waiting
    await its.stack.model.finish(response)


@pytest.mark.parametrize("way", WAYS)
async def test_a_person_submits_approves_watches_and_cancels_and_another_sees_nothing_of_it(
    way: str, node: NodeTools, own_stack: NewStack
) -> None:
    its = scene(way, own_stack)
    await its.stack.model.script("story", [asking(("send", STRANGE)), {"text": HALF * 2, "stuck": True}])
    await its.stack.model.script("lasting", [{"stuck": True}])
    async with browser(node) as chromium:
        ada = await opened(its, chromium, "Ada")
        await submit(ada, "[script:story] A story, please.")
        await ada.says("#questions", "It leaves the house.")
        assert STRANGE in await ada.text("#questions"), "as text"
        await ada.says("#status", "requires_action")
        await ada.do("reload")
        await ada.says("#questions", "It leaves the house.")
        await ada.click("#questions button >> text=Approve")

        await ada.says("#text", HALF)
        await ada.do("reload")
        await ada.says("#text", HALF)
        await ada.says("#status", "in_progress")
        assert HALF * 2 not in await ada.text("#text")
        bob = await opened(its, chromium, "Bob", await fragment_of(ada))
        await bob.says("#message", "There is no such run, or it is not yours.")
        assert await bob.text("#runs") + await bob.text("#text") + await bob.text("#title") == ""

        await finish(its)
        await ada.says("#status", "completed")
        assert await ada.text("#text") == HALF * 2
        await ada.says("#calls", f"sent {STRANGE}")
        await ada.says("#runs", "A story, please. completed")
        await submit(ada, "[script:lasting] Another.")
        await ada.says("#title", "Another.")
        await ada.says("#status", "in_progress")
        await ada.click("#cancel")
        await ada.says("#status", "cancelled")
        await ada.click("#runs li:last-child a")
        await ada.says("#text", HALF * 2)
        heard = {name: "\n".join(await chromium.heard(name)) for name in ("Ada", "Bob")}
    assert [name for name in heard if KEY in heard[name] or "x-functions-key" in heard[name].lower()] == []
    assert HALF in heard["Ada"], "else nothing was heard"
    assert HALF not in heard["Bob"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_sign_in_that_ends_in_the_middle_is_asked_for_again_and_the_run_goes_on(
    way: str, node: NodeTools, own_stack: NewStack
) -> None:
    its = scene(way, own_stack)
    await its.stack.model.script("story", [{"text": HALF * 2, "stuck": True}])
    async with browser(node) as chromium:
        ada = await opened(its, chromium, "Ada")
        await submit(ada, "[script:story]")
        await ada.says("#text", HALF)
        before = await fragment_of(ada)
        its.site.stop()
        if way == "app_service":
            await chromium.lose_cookies("Ada")
        its.site.start().wait_ready()
        if way == "run_tokens":  # elsewhere the stream itself went through the site, so that the page has noticed
            await ada.do("reload")
        await sign_in(its, ada, "Ada")
        await ada.says("#text", HALF)
        assert await fragment_of(ada) == before
        await finish(its)
        await ada.says("#status", "completed")
        assert await ada.text("#text") == HALF * 2

        if way != "app_service":  # another takes over the page as it is
            its.site.stop()
            its.site.start().wait_ready()
            await submit(ada, "[script:story]")
            await sign_in(its, ada, "Bob")
            await ada.says("#message", "There is no such run, or it is not yours.")
            assert await ada.text("#text") + await ada.text("#title") + await ada.text("#runs") == ""
        await ada.click("#sign-out")
        if way == "app_service":
            await ada.says("h1", "This stands in")
            await ada.do("goto", f"{its.site.url}/{before}")
            await ada.says("#message", "You are back from the sign-in, and the app still does not know you.")
            await ada.click("#again")
        await sign_in(its, ada, "Bob")
        assert "story" not in await ada.text("#runs") + await ada.text("#run")


async def test_a_token_that_has_expired_is_told_in_a_sentence_and_replaced_on_the_next_look(
    node: NodeTools, own_stack: NewStack
) -> None:
    its = scene("run_tokens", own_stack)
    await its.stack.model.script("lasting", [{"text": HALF * 2, "stuck": True}])
    async with browser(node) as chromium:
        ada = await opened(its, chromium, "Ada")
        await submit(ada, "[script:lasting]")
        await ada.says("#text", HALF)
        await move_clock(its.host, 1_000)
        await ada.click("#cancel")
        await ada.says("#message", "This run token has expired.")
        await ada.click("#again")
        await ada.says("#text", HALF)
        await ada.click("#cancel")
        await ada.says("#status", "cancelled")
        assert await ada.text("#message") == ""


async def test_a_token_opens_its_run_and_nothing_else_from_the_page(node: NodeTools, own_stack: NewStack) -> None:
    its = scene("run_tokens", own_stack)
    await its.stack.model.script("lasting", [{"stuck": True}])
    async with browser(node) as chromium:
        ada = await opened(its, chromium, "Ada")
        runs = []
        for text in ("One.", "Another."):
            await submit(ada, f"[script:lasting] {text}")
            await ada.says("#title", text)
            runs.append((await fragment_of(ada))[1:])
        assert await ada.do("evaluate", f"({TRIED})({json.dumps(runs)})") == [200, 404, 404, "unreadable", "unreadable"]
        page = await opened(its, chromium, "Bob")
        renew = f'fetch("/runs/{runs[0]}/token", {{ method: "POST" }}).then((reply) => reply.status)'
        assert await page.do("evaluate", renew) == 404
