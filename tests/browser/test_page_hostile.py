"""What a model, a tool or a caller may put on the page: text, whatever it looks like."""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import Chromium, Tab, in_a_browser
from tests.browser.conftest import App, shoot, shown_as

pytestmark = in_a_browser

MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)</script><svg onload=alert(3)><iframe src="https://evil.test">'
LINKS = (
    "[a](javascript:alert(4)) [b](JaVaScRiPt:alert(5)) [c](java\tscript:alert(6)) [e](vbscript:x)\n"
    "[d](data:text/html,<script>alert(7)</script>) [f](https://good.test/path) <https://auto.test> https://bare.test\n"
    "![i](https://evil.test/pixel.png) [g]( javascript:alert(8)) [h](\x01javascript:alert(9)) [j](//evil.test)\n"
    "[k](mailto:a@b.test) [l](/ui/runs) [m](&#106;avascript:alert(1))\n"
)
DEEP = "> " * 200 + "deep\n\n" + "".join(f"{'  ' * n}- level {n}\n" for n in range(60)) + "\n" + "*_~`" * 300
WIDE = f"{'W' * 5_000}\n\n```\n{'c' * 5_000}\n```\n\n| a | b |\n|---|---|\n| {'t' * 2_000} | x |\n\n# {'H' * 900}"
TURNED = "\u202eevil\u202c \u2066x\u2069 zero\u200bwidth \x00\x07 \ud83d"


async def nothing_lives(tab: Tab) -> None:
    """No element of the text's making, no link that runs code, nothing outside its box."""
    seen = await tab.page.evaluate(
        """() => ({
          made: document.querySelectorAll("main :is(script, iframe, object, embed, base, meta, img, link)").length,
          handlers: [...document.querySelectorAll("main *")].flatMap((each) =>
            each.getAttributeNames().filter((name) => name.startsWith("on"))),
          links: [...document.querySelectorAll("main a[href]")].map((each) => each.href),
        })"""
    )
    assert seen["made"] == 0
    assert seen["handlers"] == []
    allowed = (f"{tab.origin}/ui/", "https://", "http://", "mailto:")
    assert [each for each in seen["links"] if not each.startswith(allowed)] == []
    assert "javascript" not in " ".join(seen["links"]).lower()
    for width in (1280, 320):
        await tab.page.set_viewport_size({"width": width, "height": 900})
        assert await tab.overflow() <= 0, f"wider than the window at {width}"


@pytest.mark.parametrize(
    ("name", "text"),
    [("markup", MARKUP), ("links", LINKS), ("deep", DEEP), ("wide", WIDE)],
)
async def test_text_of_a_model_stays_text(name: str, text: str, app: App, browser: Chromium) -> None:
    run_id = await app.start(await app.script({"text": text + "\n\nand the end."}))
    run = await app.api.finished(run_id)
    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run_id}")
    await shown_as(tab, "Completed")
    await tab.page.get_by_role("log").get_by_text("and the end.").first.wait_for()
    await nothing_lives(tab)
    await shoot(tab, f"hostile-{name}")
    await tab.page.get_by_label("Plain text").check()
    assert await tab.page.get_by_role("log").locator("pre").text_content() == run["text"]


async def test_titles_arguments_results_and_metadata_stay_text(app: App, browser: Chromium) -> None:
    hostile = MARKUP + LINKS + TURNED[:-1]
    calls = [
        {"name": "work", "arguments": {"label": hostile}},
        {"name": "send", "arguments": {"label": hostile + "W" * 3_000}},
        {"name": MARKUP[:60], "arguments": "no json " + MARKUP},
    ]
    text = await app.script({"calls": calls, "reasoning": hostile}) + " " + hostile
    run_id = await app.start(text, title=(MARKUP + "\u202e" + "T" * 200)[:200], metadata={"note": MARKUP})
    await app.api.until(run_id, lambda run: run["status"] == "requires_action")
    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run_id}")
    await shown_as(tab, "Needs you")
    await nothing_lives(tab)
    await shoot(tab, "hostile-approval")
    await tab.page.set_viewport_size({"width": 1280, "height": 900})
    await tab.page.locator("li.call button").first.click()
    await tab.page.get_by_role("dialog").wait_for()
    await nothing_lives(tab)
    await shoot(tab, "hostile-drawer")
    await tab.page.keyboard.press("Escape")
    await tab.page.set_viewport_size({"width": 1280, "height": 900})
    await tab.press("Refuse")
    await shown_as(tab, "Completed")

    for path in ("/ui/runs", f"/ui/sessions/{run_id.split('_')[1]}"):
        await tab.go(path)
        await tab.page.get_by_text("T" * 30).or_(tab.page.get_by_text("onerror")).first.wait_for()
        await nothing_lives(tab)
        # What a text of the model's holds is its own; what names a run may not be turned round.
        titles = await tab.page.locator("main :is(h1, .title)").all_inner_texts()
        assert [each for each in titles if "\u202e" in each] == []


async def test_a_result_that_is_an_object_stays_text(app: App, browser: Chromium) -> None:
    verdict = {"guilty": True, "months": 3}
    run_id = await app.start(await app.script({"text": json.dumps(verdict)}), agent="judge")
    run = await app.api.run(run_id)
    if run["status"] != "completed":
        run = await app.api.finished(run_id)
    tab = await browser.tab(app.url)
    await tab.go(f"/ui/runs/{run_id}")
    await tab.sees("Result")
    await tab.sees("months")
    await nothing_lives(tab)
    await tab.page.set_viewport_size({"width": 1280, "height": 900})
    await shoot(tab, "run-structured")
    await tab.page.get_by_label("JSON").check()
    assert json.loads(str(await tab.page.get_by_role("log").inner_text())) == verdict


@pytest.mark.parametrize(
    "address",
    [
        "/ui/runs/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/ui/runs?tab=%3Cimg%20src=x%20onerror=alert(1)%3E",
        "/ui/?x=javascript:alert(1)#token=%3Cscript%3E",
    ],
)
async def test_an_address_is_only_an_address(address: str, app: App, browser: Chromium) -> None:
    tab = await browser.tab(app.url)
    tab.expect(r"status of 40[014]")
    await tab.go(address)
    await tab.page.get_by_role("main").wait_for()
    await tab.page.wait_for_load_state("networkidle")
    await nothing_lives(tab)
