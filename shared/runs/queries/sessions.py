"""A session as its owner reads it: with a page of its runs, and their messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.agentkit.agent import Item
from shared.errors import SessionNotFound
from shared.runs.model.run import RunHead
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.queries.runs import MAX_BYTES, is_gone

LOOKED_AT = 250
"""Numbers of runs that are looked at besides for one page, where some of its own are of deleted runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of a run, as it is sent to the model."""

    role: str

    content: Any
    """Text, or the parts as the caller sent them (JSON)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWithMessages:
    """A run of a session, and its messages in their order."""

    run: RunHead
    messages: Sequence[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPage:
    """Some runs of a session, newest first."""

    runs: Sequence[RunWithMessages]

    following: int
    """The number of the run that the next page begins with; below 1: this is the last."""


async def session_of_owner(ports: Ports, session_id: str, owner: str, *, or_deleted: bool = False) -> Session:
    """The session. Raises ``SessionNotFound`` for one that is not there, deleted, or another owner's."""
    stored = await ports.runs.load_session(session_id)
    # One error for all: nobody learns which ids other owners have.
    if stored is None or stored.value.owner != owner or (stored.value.deleted_at is not None and not or_deleted):
        raise SessionNotFound
    return stored.value


async def runs_of_session(ports: Ports, session: Session, newest: int | None, limit: int) -> SessionPage:
    """Runs from number ``newest`` down (None: from the last), with their messages.

    A page has at most ``limit`` runs, and ``MAX_BYTES`` of items but for its first. It may be short where runs were
    deleted.
    """
    last = session.next_number - 1
    newest = last if newest is None else min(newest, last)
    shown, following = await _heads(ports, session.session_id, newest, limit)
    held = 0
    for index, head in enumerate(shown):
        held += head.chain.item_bytes
        # A hundred runs of 1 MiB would be one answer of 100 MB, in memory at once.
        if index and held > MAX_BYTES:
            shown, following = shown[:index], head.number
            break
    try:
        runs = await _with_messages(ports, session.session_id, shown)
    except LookupError:
        # One of them was deleted while it was read, and its long values are gone: which, only its row says.
        alive = [head for head in shown if not await is_gone(ports, head.id)]
        if len(alive) == len(shown):
            raise
        runs = await _with_messages(ports, session.session_id, alive)
    return SessionPage(runs=runs, following=following)


async def _heads(ports: Ports, session_id: str, newest: int, limit: int) -> tuple[list[RunHead], int]:
    """Up to ``limit`` runs, newest first, and the number from which on nothing was looked at."""
    found: list[RunHead] = []
    # Most often the first range is enough; the second is for sessions of which much was deleted.
    for reach in (limit, LOOKED_AT):
        oldest = max(newest - reach + 1, 1)
        if len(found) == limit or newest < 1:
            break
        # By number: keys sort ascending, and the service reads no range backwards.
        heads = await ports.history.heads(session_id, oldest, newest)
        for head in reversed(heads):
            if head.is_deleted:
                continue
            if len(found) == limit:
                return found, head.number
            found.append(head)
        newest = oldest - 1
    return found, newest


async def _with_messages(ports: Ports, session_id: str, heads: Sequence[RunHead]) -> list[RunWithMessages]:
    """The runs with their messages, newest first; without those that are deleted while we read them."""
    if not heads:
        return []
    messages: dict[int, list[Message]] = {head.number: [] for head in heads}
    appended: Counter[int] = Counter()
    async for number, items in ports.history.items(session_id, messages.keys()):
        appended[number] += 1
        # A run's other items may be many, and are not kept.
        messages[number] += _messages(items)
    return [
        RunWithMessages(run=head, messages=messages[head.number])
        for head in heads
        if appended[head.number] >= head.chain.items
    ]


def _messages(items: Iterable[Item]) -> list[Message]:
    return [
        Message(role=item["role"], content=_content(item.get("content")))
        for item in items
        if item.get("type", "message") == "message" and "role" in item
    ]


def _content(content: Any) -> Any:
    """Text as text; anything else as the parts that it is."""
    if isinstance(content, list) and all(part.get("type") in ("input_text", "output_text") for part in content):
        return "".join(part["text"] for part in content)
    return content
