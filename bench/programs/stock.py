"""What many write first: `openai` and `azure-data-tables` as they come, a row with the response's id, a loop."""

from __future__ import annotations

import asyncio
import json
from itertools import cycle

from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableServiceClient
from openai import AsyncOpenAI

from bench.programs.loop import given, resident, serve


class Stock:
    """A token in a row, the provider's client, the store's client."""

    def __init__(self, service: TableServiceClient, client: AsyncOpenAI) -> None:
        self._service, self._client = service, client
        self._table = service.get_table_client(f"{given().prefix}stock")
        self._runs: list[str] = []
        self._gate = asyncio.Semaphore(16)
        self._looked = 0

    async def prepare(self, count: int) -> None:
        """Make the table, and so many rows of pending responses."""
        await self._service.create_table_if_not_exists(self._table.table_name)
        await self.submit(count)

    async def submit(self, count: int) -> None:
        """Create a response, keep its id."""
        for _ in range(count):
            body = json.loads('{"input": "[script:pending]"}')
            response = await self._client.responses.create(
                model="gpt-5.4-mini", input=body["input"], background=True, store=True
            )
            name = f"stock-{len(self._runs)}"
            row = {"PartitionKey": name, "RowKey": "run", "token": response.id, "status": str(response.status)}
            await self._table.create_entity(row)
            self._runs.append(name)

    async def wake(self, count: int) -> None:
        """Read the row, ask the provider, merge the row: of one run after the other."""
        for name, _ in zip(cycle(self._runs), range(count), strict=False):
            await self._wake(name)

    async def _wake(self, name: str) -> None:
        row = await self._table.get_entity(name, "run")
        response = await self._client.responses.retrieve(row["token"])
        assert response.status in ("queued", "in_progress"), response
        change = {"PartitionKey": name, "RowKey": "run", "status": str(response.status)}
        await self._table.update_entity(
            change,
            mode=UpdateMode.MERGE,
            etag=row.metadata["etag"],
            match_condition=MatchConditions.IfNotModified,
        )

    async def sweep(self, count: int) -> int:
        """What a timer does: find the rows that are pending, look at each, sixteen side by side."""
        gate = asyncio.Semaphore(16)

        async def one(name: str) -> None:
            async with gate:
                await self._wake(name)

        found = [
            row["PartitionKey"]
            async for row in self._table.query_entities("status ne 'completed'", select=["PartitionKey"])
        ]
        await asyncio.gather(*(one(name) for name in found[:count]))
        return len(found[:count])

    async def wait_for(self, count: int) -> float:
        """Begin so many loops that look and sleep, and let each look once; the megabytes that they add."""
        before = resident()
        waiting = [
            asyncio.create_task(self._wait(name)) for name, _ in zip(cycle(self._runs), range(count), strict=False)
        ]
        while self._looked < count:
            await asyncio.sleep(0.05)
            for failed in (task for task in waiting if task.done()):
                failed.result()
        added = resident() - before
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return added

    async def _wait(self, name: str) -> None:
        async with self._gate:
            await self._wake(name)
        self._looked += 1
        await asyncio.sleep(3_600)


async def main() -> None:
    """Serve."""
    stack = given()
    async with (
        TableServiceClient.from_connection_string(stack.storage) as service,
        AsyncOpenAI(api_key=stack.account, base_url=stack.model) as client,
    ):
        await serve(Stock(service, client))


if __name__ == "__main__":
    asyncio.run(main())
