"""Microsoft Agent Framework's background responses with `azure-data-tables`: `run(token)`, the session in a row."""

from __future__ import annotations

import asyncio
import json
from itertools import cycle
from typing import Any

from agent_framework import Agent, AgentSession
from agent_framework.openai import OpenAIChatClient
from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableServiceClient

from bench.programs.loop import given, serve


class Framework:
    """The sample of the documentation, with rows where it has a dictionary."""

    def __init__(self, service: TableServiceClient, agent: Agent) -> None:
        self._service = service
        self._agent = agent
        self._table = service.get_table_client(f"{given().prefix}framework")
        self._runs: list[str] = []

    async def prepare(self, count: int) -> None:
        """Make the table, and so many rows of pending runs."""
        await self._service.create_table_if_not_exists(self._table.table_name)
        await self.submit(count)

    async def submit(self, count: int) -> None:
        """Run in the background, keep token and session."""
        for _ in range(count):
            body, session = json.loads('{"input": "[script:pending]"}'), self._agent.create_session()
            response = await self._agent.run(
                body["input"], session=session, options={"background": True, "store": True}
            )
            assert response.continuation_token is not None, response
            name = f"framework-{len(self._runs)}"
            await self._table.create_entity(_row(name, response.continuation_token, session))
            self._runs.append(name)

    async def wake(self, count: int) -> None:
        """Read the row, run with the token, merge the row: of one run after the other."""
        for name, _ in zip(cycle(self._runs), range(count), strict=False):
            row = await self._table.get_entity(name, "run")
            session = AgentSession.from_dict(json.loads(row["session"]))
            options: Any = {"continuation_token": json.loads(row["token"])}
            response = await self._agent.run(session=session, options=options)
            assert response.continuation_token is not None, response
            await self._table.update_entity(
                _row(name, response.continuation_token, session),
                mode=UpdateMode.MERGE,
                etag=row.metadata["etag"],
                match_condition=MatchConditions.IfNotModified,
            )


def _row(name: str, token: object, session: AgentSession) -> dict[str, Any]:
    return {
        "PartitionKey": name,
        "RowKey": "run",
        "token": json.dumps(token),
        "session": json.dumps(session.to_dict()),
    }


async def main() -> None:
    """Serve."""
    stack = given()
    client = OpenAIChatClient(model="gpt-5.4-mini", api_key=stack.account, base_url=stack.model)
    async with TableServiceClient.from_connection_string(stack.storage) as service:
        await serve(Framework(service, Agent(client, "You write space stories.", name="novelist")))


if __name__ == "__main__":
    asyncio.run(main())
