"""What can be seen of an app from outside, for the invariants to be held against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.runs.store.azure import AzureTables
from shared.settings import Settings
from tests.acceptance.conftest import Stack
from tests.parts.invariants import Seen, ToolStart, read_rows
from tests.parts.receiver import Receiver


async def seen_outside(stack: Stack, tables: AzureTables, receiver: Receiver, *, ahead: float) -> Seen:
    """All rows, what model and receiver got, and which tools began. ``ahead``: of the app's clock, in seconds."""
    rows = await read_rows(tables)
    return Seen(
        now=datetime.now(UTC) + timedelta(seconds=ahead),
        settings=Settings(openai_api_key="k", driver=stack.driver),
        rows=rows,
        responses=await stack.model.responses(),
        requests=await stack.model.log(),
        received=receiver.received,
        starts=[ToolStart(key=each.key, start=each.start) for each in stack.traces(what="start")],
        at_most_once=frozenset({"pay"}),
        guarded=frozenset({"send"}),
    )
