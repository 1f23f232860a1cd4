"""One history: a seed, what happens, and what of it must not have."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from shared.drivers import handing_out
from shared.drivers.retention import retain
from shared.drivers.sweep import sweep
from shared.runs import commit
from shared.runs.model.facts import Fact
from shared.runs.model.ids import due_row_of
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.change import Before, Decision, Refused
from shared.runs.store import rows, runs
from shared.runs.store.azure import AzureTables
from shared.runs.store.rows import moment_of
from shared.runs.store.tables import Table
from shared.settings import Settings
from tests.histories.blame import expected_of
from tests.histories.clients import Client
from tests.histories.hub import TaskHub
from tests.histories.loop import NothingLeft, run_virtually
from tests.histories.operators import Operator
from tests.histories.planner import CAUGHT_UP, Planner
from tests.histories.process import Process
from tests.histories.rates import CALM, drawn
from tests.histories.store import Backend, InMemory, OnService
from tests.histories.world import World
from tests.parts.invariants import AT_REST, RULES, Seen, Violation, check
from tests.parts.invariants import seen as seen_module

BETWEEN_WRITES = tuple(
    RULES[name]
    for name in (
        "session_at_its_last_good_point",
        "one_active_run_a_session",
        "every_row_has_somebody_who_looks",
        "nothing_that_a_row_names_is_missing",
        "batch_counts_agree_with_results",
    )
)
"""Those that look at the rows as they stand: the others look at all that was written, once at the end."""

LONGEST_REST = 25 * 86_400.0
"""Seconds until everything must have come to rest: the answers have seven days, callbacks are tried for one."""

PURGED_AFTER = 50 * 3_600.0
"""Seconds after which nothing of what was deleted may be left."""


@dataclass(slots=True, kw_only=True)
class Played:
    """What became of a history."""

    seed: int
    violations: list[Violation] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, violations: list[Violation]) -> None:
        """Note what was found, each once."""
        known = {each.rule for each in self.violations}
        self.violations += [each for each in violations if each.rule not in known]


def play(
    seed: int,
    backend: Backend | None = None,
    *,
    steps: int | None = None,
    operated: bool = False,
    scheduled: bool = False,
) -> Played:
    """Play the history of a seed; over tables in memory unless a backend is given. ``steps``: of each client.

    ``operated``: an operator pauses and drains meanwhile. ``scheduled``: there are schedules, too.
    """
    played = Played(seed=seed)
    random = Random(seed)
    with _made_repeatable(played, random):
        try:
            history = _History(played, random, backend or InMemory(), operated=operated, scheduled=scheduled)
            run_virtually(history.play(steps))
        except NothingLeft:
            played.add([Violation("everything_ends", "everybody waits for somebody else")])
    return played


def play_on(service: str, seed: int, *, steps: int | None = None) -> Played:
    """The same over new tables of the service behind a connection string."""
    prefix = f"h{secrets.token_hex(8)}"
    backend = OnService(lambda: AzureTables.from_connection_string(service, prefix))
    try:
        return play(seed, backend, steps=steps)
    finally:
        backend.close()


@contextmanager
def _made_repeatable(played: Played, random: Random) -> Iterator[None]:
    """Ids and nonces from the seed; nothing logged, and no row in memory read twice: histories are many."""
    before, disabled, decode, decide = secrets.token_hex, logging.root.manager.disable, rows.decode, commit.decide
    polls_a_second, piece = handing_out.POLLS_A_SECOND, handing_out.PIECE
    column, read, write = rows._Column, rows._Column.read, rows._Column.write
    records: dict[int, tuple[Any, Any]] = {}
    values_read: dict[Any, Any] = {}
    values_written: dict[tuple[int, int], tuple[Any, Any]] = {}

    def decoded(kind: type[Any], values: Any) -> Any:
        # Rows in memory never change, and a record is read many times: with the row, whose address must stay taken.
        if id(values) not in records:
            records[id(values)] = (values, decode(kind, values))
        return records[id(values)][1]

    def read_once(self: Any, values: Any) -> Any:
        # Most parts of a run stay as they are from one write to the next, and all are frozen.
        texts = [values.get(f"{name}{end}") for name in self.texts for end in ("", "_part")]
        key = (id(self), rows._whole(self.name, values), *texts)
        if key not in values_read:
            values_read[key] = read(self, values)
        return values_read[key]

    def written_once(self: Any, value: Any) -> Any:
        # What was written is what the next write of the same process is compared with.
        key = (id(self), id(value))
        if key not in values_written:
            values_written[key] = (value, write(self, value))
        return dict(values_written[key][1])

    def decided(given: Before, fact: Fact, *rest: Any) -> Decision:
        decision = decide(given, fact, *rest)
        word = "refused fact" if isinstance(decision, Refused) else "fact"
        played.seen[f"{word} {type(fact).__name__}"] += 1
        return decision

    secrets.token_hex = lambda size=16: f"{random.getrandbits(8 * size):0{2 * size}x}"
    runs.decode = seen_module.decode = decoded
    column.read, column.write = read_once, written_once  # type: ignore[method-assign]
    commit.decide = decided
    if played.seed % 2:  # all that is due is handed out, in small pieces
        handing_out.POLLS_A_SECOND, handing_out.PIECE = 0, 2
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        column.read, column.write = read, write  # type: ignore[method-assign]
        secrets.token_hex, runs.decode, seen_module.decode, commit.decide = before, decode, decode, decide
        handing_out.POLLS_A_SECOND, handing_out.PIECE = polls_a_second, piece
        logging.disable(disabled)


@cache
def _settings(driver: str, limit: int | None, answers: float) -> Settings:
    return Settings(
        openai_api_key="k",
        app_name="histories",
        driver=driver,
        max_active_runs=limit,
        answer_seconds=answers,
        public_base_url="https://app.example",
    )


class _History:
    """The course of one history."""

    def __init__(self, played: Played, random: Random, backend: Backend, *, operated: bool, scheduled: bool) -> None:
        self.played, self.random = played, random
        driver = random.choice(["durable", "timer"])
        settings = _settings(driver, random.choice([None, None, None, 3, 1]), random.choice([604_800.0, 60.0]))
        if operated:
            settings = settings.model_copy(update={"operator_key": "o" * 32})
        self.world = World(random=random, settings=settings, backend=backend, rates=drawn(random), seen=played.seen)
        self.world.hub = TaskHub(self.world)
        self.world.at_writes = self.check_always
        self.calm = False
        self.clients: list[Client] = []
        self.operator = Operator(self.world, self.clients) if operated else None
        self.planner = Planner(self.world) if scheduled else None
        if isinstance(backend, InMemory):
            backend.tables.written = []

    async def play(self, steps: int | None) -> None:
        """Everything, from the first request until nothing is left to do."""
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
        world, random = self.world, self.random
        world.seen[f"driver {world.settings.driver}"] += 1
        world.processes = [Process(world), Process(world)]
        crons = [asyncio.ensure_future(each) for each in (self.sweeps(), self.keep_running(0), self.keep_running(1))]
        self.clients += [Client(world) for _ in range(random.choice([1, 1, 1, 2]))]
        others = [each for each in (self.operator, self.planner) if each is not None]
        going_on = [asyncio.create_task(each.go_on()) for each in others]
        await asyncio.gather(
            *(each.act(random.choice([0, 1, 2, 3, 5]) if steps is None else steps) for each in self.clients)
        )
        await asyncio.sleep(random.choice([0.0, 5.0, 100.0]))
        for each in others:
            each.stop()
        await asyncio.gather(*going_on)
        await self.come_to_rest()
        self.check()
        if random.random() < 0.25:
            await self.purge()
        for cron in crons:
            cron.cancel()

    async def come_to_rest(self) -> None:
        """From now on all goes well, and somebody answers what is asked, mostly."""
        world = self.world
        world.rates = CALM
        self.calm = True
        for process in world.processes:
            if self.random.random() < 0.5:
                process.cut()
        world.processes = [each if each.alive and each.ports.agents else Process(world) for each in world.processes]
        if self.operator is not None:
            await self.operator.let_all_go_on()
        if self.planner is not None:
            await asyncio.sleep(2 * CAUGHT_UP.total_seconds())
            self.played.add(list(self.planner.left_behind(self.seen())))
            await self.planner.remove_all()
        gap, end = 20.0, world.seconds() + LONGEST_REST
        while world.seconds() < end and not self.is_at_rest():
            await asyncio.sleep(gap)
            gap = min(gap * 1.6, 7_200.0)
            asking = [run.id for run in world.runs() if isinstance(run.phase, WaitingForAnswers)]
            for run_id in asking:
                await self.clients[0].answer_one(run_id, 0.7 if gap < 1_000.0 else 1.0)

    async def purge(self) -> None:
        """Wait until nothing is left of what was deleted."""
        world = self.world
        gone = {run.id for versions in self.seen().versions.values() if (run := versions[-1]).is_deleted}
        gone |= {session.session_id for session in self.seen().sessions.values() if session.deleted_at is not None}
        gone |= {batch.id for batch in self.seen().batches.values() if batch.is_deleted}
        if not gone:
            return
        await asyncio.sleep(PURGED_AFTER)
        await world.in_some_process(lambda process: retain(process.ports, process.driver()))
        await asyncio.sleep(2 * 3_600.0)
        world.seen["purged"] += len(gone)
        self.check(purged=frozenset(gone))

    # --- timers ------------------------------------------------------------------------------------------

    async def sweeps(self) -> None:
        """The sweep's timer: it is passed over while nothing is due, which would change nothing."""
        world = self.world
        while True:
            due = min((moment_of(row.values["due"]) for row in world.backend.table(Table.DUE)), default=None)
            left = 3_600.0 if due is None else (due - world.now()).total_seconds()
            await asyncio.sleep(min(max(world.settings.sweep_every, left), 3_600.0 if self.calm else 60.0))
            try:
                done = await world.in_some_process(lambda process: sweep(process.ports, process.driver()))
            except Exception as error:
                world.seen[f"sweep raised {type(error).__name__}"] += 1
            else:
                world.seen.update(f"sweep {each}" for each in done)

    async def keep_running(self, place: int) -> None:
        """Start a process anew where one has ended."""
        world = self.world
        while True:
            process = world.processes[place]
            if process.ports.agents:
                await process.ended.wait()
            await asyncio.sleep(self.random.uniform(0.5, 30.0) if not self.calm else 600.0)
            process = world.processes[place]
            lacks = not process.ports.agents
            if not process.alive or (lacks and self.random.random() < 0.1):
                process.cut()
                lacks = not self.calm and world.happens("rollout")
                world.happened["rollout"] += lacks
                world.processes[place] = Process(world, lacks_agent=lacks)

    # --- what must hold ----------------------------------------------------------------------------------

    def is_at_rest(self) -> bool:
        """Whether nothing is left to do but to remove what is deleted."""
        seen = self.seen()
        deleted = {run.id for run in seen.runs.values() if run.is_deleted}
        deleted |= {batch.id for batch in seen.batches.values() if batch.is_deleted}
        deleted |= {due_row_of(each.session_id) for each in seen.sessions.values() if each.deleted_at is not None}
        return (
            all(_is_over(run) for run in seen.runs.values())
            and all(batch.is_done or batch.is_deleted for batch in seen.batches.values())
            and all(subject in deleted for subject in seen.due)
        )

    def check_always(self) -> None:
        """Hold the world against what must hold between any two writes."""
        self.world.seen["checked between writes"] += 1
        late = self.world.seconds() < self.world.stood_still_until
        rules = [each for each in BETWEEN_WRITES if not (late and each.name == "every_row_has_somebody_who_looks")]
        self.played.add(check(self.seen(), rules))

    def check(self, *, purged: frozenset[str] = frozenset()) -> None:
        """Hold it against what must hold at rest."""
        seen = self.seen(purged=purged, at_end=True)
        self.played.add(check(seen, AT_REST))
        for versions in seen.versions.values():
            for run in versions:
                self.world.seen[f"phase {type(run.phase).__name__}"] += 1
            self.world.seen["run started late"] += versions[-1].schedule.begun_at is not None
            self.world.seen["run resumed"] += versions[0].request.resumes
            self.world.seen["run that left calls to its caller"] += versions[-1].result.open_calls > 0
            if versions[-1].terminal:
                self.world.seen[f"end {versions[-1].result.error_code or versions[-1].status}"] += 1

    def seen(self, *, purged: frozenset[str] = frozenset(), at_end: bool = False) -> Seen:
        """What can be seen of the world."""
        world = self.world
        tables = world.backend.tables
        found = Seen(
            now=world.now(),
            settings=world.settings,
            rows=world.rows(),
            written=getattr(tables, "written", None) or (),
            responses=world.model.records(world.seconds()),
            requests=world.model.requests,
            received=world.received,
            starts=world.starts,
            at_most_once=frozenset({"pay"}),
            guarded=frozenset({"send"}),
            purged=purged,
        )
        if not self.calm or not at_end:
            return found
        expected, private = expected_of(world, found)
        object.__setattr__(found, "expected", expected)
        object.__setattr__(found, "private", private)
        return found


def _is_over(run: Run) -> bool:
    left = {entry.kind for entry in run.outbox}
    return run.terminal and left <= ({EntryKind.REMOVAL} if run.is_deleted else set())
