"""A provider's event stream, wherever its chunks end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from shared.agentkit import sse

TEXT = "Es war einmal ein Siebenschläfer\u2028\u0085. " * 40
STREAM = (
    b": begun\r\n\r\n"
    + f"event: a\r\ndata: {json.dumps({'text': TEXT}, ensure_ascii=False)}\r\n\r\n".encode()
    + b'data: {"b":\ndata:  2}\n\ndata: [1]\n\ndata: [DONE]\n\ndata: {"cut": true}\n'
)


async def read(chunks: Iterable[bytes]) -> list[dict[str, Any]]:
    async def sent() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [event async for event in sse.events(sent())]


async def test_events_are_the_same_wherever_the_chunks_end() -> None:
    for size in (1, 2, 3, 7, 1_000, len(STREAM)):
        chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
        assert await read(chunks) == [{"text": TEXT}, {"b": 2}], size


class Chunk(bytes):
    """Counts the bytes that are copied to stand before a chunk."""

    copied = 0

    def __radd__(self, before: bytes) -> bytes:
        Chunk.copied += len(before)
        return before + bytes(self)


async def test_a_line_of_megabytes_is_not_copied_with_every_chunk() -> None:
    line = b'data: {"text": "' + b"x" * 1_000_000 + b'"}\n\n'
    Chunk.copied = 0
    found = await read([Chunk(line[at : at + 1_000]) for at in range(0, len(line), 1_000)])
    assert [len(each["text"]) for each in found] == [1_000_000]
    assert Chunk.copied <= 2 * len(line)
