"""A session as its owner reads it: with a page of its runs, and their messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.agentkit.agent import Item
from shared.errors import SessionNotFound
from shared.runs.model.run import Run, Session
from shared.runs.ports import Ports
from shared.runs.queries.runs import MAX_BYTES, is_gone
from shared.runs.store.runs import READS

LOOKED_AT = 400
"""Numbers of runs that are looked at for one page: those of deleted ones bring nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of a run, as it is sent to the model."""

    role: str

    content: Any
    """Text, or the parts as the caller sent them (JSON)."""

    @property
    def size(self) -> int:
        """Bytes of its content."""
        content = self.content
        return len((content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWithMessages:
    """A run of a session, and its messages in their order."""

    run: Run
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

    A page has at most ``limit`` runs, and ``MAX_BYTES`` but for its first. It may be short where runs were deleted.
    """
    last = session.next_number - 1
    newest = last if newest is None else min(newest, last)
    page: list[RunWithMessages] = []
    held = 0
    # By number: keys sort ascending, and the service reads no range backwards.
    for first in range(newest, max(newest - LOOKED_AT, 0), -READS):
        for run in await ports.runs.runs_of(session.session_id, range(first, max(first - READS, 0), -1)):
            if len(page) == limit:
                return SessionPage(runs=page, following=run.request.number)
            messages = await _messages_of(ports, run)
            if messages is None:
                continue
            held += sum(message.size for message in messages)
            # A hundred runs of 1 MiB would be one answer of 100 MB, in memory at once.
            if page and held > MAX_BYTES:
                return SessionPage(runs=page, following=run.request.number)
            page.append(RunWithMessages(run=run, messages=messages))
    return SessionPage(runs=page, following=newest - LOOKED_AT)


async def _messages_of(ports: Ports, run: Run) -> list[Message] | None:
    """The messages of a run; None: it is deleted while we read it. Its other items may be many, and are not kept."""
    try:
        return [message async for items in ports.runs.each_appended(run) for message in _messages(items)]
    except LookupError:
        if await is_gone(ports, run):
            return None
        raise


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
