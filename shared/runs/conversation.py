"""What the model is sent for a turn: the new items alone, chained to the last response, or everything again."""

from __future__ import annotations

from collections.abc import Iterable

from shared.agentkit.agent import Item
from shared.runs.run import Run
from shared.runs.store.runs import RunStore


async def messages(store: RunStore, run: Run) -> list[Item]:
    """The input of the run's current turn.

    Chained: the user's items for the first turn, then the outputs of the last turn's tools. Replayed, where that is
    asked for or there is nothing to chain to: the items of the session's completed runs and this run's own, in
    order, without the provider's ids.
    """
    if not run.replay and (run.previous_response_id is not None or run.number == 1):
        return await store.last_items(run)
    found: list[Item] = []
    for earlier in await store.completed_before(run):
        found += await store.items(earlier)
    return replayed(found + await store.items(run))


STANDALONE = frozenset({"message", "function_call", "function_call_output"})
"""The items that mean something without a provider's id; ``reasoning`` and the calls of hosted tools need theirs."""


def replayed(items: Iterable[Item]) -> list[Item]:
    """The items as input that any provider takes: standalone ones, without ids and statuses."""
    return [
        {name: value for name, value in item.items() if name not in ("id", "status")}
        for item in items
        if item.get("type", "message") in STANDALONE
    ]
