"""What a sweep cannot poll within its period: handed out in pieces, as activities of one orchestration, which the
platform spreads over instances.

Its rows are dated ahead before the orchestration is started, so that no sweep hands them out twice. Whatever becomes of
a piece, they are due again after that.
"""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from shared.drivers.durable import POLLS, Hub
from shared.runs.concurrency import side_by_side
from shared.runs.ports import Ports, log
from shared.runs.store.due import DueRow
from shared.runs.store.tables import StoreUnavailable
from shared.settings import Settings

POLLS_A_SECOND = 2
"""Of each of the sweep's polls side by side: what is taken for possible before anything is handed out. A poll of half a
second, the provider's answer included, is what the real host was seen to take.
"""

PIECE = 50
"""Rows of a piece, at most: they are dated in one transaction, and polled by one activity."""

PIECES = 100
"""Pieces of one orchestration, at most: its input and its history are read as a whole, again and again."""

TOGETHER = 20
"""Polls side by side in one activity."""

AHEAD = timedelta(seconds=60)
"""How long what is handed out is left to its piece. Then it is due again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The rows of one partition, from the first to the last, that were handed out under a name."""

    handed_to: str
    partition: str
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOut:
    """What became of rows that were to be handed out."""

    count: int
    """How many were."""

    left: Sequence[DueRow]
    """Those that are to be polled here, since no orchestration can be started."""


def most_inline(settings: Settings) -> int:
    """How many rows a sweep polls by itself: about as many as it can within its period."""
    return settings.sweep_concurrency * settings.sweep_every * POLLS_A_SECOND


async def hand_out(ports: Ports, hub: Hub, rows: Sequence[DueRow]) -> HandedOut:
    """Hand out these due rows, the first ones first. Those that cannot be dated are still due."""
    count, rest = 0, rows
    while rest:
        some, rest = rest[: PIECE * PIECES], rest[PIECE * PIECES :]
        name = f"{POLLS}-{secrets.token_hex(16)}"
        pieces = await _all_dated(ports, name, some)
        dated = [row for piece in pieces for row in piece]
        if not await _handed_out(hub, name, pieces):
            return HandedOut(count=count, left=[*dated, *rest])
        count += len(dated)
    return HandedOut(count=count, left=())


async def _all_dated(ports: Ports, name: str, rows: Sequence[DueRow]) -> list[Sequence[DueRow]]:
    """The rows as they were dated, in pieces."""
    at_once = ports.settings.sweep_concurrency
    dated = await side_by_side(_pieces(rows), lambda piece: _dated(ports, name, piece), at_once=at_once)
    return [piece for piece in dated if piece]


def _pieces(rows: Sequence[DueRow]) -> Iterator[Sequence[DueRow]]:
    """The rows by partition and key, so that what lies between the first and the last of a piece is little else."""
    partitions: defaultdict[str, list[DueRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.run_id):
        partitions[row.partition].append(row)
    for each in partitions.values():
        # As long as each other, so that none is still at work when all others have ended.
        size = math.ceil(len(each) / math.ceil(len(each) / PIECE))
        for at in range(0, len(each), size):
            yield each[at : at + size]


async def _dated(ports: Ports, name: str, piece: Sequence[DueRow]) -> Sequence[DueRow]:
    """Those of the rows that got their date. One that has changed meanwhile is left to whoever did that."""
    now = ports.clock()
    try:
        return await ports.due.set_all([row.handed_out(name, now + AHEAD, now) for row in piece])
    except StoreUnavailable as error:
        log.warning("%d due rows are not handed out and will be looked at again: %s", len(piece), error)
        return []


async def _handed_out(hub: Hub, name: str, pieces: Sequence[Sequence[DueRow]]) -> bool:
    """Start the orchestration, if there is something for it; False where the host takes none."""
    try:
        if pieces:
            await hub.start_polls(name, [asdict(_piece(name, rows)) for rows in pieces])
    except Exception:
        log.exception("no orchestration can be started: the sweep polls by itself")
        return False
    return True


def _piece(name: str, rows: Sequence[DueRow]) -> Piece:
    return Piece(handed_to=name, partition=rows[0].partition, first=rows[0].run_id, last=rows[-1].run_id)
