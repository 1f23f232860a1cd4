"""The page loads: what it weighs, what it asks for, and what the browser says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.chromium import Chromium, in_a_browser
from tests.browser.conftest import App, shoot

pytestmark = in_a_browser


async def test_a_first_visit_is_light_and_a_second_only_asks_whether_the_index_has_changed(
    app: App, browser: Chromium
) -> None:
    tab = await browser.tab(app.url)
    await tab.go("/ui/")
    await tab.page.get_by_role("button", name="Start", exact=True).wait_for()
    static = [each for each in tab.requests if "/ui/" in each.url]
    assert len(static) == len({each.url for each in static}), "nothing is loaded twice"
    sizes = {each.url: (await each.sizes())["responseBodySize"] for each in static}
    assert 20_000 < sum(sizes.values()) < 60_000, sizes

    again = await browser.tab(app.url, tab.page.context)
    network = await again.page.context.new_cdp_session(again.page)
    transferred: dict[str, int] = {}
    answers: dict[str, Any] = {}
    network.on("Network.responseReceived", lambda event: answers.update({event["requestId"]: event["response"]}))
    network.on(
        "Network.loadingFinished",
        lambda event: transferred.update({event["requestId"]: event["encodedDataLength"]}),
    )
    await network.send("Network.enable")
    await again.go("/ui/")
    await again.page.get_by_role("button", name="Start", exact=True).wait_for()
    await again.page.wait_for_load_state("networkidle")
    sent = {answers[each]["url"]: size for each, size in transferred.items() if size and "/ui/" in answers[each]["url"]}
    assert set(sent) == {f"{app.url}/ui/"}, "all else is in the cache"
    assert sent[f"{app.url}/ui/"] < 1_500, "headers alone"
    await shoot(tab, "new")


@pytest.mark.parametrize("path", ["/ui/", "/ui/new", "/ui/runs", "/ui/about", "/ui/nothing/here"])
async def test_every_view_loads_without_a_word_from_the_browser(path: str, app: App, browser: Chromium) -> None:
    tab = await browser.tab(app.url)
    await tab.go(path)
    await tab.page.get_by_role("main").wait_for()
    await tab.page.wait_for_load_state("networkidle")
    assert await tab.axe() == []
    assert await tab.page.title() != ""


async def test_the_root_leads_to_the_page(app: App, browser: Chromium) -> None:
    tab = await browser.tab(app.url)
    await tab.go("/")
    assert tab.page.url == f"{app.url}/ui/"
