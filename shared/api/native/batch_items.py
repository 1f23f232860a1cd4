"""The items of a batch in the bytes of its body: found and counted first, parsed one by one when they are wanted."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.api import json_scan
from shared.api.reading import check_widths, parsed
from shared.errors import DormouseError, InputTooLarge, InvalidJson, InvalidRequest
from shared.runs.model.batch import MAX_ITEMS

MAX_BESIDE = 131_072
"""Bytes of everything in the body that is not among the items."""

MAX_TOKENS = 400_000
"""Texts, brackets and commas of a whole batch; each item may have as many as a run."""

_NOT_BLANK = re.compile(rb"\S")
_PIECE = 1_048_576
# The byte order mark, which editors and spreadsheets on Windows write.
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class BadItem:
    """An item that cannot be parsed. ``problem`` is what is wrong, for the whole batch; ``error`` for it alone."""

    problem: str
    error: DormouseError


@dataclass(frozen=True, slots=True)
class Items:
    """Where each item lies in ``body``. ``bad`` are those that cost too much to parse; ``lines`` of JSON Lines."""

    body: json_scan.Bytes
    spans: Sequence[tuple[int, int]]
    bad: dict[int, BadItem]
    lines: Sequence[int] | None = None

    def raw(self, index: int) -> bytes:
        """The item as it came."""
        start, end = self.spans[index]
        # Through a view: a slice of a bytearray is a copy, and this would be the second.
        return bytes(memoryview(self.body)[start:end])

    async def digest(self, index: int) -> str:
        """A digest of the item as it came; of a long one piece by piece."""
        start, end = self.spans[index]
        digest = hashlib.sha256()
        for at in range(start, end, _PIECE):
            digest.update(memoryview(self.body)[at : min(at + _PIECE, end)])
            await asyncio.sleep(0)
        return digest.hexdigest()

    def value(self, index: int) -> Any:
        """The item parsed, or a ``BadItem``. Raises ``InvalidJson`` when it is an element of a list that is none."""
        if index in self.bad:
            return self.bad[index]
        try:
            return json_scan.loads(self.raw(index))
        except ValueError as error:
            # In an array one bad element makes the whole body no JSON; lines stand each for itself.
            if self.lines is None:
                raise InvalidJson(f"The body is not JSON in UTF-8: the item {index} (from 0): {error}.") from None
            return _bad_line(f"Line {self.lines[index]} is not JSON in UTF-8: {error}.")


async def of_object(raw: json_scan.Bytes, most_bytes: int) -> tuple[dict[str, Any], Items | None]:
    """The object without its ``items``, and these; None: it has no such list. Raises ``InvalidJson``.

    ``most_bytes`` is what one item may have.
    """
    found = await json_scan.split(raw, "items", most=MAX_ITEMS, most_tokens=MAX_TOKENS, most_rest=MAX_BESIDE)
    await json_scan.check_size(found.rest)
    given = parsed(found.rest)
    check_widths(given)
    if found.elements is None:
        return given, None
    # Left empty by the split.
    given.pop("items", None)
    bad = await _too_much(raw, found.elements, most_bytes)
    return given, Items(raw, found.elements, bad)


async def of_lines(raw: json_scan.Bytes, most_bytes: int) -> Items:
    """The items of JSON Lines: the lines that are not blank. Raises ``InvalidRequest`` for more than there may be."""
    spans: list[tuple[int, int]] = []
    numbers: list[int] = []
    number, at = 1, len(_MARK) if raw.startswith(_MARK) else 0
    while at < len(raw):
        until = min(at + _PIECE, len(raw))
        match = _NOT_BLANK.search(raw, at, until)
        # Blank lines count: a problem names the line that an editor shows.
        number += raw.count(b"\n", at, until if match is None else match.start())
        if match is None:
            at = until
            await asyncio.sleep(0)
            continue
        if len(spans) == MAX_ITEMS:
            raise InvalidRequest(f"A batch has 1 to {MAX_ITEMS} items; this one has more.")
        end = raw.find(b"\n", match.start())
        at = len(raw) if end < 0 else end
        spans.append((match.start(), at))
        numbers.append(number)
    bad = await _too_much(raw, spans, most_bytes)
    return Items(raw, spans, {index: _of_line(each, numbers[index]) for index, each in bad.items()}, numbers)


async def _too_much(raw: json_scan.Bytes, spans: Sequence[tuple[int, int]], most_bytes: int) -> dict[int, BadItem]:
    """The items that are too long, or hold too much, to be parsed in one go. Raises when all hold far too much."""
    bad: dict[int, BadItem] = {}
    left = MAX_TOKENS
    for index, (start, end) in enumerate(spans):
        try:
            if end - start > most_bytes:
                raise InputTooLarge(f"An item may have at most {most_bytes} bytes here. Send less, or a URL to it.")
            left -= await json_scan.check_size(raw, start, end)
        except DormouseError as error:
            bad[index] = BadItem(error.message, type(error)(error.message))
            # It was scanned up to its own bound before it was refused, and that work counts.
            left -= json_scan.MAX_TOKENS if isinstance(error, InvalidRequest) else 0
        await asyncio.sleep(0)
        if left < 0:
            raise InvalidRequest(f"All items together may have {MAX_TOKENS} texts, brackets and commas. Send fewer.")
    return bad


def _of_line(bad: BadItem, number: int) -> BadItem:
    problem = f"Line {number}: {bad.problem}"
    return BadItem(problem, type(bad.error)(f"{problem} The other lines are not affected."))


def _bad_line(problem: str) -> BadItem:
    return BadItem(problem, InvalidJson(f"{problem} The other lines are not affected."))
