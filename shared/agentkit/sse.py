"""A provider's event stream: bytes in, JSON objects out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from shared.agentkit.lenient import parse_json


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    """The data of each Server-Sent Event that is a JSON object (WHATWG HTML, section 9.2).

    Lines are split as bytes: a text may hold what else counts as the end of a line (U+2028, U+0085). An event that is
    cut off is none; comments and ``[DONE]`` are passed over.
    """
    begun, data = list[bytes](), list[bytes]()
    async for chunk in chunks:
        # A chunk may end anywhere, in the middle of a character too. Of a line that goes on only the new chunk is
        # looked at: the event that ends a response holds all of its text, which may be megabytes.
        if b"\n" not in chunk:
            begun.append(chunk)
            continue
        *lines, rest = b"".join((*begun, chunk)).split(b"\n")
        begun = [rest]
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                if (event := _object(b"\n".join(data))) is not None:
                    yield event
                data = []


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
