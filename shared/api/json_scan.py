"""What JSON holds, counted before anything of it is parsed: parsing costs by the value, not by the byte.

``json.loads`` cannot be interrupted, from a thread neither (it keeps the interpreter to itself), and makes some 100
bytes of objects out of two bytes of JSON. So its cost is bounded beforehand, by a look at what is outside of texts.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from shared.errors import InvalidJson, InvalidRequest

MAX_TOKENS = 100_000
"""Texts, brackets and commas that are parsed in one go: some 10 ms, and 10 MB of objects."""

DEEPEST = 100
"""Levels of nesting. No request of ours has more than eight."""

_WINDOW = 262_144
_TOKENS_AT_ONCE = 500
"""After so much the event loop gets its turn: some milliseconds of work."""

_OUTSIDE = re.compile(rb'["\[\]{},]')
# Possessive (`++`): no byte is matched twice, so the time is linear whatever is sent.
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE, _COMMA, _OPENING, _CLOSING = ord('"'), ord(","), frozenset(b"[{"), frozenset(b"]}")

Bytes = bytes | bytearray


async def tokens(raw: Bytes, start: int, end: int) -> AsyncIterator[tuple[int, int, int]]:
    """The texts, brackets and commas of this JSON in order: first byte, where it begins, and where it ends.

    Bytes that are no JSON have tokens, too: only the parser notices. The event loop gets its turn in between.
    """
    at, text, since = start, -1, 0
    while at < end:
        # In windows: one text of many megabytes must not hold the event loop either.
        until = min(at + _WINDOW, end)
        since += 1
        if text >= 0:
            match = _INSIDE.match(raw, at, until)
            stop = match.end() if match is not None else at
            if stop < end and raw[stop] == _QUOTE:
                yield _QUOTE, text, stop + 1
                text, stop = -1, stop + 1
            elif stop == at:
                return  # a backslash is the last byte
        elif (match := _OUTSIDE.search(raw, at, until)) is None:
            stop = until
        else:
            stop = match.end()
            if raw[stop - 1] == _QUOTE:
                text = stop - 1
            else:
                yield raw[stop - 1], stop - 1, stop
        if since >= _TOKENS_AT_ONCE or stop - at >= _WINDOW // 2:
            await asyncio.sleep(0)
            since = 0
        at = stop


async def check_size(raw: Bytes, start: int = 0, end: int | None = None, *, most: int = MAX_TOKENS) -> int:
    """How many tokens there are.

    Raises ``InvalidRequest`` for more than ``most``, ``InvalidJson`` for more than ``DEEPEST`` levels.
    """
    count = depth = 0
    async for byte, _, _ in tokens(raw, start, len(raw) if end is None else end):
        count += 1
        depth += (byte in _OPENING) - (byte in _CLOSING)
        # With each token: far too many are not counted to the end.
        _check(count, depth, most)
    return count


def _check(count: int, depth: int, most: int) -> None:
    if count > most:
        raise InvalidRequest(
            f"There are more than {most} texts, brackets and commas in this JSON. Send fewer fields and list elements: "
            "long content goes into one text."
        )
    if depth > DEEPEST:
        raise InvalidJson("The JSON is nested too deeply. Send the object that the README describes.")


@dataclass(slots=True)
class Split:
    """A JSON object with one long list: the object with that list emptied, and where each element lies.

    ``elements`` None: there is no such list.
    """

    rest: bytes
    elements: list[tuple[int, int]] | None


@dataclass(slots=True)
class _Splitter:
    """Goes through the tokens of an object and notes the elements of the list that ``name`` holds."""

    raw: Bytes
    name: str
    most: int
    depth: int = 0
    last: tuple[int, int] = (0, 0)
    begin: int = -1
    end: int = -1
    element: int = -1
    found: list[tuple[int, int]] = field(default_factory=list)

    def take(self, byte: int, start: int, stop: int) -> None:
        """The next token. Raises ``InvalidRequest`` for one element more than ``most``, or a second list."""
        if byte in _OPENING:
            self.depth += 1
            if self.depth == 2 and self.raw[start] == ord("[") and self._is_named():
                # Of two lists `json.loads` would take the last, which is not the one that was counted.
                if self.begin >= 0:
                    raise InvalidRequest(f"`{self.name}` is there twice. Send it once.")
                self.begin = self.element = stop
        elif byte in _CLOSING:
            if self.depth == 2 and self.element >= 0:
                self._note(start)
                self.end, self.element = start, -1
            self.depth -= 1
        elif byte == _QUOTE and self.depth == 1:
            self.last = (start, stop)
        elif byte == _COMMA and self.depth == 2 and self.element >= 0:
            self._note(start)
            self.element = stop

    def _note(self, end: int) -> None:
        if len(self.found) == self.most:
            raise InvalidRequest(f"`{self.name}` has more than {self.most} elements, which is the most.")
        self.found.append((self.element, end))

    def _is_named(self) -> bool:
        start, stop = self.last
        try:
            # Parsed, since a name may be written with escapes.
            return stop - start < 200 and bool(json.loads(self.raw[start:stop].decode()) == self.name)
        except ValueError:
            return False


async def split(raw: Bytes, name: str, *, most: int, most_tokens: int, most_rest: int) -> Split:
    """The object in ``raw`` without the elements of its list ``name``, of which there may be ``most``.

    ``most_rest`` is what may be beside them, in bytes. Nothing is parsed: whether the parts are JSON only the
    parser finds. Raises ``InvalidRequest`` and ``InvalidJson`` like ``check_size``.
    """
    splitter, count = _Splitter(raw, name, most), 0
    async for token in tokens(raw, 0, len(raw)):
        splitter.take(*token)
        count += 1
        _check(count, splitter.depth, most_tokens)
    found, begin = splitter.found, splitter.begin if splitter.begin >= 0 else len(raw)
    end = splitter.end if splitter.end >= 0 else len(raw)
    if begin + len(raw) - end > most_rest:
        raise InvalidRequest(f"All that is not in `{name}` may have {most_rest} bytes at most. Send less beside it.")
    if splitter.begin < 0:
        return Split(bytes(raw), None)
    # An empty list is seen as one element of blanks.
    if len(found) == 1 and not raw[found[0][0] : found[0][1]].strip():
        found = []
    return Split(bytes(raw[:begin]) + bytes(raw[end:]), found)


def loads(raw: Bytes | memoryview) -> Any:
    """The JSON in UTF-8, with or without a byte order mark. Raises ``ValueError``; NaN and the infinities are none."""
    return json.loads(str(raw, "utf-8-sig"), parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
