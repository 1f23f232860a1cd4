"""What the life of a run works with: its stores, the agents, the settings, a clock, and who sends callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from shared.agentkit.agent import Agent
from shared.agentkit.schedules import OwnSchedule
from shared.runs.interruptions import Interruptions
from shared.runs.log import log as log
from shared.runs.model.callbacks import Sender
from shared.runs.pending import PendingRuns
from shared.runs.store.runs import RunStore
from shared.runs.store.tables import Tables
from shared.settings import Settings
from shared.telemetry.spans import NoTelemetry, Telemetry

if TYPE_CHECKING:
    from shared.runs.store.batches import BatchStore
    from shared.runs.store.controls import ControlStore
    from shared.runs.store.due import DueStore
    from shared.runs.store.history import HistoryStore
    from shared.runs.store.index import IndexStore
    from shared.runs.store.owners import OwnerStore
    from shared.runs.store.schedules import ScheduleStore
    from shared.runs.store.slots import SlotStore


@dataclass(slots=True)
class Gauge:
    """How many are at it now: ``with gauge: …`` is one more."""

    count: int = 0
    """How many."""

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


@dataclass(frozen=True, kw_only=True)  # without slots, which would leave no place for stores made at their first use
class Ports:
    """One for each process, put together by the wiring. Stores that a status does without wait for their first use."""

    tables: Tables
    """Where all stores read and write."""

    runs: RunStore
    """Runs, sessions, calls, items: one partition a session."""

    agents: Mapping[str, Agent]
    """By name, the default one first."""

    settings: Settings
    """Read from the environment, once."""

    clock: Callable[[], datetime]
    """Aware UTC."""

    random: Callable[[], float]
    """Numbers in [0, 1), to spread waits."""

    threads: Executor
    """Where sync tools run: a pool of their own, so that they cannot starve the renewal of their lease."""

    sender: Sender | None = None
    """None where the app has no secret to sign callbacks with."""

    can_create: Callable[[], bool] = lambda: True
    """Whether a submit need not leave its create to a wake; once it need not, it never does. In a new worker the caller
    would wait for an import that takes as long as the rest of the answer."""

    telemetry: Telemetry = field(default_factory=NoTelemetry)
    """Records what is done; nothing unless it is configured."""

    interruptions: Interruptions = field(default_factory=Interruptions)
    """What crashes interrupted, for the log."""

    pending: PendingRuns = field(default_factory=PendingRuns)
    """Runs that a sweep of this process need not read."""

    own_schedules: Sequence[tuple[str, OwnSchedule]] = ()
    """Those that stand beside an agent, with its name."""

    own_due: dict[str, datetime] = field(default_factory=dict)
    """When this process looks after each of them next, by id."""

    tools_at_work: Gauge = field(default_factory=Gauge)
    """Tool calls that run in this process, of whatever runs."""

    polls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(32))
    """Polls of what sweeps have handed out, in this process: its host gives it any number of pieces at once."""

    # One input may have 1 MiB: unbounded, a batch would use up a small instance's memory.
    long_inputs: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    """Items of batches with a long input that are submitted side by side: each takes several times its size."""

    @cached_property
    def history(self) -> HistoryStore:
        """What a session's runs said, in ranges."""
        from shared.runs.store.history import HistoryStore

        return HistoryStore(self.tables)

    @cached_property
    def due(self) -> DueStore:
        """When somebody must come back to what."""
        from shared.runs.store.due import DueStore

        return DueStore(self.tables)

    @cached_property
    def index(self) -> IndexStore:
        """Idempotency keys and lists."""
        from shared.runs.store.index import IndexStore

        return IndexStore(self.tables)

    @cached_property
    def schedules(self) -> ScheduleStore:
        """What becomes a run again and again."""
        from shared.runs.store.schedules import ScheduleStore

        return ScheduleStore(self.tables)

    @cached_property
    def slots(self) -> SlotStore:
        """The owners' limits of active runs."""
        from shared.runs.store.slots import SlotStore

        return SlotStore(self.tables)

    @cached_property
    def batches(self) -> BatchStore:
        """Batches and their items."""
        from shared.runs.store.batches import BatchStore

        return BatchStore(self.tables)

    @cached_property
    def owners(self) -> OwnerStore:
        """Which rows are an owner's."""
        from shared.runs.store.owners import OwnerStore

        return OwnerStore(self.tables)

    @cached_property
    def controls(self) -> ControlStore:
        """What an operator has stopped."""
        from shared.runs.store.controls import ControlStore

        return ControlStore(self.tables, is_used=bool(self.settings.operator_keys))
