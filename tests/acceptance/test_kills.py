"""A host is killed (``kill -9``) while it stands at named points, each with a caller of its own; another goes on.

First the stories are told once, undisturbed, to learn by which points each comes. Then, in rounds, a host stops at some
of them: the first that comes by a point stays there, all others go on. When something is held at each, the host is
killed, and another starts on the same storage, a minute later by its clock. The callers lose their connections and send
again; in the end every story has come to its end, and the invariants hold over all rows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local.points.hold import Holds
from local.prove.points import OUTCOMES, Death, note
from local.stack import FunctionsHost
from shared.runs.store.azure import AzureTables
from shared.settings import Settings
from tests.acceptance.calling import STORIES, Caller, write_scripts
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, move_clock
from tests.acceptance.launch import AHEAD_VARIABLE, HOLD_VARIABLE
from tests.parts.invariants import AT_REST, Seen, ToolStart, check, read_rows
from tests.parts.receiver import SECRET, Receiver
from tests.parts.waiting import eventually

pytestmark = pytest.mark.slow

MINUTE = 61.0
TOGETHER = 14
"""Points at which one host stops: below the activities that it runs at a time."""

PATIENCE = 15.0
"""Seconds until a round is over at whose points not everything is held: some are come by only now and then."""

STORY_SECONDS = 120.0

SETTINGS = {
    "DORMOUSE_OVERDUE_SECONDS": "0.5",
    "DORMOUSE_TOOL_LEASE_SECONDS": "40",
    "DORMOUSE_TOOL_RENEWAL_SECONDS": "10",
    "DORMOUSE_CREATE_TIMEOUT_SECONDS": "30",
    "DORMOUSE_CREATE_CLAIM_SECONDS": "40",
    "DORMOUSE_CREATE_GRACE_SECONDS": "1",
    "DORMOUSE_POLL_TIMEOUT_SECONDS": "30",
    "DORMOUSE_CALLBACK_SECRET": SECRET,
    "DORMOUSE_CALLBACK_ALLOW": "127.0.0.1",
}
"""What is held stays held until the kill; a minute later every claim and lease is over."""


@dataclass(kw_only=True)
class KilledHosts:
    """A stack whose hosts are killed, and the callers that go on all the same."""

    stack: Stack
    receiver: Receiver
    holds: Holds
    host: FunctionsHost
    ahead: float = 0.0
    count: int = 0
    by_story: dict[str, list[str]] = field(default_factory=dict)
    """By point: the stories that come by it, in order."""

    async def tell(self, api: Api, number: int) -> None:
        """Tell one story, as a caller of its own."""
        self.count += 1
        caller = Caller(api=api, name=f"caller-{self.count}", receiver_url=self.receiver.url)
        await asyncio.wait_for(STORIES[number](caller), STORY_SECONDS)

    async def learn(self) -> None:
        """Tell each story once, and note by which points it comes."""
        async with Api(self.host.url) as api:
            for number, story in enumerate(STORIES):
                self.holds.passed.unlink(missing_ok=True)
                await self.tell(api, number)
                await self._wait_a_minute()
                await eventually(self._is_quiet, timeout=60)
                for name in self.holds.passed.read_text("utf-8").splitlines():
                    if story.__name__ not in self.by_story.setdefault(name, []):
                        self.by_story[name].append(story.__name__)

    async def round(self, points: Sequence[str]) -> list[str]:
        """Stop at these, kill, go on; the points at which something was held when the host was killed."""
        self.holds.wanted.write_text("".join(f"{name}\n" for name in points), "utf-8")
        self.holds.held.unlink(missing_ok=True)
        self.host.kill()
        await self._start()
        names = [story.__name__ for story in STORIES]
        numbers = [names.index(self.by_story[name][0]) for name in points]
        async with Api(self.host.url) as api, asyncio.TaskGroup() as group:
            for number in [*numbers, *sorted(set(numbers))]:
                group.create_task(self.tell(api, number))
            held = await self._held(len(points))
            self.host.kill()
            self.holds.wanted.write_text("", "utf-8")
            await self._start()
        return held

    async def _held(self, count: int) -> list[str]:
        def held() -> list[str]:
            file = self.holds.held
            return file.read_text("utf-8").splitlines() if file.exists() else []

        try:
            return list(await eventually(lambda: held() if len(held()) == count else None, timeout=PATIENCE))
        except TimeoutError:
            return held()

    async def _start(self) -> None:
        self.ahead += MINUTE
        self.host.env[AHEAD_VARIABLE] = str(self.ahead)
        await asyncio.to_thread(lambda: self.host.start().wait_ready())

    async def _wait_a_minute(self) -> None:
        """Let the time be a minute later: what was announced is then removed, where nothing came of it."""
        self.ahead += MINUTE
        await move_clock(self.host, MINUTE)

    async def _is_quiet(self) -> bool:
        return not check(await self.seen(), AT_REST)

    async def hold_at_rest(self) -> None:
        """Raise ``AssertionError`` unless all invariants hold, once nothing is left to do."""
        await self._wait_a_minute()
        try:
            await eventually(self._is_quiet, timeout=90)
        except TimeoutError:
            raise AssertionError("\n".join(map(str, check(await self.seen(), AT_REST)))) from None

    async def seen(self) -> Seen:
        """All that can be seen of the app from outside."""
        tables = AzureTables.from_connection_string(self.stack.azurite.connection_string, self.stack.prefix)
        try:
            rows = await read_rows(tables)
        finally:
            await tables.close()
        starts = [ToolStart(key=each.key, start=each.start) for each in self.stack.traces(what="start")]
        return Seen(
            now=datetime.now(UTC) + timedelta(seconds=self.ahead),
            settings=Settings(openai_api_key="k", driver=self.stack.driver),
            rows=rows,
            responses=await self.stack.model.responses(),
            requests=await self.stack.model.log(),
            received=self.receiver.received,
            starts=starts,
            at_most_once=frozenset({"pay"}),
            guarded=frozenset({"send"}),
        )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """An HTTP server that receives callbacks."""
    async with Receiver() as running:
        yield running


@pytest.mark.parametrize("driver", ["durable", pytest.param("timer", marks=pytest.mark.own_command)])
async def test_a_host_killed_at_any_named_point_loses_nothing(
    own_stack: Callable[..., Stack], tmp_path: Path, receiver: Receiver, driver: str
) -> None:
    stack, holds = own_stack(driver, **SETTINGS), Holds(tmp_path / "points.wanted")
    await write_scripts(stack.model)
    host = await asyncio.to_thread(stack.host, **{HOLD_VARIABLE: str(holds.wanted)})
    hosts = KilledHosts(stack=stack, receiver=receiver, holds=holds, host=host)
    await hosts.learn()
    killed: list[str] = []
    for points in rounds(sorted(hosts.by_story)):
        killed += await hosts.round(points)
    await hosts.hold_at_rest()
    _note(driver, hosts, killed)
    missed = sorted(hosts.by_story.keys() - {*killed})
    assert len(missed) <= len(hosts.by_story) // 4, missed


def rounds(names: Sequence[str]) -> list[list[str]]:
    """The points, some at a time: a sweep that is held looks at nothing else, so that each of its own has a round."""
    alone = [name for name in names if name.startswith("sweep / ")]
    together = [name for name in names if name not in alone]
    return [*(together[at : at + TOGETHER] for at in range(0, len(together), TOGETHER)), *([name] for name in alone)]


def _note(driver: str, hosts: KilledHosts, killed: Sequence[str]) -> None:
    if folder := os.environ.get(OUTCOMES):
        note(
            folder,
            [
                Death(point=name, driver=driver, story=hosts.by_story[name][0], effects=0, killed=True)
                for name in killed
            ],
        )
