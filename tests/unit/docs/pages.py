"""The Markdown pages for people, and what is in them: blocks of code, code in a line, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from local import ROOT

GLOBS = ("*.md", "docs/*.md", "bench/*.md", "clients/*/README.md", "*/README.md", "tests/acceptance/*/README.md")
PAGES = tuple(
    sorted({page for glob in GLOBS for page in ROOT.glob(glob)} | {ROOT / ".github/pull_request_template.md"})
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"^.*<<'(\w+)'\n(?:.*\n)*?\1$|^.*?(?:\\\n.*?)*$", re.MULTILINE)
"""A command with the lines that it reads, or one that goes on behind a backslash."""


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of a page."""

    page: Path
    line: int
    text: str
    language: str = ""
    """Of a block: what stands behind its fence."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def text_of(page: Path) -> str:
    """The whole page."""
    return page.read_text("utf-8")


@cache
def prose_of(page: Path) -> str:
    """The page with its blocks of code blanked out, line for line."""
    return _FENCE.sub(lambda block: "\n" * block[0].count("\n"), text_of(page))


def blocks(*languages: str) -> Iterator[Found]:
    """Every block in one of these languages, on any page."""
    for page in PAGES:
        for block in _FENCE.finditer(text_of(page)):
            if block[1] in languages:
                yield Found(page, text_of(page)[: block.start()].count("\n") + 1, block[2], block[1])


def spans() -> Iterator[Found]:
    """Every piece of code in a line of prose, on any page."""
    for page in PAGES:
        yield from matches(page, r"`([^`\n]+)`")


def matches(page: Path, pattern: str) -> Iterator[Found]:
    """What a pattern with one group finds in the prose of a page."""
    prose = prose_of(page)
    for match in re.finditer(pattern, prose, re.MULTILINE):
        yield Found(page, prose[: match.start()].count("\n") + 1, match[1])


def commands() -> Iterator[Found]:
    """Every command that is to be typed: behind `$` or in a block for bash, with all of its lines; and in a line."""
    for block in blocks("console", "bash", "sh"):
        yield from typed_in(block)
    yield from spans()


def typed_in(block: Found) -> Iterator[Found]:
    """The commands of one block: with `console` those behind `$`, else all of them."""
    for typed in re.finditer(_TYPED, block.text):
        if block.language != "console" or typed[0].startswith("$ "):
            line = block.line + 1 + block.text[: typed.start()].count("\n")
            yield Found(block.page, line, typed[0].removeprefix("$ ").replace("\\\n", " "))


def headings(page: Path) -> Iterator[Found]:
    """Every heading of a page, in order."""
    yield from matches(page, r"^#+ (.+)$")


def blocks_below(page: Path, heading: str, *languages: str) -> list[Found]:
    """The blocks between a heading and the next one, of whatever level. ``StopIteration``: there is none."""
    lines = [each.line for each in headings(page)]
    first = next(each.line for each in headings(page) if each.text == heading)
    last = min((line for line in lines if line > first), default=text_of(page).count("\n") + 1)
    return [each for each in blocks(*languages) if each.page == page and first < each.line < last]


@cache
def anchors(page: Path) -> frozenset[str]:
    """What GitHub makes of the page's headings for links to them."""
    titles = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)
