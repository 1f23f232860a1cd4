"""The client without ``async`` is the other one, word for word."""

from __future__ import annotations

import pytest

from local.openapi.blocking import blocking
from tests.parts.cases import cases


@cases(
    ("source", "made"),
    [
        (
            "async def get(self) -> Run:\n    return await self._body(x)",
            "def get(self) -> Run:\n    return self._body(x)",
        ),
        ("async with self._opened(x) as y:", "with self._opened(x) as y:"),
        ("async for x in y:", "for x in y:"),
        ("for each in data:\n    yield each\n", "yield from data\n"),
        ("for each in data:\n    yield other\n", "for each in data:\n    yield other\n"),
        ("class AsyncDormouse(AsyncClient):", "class Dormouse(SyncClient):"),
        ("http: httpx2.AsyncClient", "http: httpx2.Client"),
        ("-> AsyncGenerator[View, None]:", "-> Generator[View, None, None]:"),
        ("AbstractAsyncContextManager[x]", "AbstractContextManager[x]"),
        ("from dormouse_client import _async_io, _calls", "from dormouse_client import _sync_io, _calls"),
        ("await response.aread()", "response.read()"),
        ("def __aexit__(self)", "def __exit__(self)"),
        ('"""For asyncio."""', '"""For asyncio."""'),
        ("self.awaited = areads(asynchronous)", "self.awaited = areads(asynchronous)"),
    ],
)
def test_nothing_is_awaited(source: str, made: str) -> None:
    assert blocking(source) == made


@pytest.mark.parametrize("source", ["asyncio.sleep(1)", "x = [y async for y in z]", "await\\\n    x"])
def test_what_no_rule_knows_stops_it(source: str) -> None:
    if "for" in source:
        assert blocking(source) == "x = [y for y in z]"
        return
    with pytest.raises(ValueError, match="no rule"):
        blocking(source)
