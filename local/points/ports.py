"""An app whose every effect passes a point first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from local.points.names import Passed, passed
from shared import wiring
from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agentkit.tools import Tool, ToolContext
from shared.runs.model.callbacks import NoShare, Sender, Sent, Share
from shared.runs.store.tables import Change, Page, Row, Table, Tables
from shared.settings import Settings
from shared.telemetry.spans import Telemetry
from shared.wiring import App

Visit = Callable[[Passed], Awaitable[None]]
"""Called right before each effect. What it raises, the effect raises, and then it does not happen."""

_PROVIDER_EFFECTS = {"cancel": "provider.cancel", "DELETE": "provider.delete", "GET": "provider.look"}


class TablesWithPoints:
    """The store: every commit passes a point. ``read`` is called before each read."""

    def __init__(self, inner: Tables, visit: Visit, read: Callable[[], None] = lambda: None) -> None:
        self._inner, self._visit, self._read = inner, visit, read

    async def get(self, table: Table, partition: str, key: str) -> Row | None:
        """As the port says."""
        self._read()
        return await self._inner.get(table, partition, key)

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """As the port says."""
        await self._visit(passed("store"))
        return await self._inner.commit(table, partition, changes)

    async def query(self, table: Table, partition: str | None, **options: Any) -> AsyncIterator[Row]:
        """As the port says."""
        self._read()
        async for row in self._inner.query(table, partition, **options):
            yield row

    async def page(self, table: Table, **options: Any) -> Page:
        """As the port says."""
        self._read()
        return await self._inner.page(table, **options)

    async def close(self) -> None:
        """As the port says."""
        await self._inner.close()


class SenderWithPoints:
    """The sender of callbacks."""

    def __init__(self, inner: Sender, visit: Visit) -> None:
        self._inner, self._visit = inner, visit

    def problem(self, url: str) -> str | None:
        """As the port says."""
        return self._inner.problem(url)

    def reserve(self, url: str, owner: str) -> Share | NoShare:
        """As the port says."""
        return self._inner.reserve(url, owner)

    async def send(self, url: str, webhook_id: str, body: str, share: Share) -> Sent:
        """As the port says."""
        await self._visit(passed("callback.send"))
        return await self._inner.send(url, webhook_id, body, share)


class HubWithPoints:
    """The task hub, as ``shared.drivers.durable.Hub`` has it."""

    def __init__(self, inner: Any, visit: Visit) -> None:
        self._inner, self._visit = inner, visit

    async def start_if_absent(self, run_id: str, *, wait: float = 0.0) -> bool:
        """As the hub says."""
        await self._visit(passed("hub.start_if_absent"))
        return bool(await self._inner.start_if_absent(run_id, wait=wait))

    async def wake(self, run_id: str) -> None:
        """As the hub says."""
        await self._visit(passed("hub.wake"))
        await self._inner.wake(run_id)

    async def start_step(self, run_id: str) -> bool:
        """As the hub says."""
        await self._visit(passed("hub.start_step"))
        return bool(await self._inner.start_step(run_id))

    async def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
        """As the hub says."""
        await self._visit(passed("hub.start_polls"))
        await self._inner.start_polls(name, pieces)

    async def purge_before(self, moment: datetime) -> int:
        """As the hub says."""
        await self._visit(passed("hub.purge_before"))
        return int(await self._inner.purge_before(moment))


@dataclass(frozen=True, kw_only=True)
class ToolWithPoint(Tool):
    """A tool that passes a point before it runs."""

    visit: Visit

    async def invoke(self, arguments: str, context: ToolContext, executor: Executor) -> str:
        """As the tool says."""
        await self.visit(passed("tool.invoke"))
        return await super().invoke(arguments, context, executor)


Build = Callable[[Settings, Mapping[str, Agent], Tables, Callable[[], datetime], Telemetry], App]


def with_points(
    app: App,
    tables: Tables,
    visit: Visit,
    read: Callable[[], None] = lambda: None,
    *,
    build: Build = wiring.build,
) -> App:
    """The app of these parts, over these tables, with a point before every effect but those of the task hub.

    ``read`` is called before the store is read; ``build`` puts an app together. The agents and their provider are
    changed in place: they are the app's own.
    """
    for agent in app.ports.agents.values():
        _give_points(agent, visit)
    given = app.ports
    made = build(app.settings, given.agents, TablesWithPoints(tables, visit, read), given.clock, given.telemetry)
    sender = None if given.sender is None else SenderWithPoints(given.sender, visit)
    ports = replace(made.ports, sender=sender, random=given.random)
    given.threads.shutdown(wait=False)
    return replace(made, ports=ports)


def _give_points(agent: Agent, visit: Visit) -> None:
    tools = {name: _tool_with_point(tool, visit) for name, tool in agent.tools.items()}
    agent.tools = tools  # type: ignore[misc]  # the protocol lets others only read it
    provider = getattr(agent, "_provider", None)
    if isinstance(provider, Provider) and "send" not in vars(provider):
        _give_points_to_provider(provider, visit)


def _tool_with_point(tool: Tool, visit: Visit) -> Tool:
    return ToolWithPoint(**{each.name: getattr(tool, each.name) for each in fields(Tool)}, visit=visit)


def _give_points_to_provider(provider: Provider, visit: Visit) -> None:
    send, query, command = provider.send, provider.query, provider.command

    async def send_with_point(path: str, body: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        await visit(passed("provider.create"))
        return await send(path, body, **options)

    async def query_with_point(path: str, **options: Any) -> dict[str, Any]:
        await visit(passed("provider.look"))
        return await query(path, **options)

    async def command_with_point(path: str, *, timeout: float, method: str) -> dict[str, Any]:
        kind = "cancel" if path.endswith("/cancel") else method
        await visit(passed(_PROVIDER_EFFECTS[kind]))
        return await command(path, timeout=timeout, method=method)

    provider.send = send_with_point  # type: ignore[method-assign]
    provider.query = query_with_point  # type: ignore[method-assign]
    provider.command = command_with_point  # type: ignore[method-assign]
