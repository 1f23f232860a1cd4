"""Callers of the app: what they ask for, in any order, and again where no answer came."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from shared.drivers.retention import retain
from shared.errors import DormouseError
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.batches.submit import AskedItem, BatchSubmission, submit_batch
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.commands.redeliver import redeliver
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit
from shared.runs.concurrency import LostRace
from shared.runs.model.batch import run_of, session_of
from shared.runs.model.callers_tools import CallersTools
from shared.runs.model.calls import CallState
from shared.runs.model.facts import Approve
from shared.runs.model.ids import parse_run_id
from shared.runs.rules.approvals import approval_id
from shared.runs.store.tables import StoreUnavailable
from tests.histories.process import Process
from tests.histories.provider import PlannedTurn, to_text
from tests.histories.world import CALLERS, Asked, World

T = TypeVar("T")

OWNER = "owner"
MOST_ITEMS = 3
"""Of a batch."""
FUNCTIONS = CallersTools(definitions=({"type": "function", "name": CALLERS, "parameters": {"type": "object"}},))
NO_FUNCTIONS = CallersTools()


@dataclass(frozen=True, slots=True)
class Left:
    """What a session waits for from its caller: the ids of calls to make, and of approvals to answer."""

    to_make: tuple[str, ...] = ()
    to_approve: tuple[str, ...] = ()


class Client:
    """One caller, with what it knows of its runs, sessions and batches."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs: list[str] = []
        self.batches: list[str] = []
        self.sent: list[Submission] = []

    async def act(self, steps: int) -> None:
        """So many commands, one after the other."""
        await self.submit()
        for _ in range(steps):
            await asyncio.sleep(
                self.world.random.choice([0.0, 0.1, 2.0, 10.0, 60.0, 400.0]) * self.world.random.random()
            )
            await self.world.random.choices(*COMMANDS)[0](self)

    async def call(self, name: str, do: Callable[[Process], Coroutine[Any, Any, T]], *, tries: int = 3) -> T | None:
        """One call, again where no answer came; None where it was refused, or never answered."""
        self.world.seen[f"command {name}"] += 1
        for _ in range(tries):
            try:
                return await self.world.in_some_process(do)
            except DormouseError as error:
                self.world.seen[f"refused {error.code}"] += 1
                return None
            except (ConnectionError, StoreUnavailable, LostRace):
                await asyncio.sleep(self.world.random.random() * 5.0)
        return None

    # --- what is asked -----------------------------------------------------------------------------------

    async def submit(self, session_id: str | None = None, left: Left | None = None) -> None:
        """A run of a new session, or the next of one that is there, with what that had left to its caller."""
        random, left = self.world.random, left or Left()
        asked = self._asked(resumes=bool(left.to_approve), leaves=random.random() < 0.3)
        wanted = self._submission(asked)
        outputs = [{"type": "function_call_output", "call_id": each, "output": "fetched"} for each in left.to_make]
        self.world.seen["outputs brought"] += len(outputs)
        self.world.seen["approvals brought"] += len(left.to_approve)
        wanted = replace(
            wanted,
            items=(*outputs, *wanted.items),
            approvals={each: Approve(approve=random.random() < 0.7) for each in left.to_approve},
            session_id=session_id,
            agent=None if session_id else random.choice(["talker", "talker", "talker", "caller"]),
            callback_url=random.choice([None, "https://receiver.example/"]),
            idempotency_key=random.choice([None, secrets.token_hex(8)]),
        )
        if session_id is None and random.random() < 0.15:
            wanted = replace(wanted, start_at=self.world.now() + timedelta(seconds=random.choice([-5.0, 20.0, 400.0])))
        await self.send("submit", wanted)

    async def send(self, name: str, wanted: Submission) -> None:
        """Submit it, for the first time or again."""
        self.sent.append(wanted)

        async def do(process: Process) -> str:
            submitted = await submit(process.ports, wanted)
            await process.driver().start_run(submitted)
            return submitted.run.id

        # Without a key whoever gets no answer does not know whether to ask again.
        run_id = await self.call(name, do, tries=3 if wanted.idempotency_key else 1)
        if run_id is not None and run_id not in self.runs:
            self.runs.append(run_id)

    def _asked(self, *, resumes: bool = False, leaves: bool = False) -> Asked:
        random, number = self.world.random, len(self.world.asked)
        names = ["work", "pay", "send", *([CALLERS, "send"] if leaves else [])]
        plan, deadline = self._plan(names), random.choice([86_400.0, 86_400.0, 86_400.0, 120.0])
        if deadline < 1_000.0:  # it ends while the model thinks, and what thinks on is seen
            plan = (*plan[:-1], replace(plan[-1], think=1e7))
        asked = Asked(
            plan=plan,
            words=f"word-{number}-{secrets.token_hex(4)}",
            deadline=deadline,
            # What it resumes is a turn of its own.
            turns=20 if resumes else random.choice([20, 20, 20, 1]),
            hands_over=leaves and random.random() < 0.7,
            resumes=resumes,
        )
        self.world.asked[str(number)] = asked
        return asked

    def _submission(self, asked: Asked) -> Submission:
        text = to_text(asked.plan, asked.words)
        return Submission(
            owner=OWNER,
            items=({"type": "message", "role": "user", "content": text},),
            metadata={"n": str(len(self.world.asked) - 1)},
            deadline_seconds=asked.deadline,
            turns=asked.turns,
            hands_over=asked.hands_over,
            tools=FUNCTIONS if any(name == CALLERS for turn in asked.plan for name, _ in turn.calls) else NO_FUNCTIONS,
        )

    def _plan(self, known: list[str]) -> tuple[PlannedTurn, ...]:
        random = self.world.random
        turns = []
        for _ in range(random.choice([0, 0, 1, 1, 2])):
            names = random.choices(known, k=random.choice([1, 1, 2, 3]))
            seconds = random.choice([0.0, 0.0, 1.5, 30.0, 90.0])
            calls = tuple((name, f'{{"seconds": {seconds}}}') for name in names)
            turns.append(PlannedTurn(think=random.choice([0.0, 1.0, 20.0]), calls=calls))
        last = random.choices(["completed", "incomplete", "failed"], [8, 1, 1])[0]
        turns.append(
            PlannedTurn(
                think=random.choice([0.0, 0.0, 1.0, 5.0, 5.0, 30.0, 300.0]),
                status=last,
                error_code="invalid_prompt" if last == "failed" else None,
                fails=random.choice([0, 0, 0, 0, 1, 2, 4]),
                text="Fine." * random.choice([1, 1, 1, 6_000]),
            )
        )
        return tuple(turns)

    # --- the commands ------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """The next run of a session."""
        if self.runs:
            parsed = parse_run_id(self.world.random.choice(self.runs))
            assert parsed is not None
            left = await self._left(parsed[0])
            # Now and then it forgets, and is told so.
            await self.submit(parsed[0], left if self.world.random.random() < 0.9 else None)

    async def _left(self, session_id: str) -> Left | None:
        """What the session waits for, as its last response says."""

        async def do(process: Process) -> Left:
            store = process.ports.runs
            session = await store.load_session(session_id)
            if session is None or session.value.open_calls is None:
                return Left()
            calls = [
                call.value
                for run in await store.runs_of(session_id, [session.value.open_calls])
                for call in await store.calls(run, run.turn.number)
                if call.value.state is CallState.HANDED_OVER
            ]
            to_approve = [approval_id(call) for call in calls if call.awaits_approval]
            return Left(
                to_make=tuple(call.call_id for call in calls if not call.awaits_approval),
                to_approve=() if session.value.answered_in is not None else tuple(to_approve),
            )

        return await self.call("follow", do)

    async def resend(self) -> None:
        """The same request once more."""
        if keyed := [each for each in self.sent if each.idempotency_key]:
            await self.send("resend", self.world.random.choice(keyed))

    async def answer(self, chance: float = 0.9) -> None:
        """Answer what some run asks."""
        for run_id in self.runs:
            await self.answer_one(run_id, chance)

    async def answer_one(self, run_id: str, chance: float) -> None:
        """Answer what this run asks."""
        random = self.world.random
        if random.random() > chance:
            return
        approve = random.random() < 0.7

        async def do(process: Process) -> None:
            stored = await process.ports.runs.load_visible(run_id)
            if stored is None:
                return
            calls = await process.ports.runs.calls(stored.value)
            waiting = [call.value.call_id for call in calls if call.value.state is CallState.WAITING]
            if not waiting:
                return
            some = waiting if random.random() < 0.7 else waiting[:1]
            self.world.happened[f"answered {run_id}"] += 1
            run = await answer(process.ports, run_id, {each: Approve(approve=approve) for each in some})
            if run is not None:
                await process.driver().wake(run_id)

        await self.call("answer", do)

    async def cancel(self) -> None:
        """Cancel a run."""
        if not self.runs:
            return
        run_id = self.world.random.choice(self.runs)
        self._may_be_cancelled(run_id)

        async def do(process: Process) -> None:
            if await cancel(process.ports, run_id) is not None:
                await process.driver().wake(run_id)

        await self.call("cancel", do)

    async def delete(self) -> None:
        """Delete a run."""
        if not self.runs:
            return
        run_id = self.world.random.choice(self.runs)
        self._may_be_cancelled(run_id)

        async def do(process: Process) -> None:
            if await delete_run(process.ports, run_id):
                await process.driver().wake(run_id)

        await self.call("delete", do)

    async def delete_session(self) -> None:
        """Delete a session with all its runs."""
        if not self.runs:
            return
        parsed = parse_run_id(self.world.random.choice(self.runs))
        assert parsed is not None
        self._may_be_cancelled(f"run_{parsed[0]}_")

        async def do(process: Process) -> None:
            for each in await delete_session(process.ports, parsed[0]):
                await process.driver().wake(each)

        await self.call("delete_session", do)

    async def redeliver(self) -> None:
        """Ask for a callback once more."""
        if not self.runs:
            return
        run_id = self.world.random.choice(self.runs)

        async def do(process: Process) -> None:
            if await redeliver(process.ports, run_id) is not None:
                await process.driver().wake(run_id)

        await self.call("redeliver", do)

    def _may_be_cancelled(self, prefix: str) -> None:
        self.world.cancelled.add(prefix)

    # --- batches -----------------------------------------------------------------------------------------

    async def submit_batch(self) -> None:
        """Some runs at once."""
        random = self.world.random
        items = [
            AskedItem(id=None, asked=replace(self._submission(self._asked()), agent="talker"))
            for _ in range(random.randint(1, MOST_ITEMS))
        ]
        wanted = BatchSubmission(
            items=items,
            defaults=Submission(owner=OWNER, items=(), agent="talker"),
            payload=secrets.token_hex(8),
            concurrency=random.choice([1, 2]),
            callback_url=random.choice([None, "https://receiver.example/"]),
            idempotency_key=secrets.token_hex(8),
        )

        async def do(process: Process) -> str:
            submitted = await submit_batch(process.ports, wanted)
            await process.driver().start_batch(submitted)
            return submitted.batch.id

        batch_id = await self.call("submit_batch", do)
        if batch_id is not None:
            self.batches.append(batch_id)
            self.runs += [run_of(batch_id, index) for index in range(len(items))]

    async def cancel_batch(self) -> None:
        """Cancel a batch."""
        await self._to_a_batch("cancel_batch", cancel_batch)

    async def delete_batch(self) -> None:
        """Delete a batch."""
        await self._to_a_batch("delete_batch", delete_batch, with_sessions=True)

    async def _to_a_batch(
        self, name: str, command: Callable[[Any, str], Awaitable[object]], *, with_sessions: bool = False
    ) -> None:
        if not self.batches:
            return
        batch_id = self.world.random.choice(self.batches)
        self.world.cancelled_batches.add(batch_id)
        # What somebody has begun in the session of an item goes with it.
        for index in range(MOST_ITEMS if with_sessions else 0):
            self._may_be_cancelled(f"run_{session_of(batch_id, index)}_")

        async def do(process: Process) -> None:
            if await command(process.ports, batch_id):
                await process.driver().wake(batch_id)

        await self.call(name, do)

    # --- what nobody asked for ---------------------------------------------------------------------------

    async def end_a_process(self) -> None:
        """A host is recycled."""
        if alive := [each for each in self.world.processes if each.alive]:
            self.world.random.choice(alive).cut()

    async def lose_the_hub(self) -> None:
        """The task hub is emptied."""
        if self.world.happens("hub_lost"):
            self.world.hub.lose_everything()

    async def retain(self) -> None:
        """The retention's timer fires."""

        async def do(process: Process) -> None:
            await retain(process.ports, process.driver())

        await self.call("retain", do, tries=1)

    async def time_passes(self) -> None:
        """For a while nothing is asked."""
        self.world.seen["command time_passes"] += 1
        await asyncio.sleep(self.world.random.choice([60.0, 600.0, 4_000.0, 10_000.0]))


COMMANDS: tuple[list[Callable[[Client], Awaitable[None]]], list[int]] = (
    [
        Client.submit,
        Client.follow,
        Client.resend,
        Client.answer,
        Client.cancel,
        Client.delete,
        Client.delete_session,
        Client.redeliver,
        Client.submit_batch,
        Client.cancel_batch,
        Client.delete_batch,
        Client.end_a_process,
        Client.lose_the_hub,
        Client.retain,
        Client.time_passes,
    ],
    [6, 8, 4, 14, 5, 4, 2, 2, 2, 1, 1, 3, 3, 1, 4],
)
"""What is done, and how often."""
