"""The lower bound: the same requests by `aiohttp` alone, with JSON in and out and the signature of the store."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from email.utils import formatdate
from itertools import cycle
from typing import Any

import aiohttp
from yarl import URL

from bench.programs.loop import given, serve

TABLE_HEADERS = {
    "Accept": "application/json;odata=minimalmetadata",
    "Content-Type": "application/json",
    "x-ms-version": "2020-12-06",
    "Prefer": "return-no-content",
}


class Raw:
    """A token and a state in one row, and the provider's API."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._given = given()
        named = dict(part.split("=", 1) for part in self._given.storage.strip(";").split(";"))
        self._account, self._key = named["AccountName"], base64.b64decode(named["AccountKey"])
        self._tables = named["TableEndpoint"]
        self._table = f"{self._given.prefix}raw"
        self._session = session
        self._bearer = {"Authorization": f"Bearer {self._given.account}"}
        self._made = 0
        self._runs: list[tuple[str, str]] = []

    async def prepare(self, count: int) -> None:
        """Make the table, and so many rows of pending responses."""
        async with self._row("POST", "Tables", {"TableName": self._table}) as response:
            assert response.status in (204, 409), await response.text()
        await self.submit(count)

    async def submit(self, count: int) -> None:
        """Create a response, keep its token."""
        for _ in range(count):
            body = json.loads('{"input": "[script:pending]"}')
            asked = {"model": "gpt-5.4-mini", "input": body["input"], "background": True, "store": True}
            async with self._session.post(f"{self._given.model}/responses", json=asked, headers=self._bearer) as got:
                created = await got.json()
            self._made += 1
            name = f"raw-{self._made}"
            row = {"PartitionKey": name, "RowKey": "run", "token": created["id"], "status": created["status"]}
            async with self._row("POST", self._table, row) as response:
                assert response.status == 204, await response.text()
            self._runs.append((name, created["id"]))

    async def wake(self, count: int) -> None:
        """Read the row, ask the provider, merge the row: of one run after the other."""
        for (name, _), _ in zip(cycle(self._runs), range(count), strict=False):
            path = f"{self._table}(PartitionKey='{name}',RowKey='run')"
            async with self._row("GET", path) as response:
                row, etag = await response.json(content_type=None), response.headers["ETag"]
            url = f"{self._given.model}/responses/{row['token']}"
            async with self._session.get(URL(url, encoded=True), headers=self._bearer) as got:
                answer = await got.json()
            assert answer["status"] in ("queued", "in_progress"), answer
            async with self._row("PATCH", path, {"status": answer["status"]}, {"If-Match": etag}) as response:
                assert response.status == 204, await response.text()

    def _row(self, method: str, path: str, body: Any = None, more: dict[str, str] | None = None) -> Any:
        date = formatdate(usegmt=True)
        address = f"/{self._account}/{self._account}/{path}"
        signed = hmac.new(self._key, f"{date}\n{address}".encode(), hashlib.sha256).digest()
        headers = TABLE_HEADERS | (more or {}) | {"x-ms-date": date}
        headers["Authorization"] = f"SharedKeyLite {self._account}:{base64.b64encode(signed).decode()}"
        data = None if body is None else json.dumps(body).encode()
        return self._session.request(method, URL(f"{self._tables}/{path}", encoded=True), data=data, headers=headers)


async def main() -> None:
    """Serve."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        await serve(Raw(session))


if __name__ == "__main__":
    asyncio.run(main())
