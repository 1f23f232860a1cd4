"""What the model is sent for a turn: the new items alone, chained to the last response, or everything again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from shared.agentkit.agent import Agent, Item
from shared.agentkit.caller import fenced
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run, RunHead
from shared.runs.ports import Ports
from shared.runs.store.runs import RunStore


def is_chained(run: Run, agent: Agent) -> bool:
    """Whether the run's current turn goes on from the provider's last response, and new items alone are sent."""
    # A later run without a predecessor gets everything: a deleted run has cleared the session's last response.
    # So does a branch whose beginning the provider cannot go on from.
    begins = run.request.number == 1 and not run.request.history
    return agent.chains and not run.replays and (run.chain.last_response_id is not None or begins)


async def messages(
    ports: Ports, run: Run, agent: Agent, *, given: list[Item] | None = None, last: str | None = None
) -> list[Item]:
    """The input of the run's current turn.

    ``given``: the run's own items, while it is not written yet. ``last``: those that were appended last, as JSON, where
    they are known.

    Chained: for the first turn the user's items, behind what our own tools gave in the turn that the run goes on from;
    then the outputs of the last turn's tools. Replayed, where that is
    asked for or there is nothing to chain to: the items of the session's completed runs and this run's own, in
    order, without the provider's ids. Raises ``ConversationTooLong``.
    """
    if is_chained(run, agent):
        new = given
        if new is None:
            new = await ports.runs.last_items(run) if last is None else json.loads(last)
        return with_fences(await _new_items(ports.runs, run, new))
    items: list[Item] = []
    held = 0
    async for appended in _so_far(ports, run, given):
        # Measured as it grows: a long session must not be in memory as a whole before it is refused.
        kept = [item for item in appended if item.get("type", "message") in REPLAYED]
        held += len(json.dumps(kept))
        if held > MAX_REPLAYED:
            raise ConversationTooLong
        items += kept
    return with_fences(replayed(items))


async def _new_items(store: RunStore, run: Run, last: list[Item]) -> list[Item]:
    """What a chained turn is sent, where ``last`` is what was appended last."""
    # Of a run that began with calls the second turn is the first that is created.
    if run.turn.number > (2 if run.request.resumes else 1):
        return last
    owed = await store.load_text(run, run.request.outputs)
    given = await store.given_items(run) if run.request.resumes else []
    return [*(json.loads(owed) if owed else []), *last, *given]


def with_fences(items: Iterable[Item]) -> list[Item]:
    """The items as the model is to read them: what instructs it and is the caller's is named as theirs.

    The rows have it as the caller sent it, and show it so.
    """
    return [{**item, "content": fenced(item["content"])} if item.get("role") == "developer" else item for item in items]


HEADS = 250
"""Runs of a session whose heads are read together: a page of the service's."""

BYTES_TOGETHER = 400_000
"""Of items, up to which those of several runs are read together: they are all in memory."""


async def runs_before(
    ports: Ports, session_id: str, number: int
) -> AsyncIterator[tuple[RunHead, AsyncIterator[list[Item]]]]:
    """The session's runs before that number that are not deleted, oldest first, each with what it adds to the
    conversation, as it was appended; first of all what a branch begins with.

    Items of failed and cancelled runs are left out: the session never moved on to them. Raises ``LookupError`` when a
    run is deleted meanwhile.
    """
    for first in range(1, number, HEADS):
        heads = await ports.history.heads(session_id, first, min(first + HEADS, number) - 1)
        for some in _together([head for head in heads if not head.is_deleted]):
            found = await _appended_to(ports, session_id, some)
            for head in some:
                yield head, _said_in(ports.runs, head, found.get(head.number))


def _together(heads: Iterable[RunHead]) -> Iterator[list[RunHead]]:
    """The runs in groups whose items may be in memory together; one with more than that is alone."""
    some: list[RunHead] = []
    held = 0
    for head in heads:
        size = head.chain.item_bytes if head.status is RunStatus.COMPLETED else 0
        if some and held + size > BYTES_TOGETHER:
            yield some
            some, held = [], 0
        some.append(head)
        held += size
    if some:
        yield some


async def _appended_to(ports: Ports, session_id: str, some: Sequence[RunHead]) -> dict[int, list[list[Item]]]:
    """What was appended to those of the runs that completed, by number; nothing for one alone, which may be long."""
    found: dict[int, list[list[Item]]] = {head.number: [] for head in some if head.status is RunStatus.COMPLETED}
    if len(found) < 2:
        return {}
    async for number, appended in ports.history.items(session_id, found):
        found[number].append(appended)
    return found


async def _said_in(store: RunStore, run: RunHead, known: list[list[Item]] | None) -> AsyncIterator[list[Item]]:
    """What a run adds. ``known``: what was appended to it, where that is read already."""
    async for copied in _copied(store, run):
        yield copied
    if run.status is not RunStatus.COMPLETED:
        return
    found = 0
    async for appended in _in_order(run, store.each_appended(run) if known is None else _each(known)):
        found += 1
        yield appended
    # The rows of a deleted run go one by one, and half a conversation is none.
    if found < run.chain.items:
        raise LookupError(f"{run.id} has {found} of its {run.chain.items} items")


async def _each(known: list[list[Item]]) -> AsyncIterator[list[Item]]:
    for appended in known:
        yield appended


async def _copied(store: RunStore, run: RunHead) -> AsyncIterator[list[Item]]:
    for part in run.request.history:
        yield json.loads(await store.load_text(run, part))


async def _so_far(ports: Ports, run: Run, given: list[Item] | None) -> AsyncIterator[list[Item]]:
    async for _, said in runs_before(ports, run.request.session_id, run.request.number):
        async for appended in said:
            yield appended
    async for copied in _copied(ports.runs, run):
        yield copied
    if given is not None:
        yield given
        return
    async for appended in _in_order(run, ports.runs.each_appended(run)):
        yield appended


async def _in_order(run: RunHead, all_appended: AsyncIterator[list[Item]]) -> AsyncIterator[list[Item]]:
    """What was appended to a run. Where that began with calls, what they gave comes before its input."""
    given: list[Item] | None = None
    is_input = True
    async for appended in all_appended:
        if is_input and run.request.resumes:
            given, is_input = appended, False
            continue
        yield appended
        if given is not None:
            yield given
            given = None
    if given is not None:
        yield given


MAX_REPLAYED = 8_000_000
"""Characters of JSON that a conversation may have to be sent anew: more than any model takes."""


class ConversationTooLong(Exception):
    """The conversation is too long to be sent anew."""


# An unknown or foreign item makes the provider refuse the whole request.
STANDALONE = frozenset({"message", "function_call", "function_call_output", "mcp_approval_response"})
"""The items that mean something without a provider's id; ``reasoning`` and the calls of hosted tools need theirs."""

PAIRED = ("function_call", "function_call_output")
"""Of these a provider takes none without the other."""

NAMED = frozenset({"mcp_approval_request"})
"""Items that another one of the conversation refers to by its id."""


REPLAYED = STANDALONE | NAMED


def replayed(items: Iterable[Item]) -> list[Item]:
    """The items as input that any provider takes: standalone ones, without ids (but where one is referred to).

    A call without an output is left out, and an output without a call: one of them was deleted with its run. An
    approval that the provider has acted on is left out with its request: without the call's own item, which
    cannot be sent again, it would make the call a second time.
    """
    items = list(items)
    used = _used_approvals(items)
    called, answered = ({each.get("call_id") for each in items if each.get("type") == kind} for kind in PAIRED)
    found = []
    for item in items:
        kind = item.get("type", "message")
        if used and (item.get("approval_request_id") in used or (kind in NAMED and item.get("id") in used)):
            continue
        if kind in PAIRED and not {item.get("call_id")} <= called & answered:
            continue
        if kind in STANDALONE:
            found.append({name: value for name, value in item.items() if name not in ("id", "status")})
        elif kind in NAMED:
            found.append({name: value for name, value in item.items() if name != "status"})
    return found


def _used_approvals(items: Sequence[Item]) -> set[str]:
    """The requests that were approved before the model's last output."""
    given: set[str] = set()
    used: set[str] = set()
    for item in items:
        if item.get("type") == "mcp_approval_response":
            if item["approve"]:
                given.add(item["approval_request_id"])
        elif item.get("type") != "function_call_output" and item.get("role", "assistant") == "assistant":
            used |= given
    return used
