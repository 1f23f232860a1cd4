"""The docs' site: built without a warning, and read in a browser."""

from __future__ import annotations

import functools
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local import ROOT
from local.dev.documenting import SITE, build_site
from local.stack.child import StackError
from tests.browser.chromium import Chromium, in_a_browser
from tests.browser.conftest import shoot

pytestmark = pytest.mark.slow

VENV = Path(sys.prefix)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of this folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A small repository with a list of pages, one page and a file beside it."""
    root = tmp_path / "root"
    shutil.copytree(ROOT / SITE, root / SITE)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "docs/README.md").write_text("# Docs\n\n## All\n\n- [One](one.md): a page\n")
    (root / "docs/one.md").write_text("# One\n\n## A part\n\n[here](#a-part), [a file](site/style.css)\n")
    return root


def test_it_builds_what_is_listed(pages: Path, tmp_path: Path) -> None:
    index = build_site(VENV, tmp_path / "out", root=pages)
    assert 'url=docs/README.html"' in index.read_text()
    assert 'href="one.html">One</a>' in (tmp_path / "out/docs/README.html").read_text()
    # Again into the same place: what it has built itself it may replace.
    build_site(VENV, tmp_path / "out", root=pages)


@pytest.mark.parametrize(
    "fault",
    ["[gone](two.md)", "[gone](#no-such-part)", "[gone](README.md#no-such-part)", "![gone](images/no.png)"],
)
def test_a_link_that_leads_nowhere_is_an_error(pages: Path, tmp_path: Path, fault: str) -> None:
    page = pages / "docs/one.md"
    page.write_text(f"{page.read_text()}\n{fault}\n")
    with pytest.raises(StackError, match="have faults"):
        build_site(VENV, tmp_path / "out", root=pages)


def test_a_page_that_is_not_listed_is_an_error(pages: Path, tmp_path: Path) -> None:
    (pages / "docs/two.md").write_text("# Two\n")
    with pytest.raises(StackError, match="have faults"):
        build_site(VENV, tmp_path / "out", root=pages)


def test_a_folder_with_something_else_is_left_alone(pages: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/mine.txt").write_text("mine")
    with pytest.raises(StackError, match="no site of these docs"):
        build_site(VENV, tmp_path / "letters", root=pages)
    assert (tmp_path / "letters/mine.txt").read_text() == "mine"


@in_a_browser[1]
async def test_the_site_is_whole_and_loads_nothing_from_elsewhere(browser: Chromium, tmp_path: Path) -> None:
    build_site(VENV, tmp_path / "site")
    with served(tmp_path / "site") as address:
        tab = await browser.tab(address)
        await tab.go("/")
        await tab.page.wait_for_url(re.compile("/docs/README.html$"))
        await shoot(tab, "docs")
        await tab.page.get_by_role("link", name="The life of a run", exact=True).first.click()
        # Mermaid has drawn both, and says so if it could not read one.
        await tab.has(tab.page.locator("pre.mermaid svg .node").filter(has_text="RunningTools").first)
        assert await tab.page.locator("pre.mermaid svg").count() == 2
        await shoot(tab, "docs-life")
        await tab.page.evaluate("drawn")  # the pictures changed between light and dark
        await tab.page.get_by_role("textbox", name="Search").first.fill("idempotency")
        await tab.page.keyboard.press("Enter")
        await tab.has(tab.page.locator("#search-results li a").first)
        await tab.page.wait_for_load_state("networkidle")  # the search reads each page for an excerpt
        found = await tab.page.locator("#search-results li a").all_inner_texts()
        assert any("HTTP" in each for each in found), found
