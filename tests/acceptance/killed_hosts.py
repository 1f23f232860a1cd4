"""Hosts that are killed one after the other, and the callers that go on all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

import aiohttp

from local.points.hold import Holds
from local.stack import FunctionsHost
from shared.runs.store.azure import AzureTables
from tests.acceptance.calling import Caller, GoneError
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, admin
from tests.acceptance.killed_points import MINUTE, PARTS, Scene, Story
from tests.acceptance.launch import AHEAD_VARIABLE
from tests.acceptance.outside import seen_outside
from tests.parts.invariants import AT_REST, Seen, check
from tests.parts.receiver import Receiver
from tests.parts.waiting import eventually

QUIET_SECONDS = 5.0
"""Nothing new is held for so long: then nothing more comes by itself."""

BETWEEN_SECONDS = 2.0
"""The same between two moves of the clock."""

TICK_SECONDS = {"durable": 2.0, "timer": 6.0}
"""Between two sweeps beside the app's own: each looks again at whatever waits for its turn, and costs that time."""

STORIES_SECONDS = 180.0
"""Until all stories have come to their ends, once no host is killed any more."""

STORIES_JUMP = 5 * MINUTE
"""By how much the clock is moved then, each time that no story has ended for a while."""


@dataclass(kw_only=True)
class KilledHosts:
    """A stack whose hosts are killed, and what outlives them."""

    stack: Stack
    receiver: Receiver
    holds: Holds
    host: FunctionsHost
    tables: AzureTables
    api: Api
    ahead: float = 0.0
    count: int = 0
    killed: dict[str, str] = field(default_factory=dict)
    """The points at which something was held when a host was killed, and the story that was begun for each."""

    _env: dict[str, str] = field(init=False)
    """What the scenes' settings were before."""

    _callers: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        changed = {name for scenes in PARTS.values() for each in scenes for name in (*each.env, *each.taken_over)}
        self._env = {name: self.host.env.get(name, "") for name in changed}

    async def round(
        self, scene: Scene, points: Mapping[str, Story], besides: Collection[str], patience: float = 1.0
    ) -> None:
        """Kill the host; have another stop at these points (and at others, where anything comes by them), and go on.

        It is killed in the next round, or by ``end``. ``patience``: how many times longer than usual to wait.
        """
        quiet, between = QUIET_SECONDS * patience, BETWEEN_SECONDS * patience
        if scene.cut_off:
            await self._restart(scene.env, scene.cut_off, scene.slow)
            await self._held(scene.cut_off, self._tell(scene.cut_off.values()), quiet)
        if scene.taken_over:
            await self._restart(scene.env, (), ())
            await self._held((), self._tell(points.values()), between)
        await self._restart({**scene.env, **scene.taken_over}, {*points, *besides}, scene.slow)
        told = [] if scene.cut_off or scene.taken_over else self._tell(points.values())
        async with self._ticking("sweep"):
            await self._held(points, told, quiet)
        async with self._ticking(*(("sweep", "retain") if scene.retains else ("sweep",))):
            for number, seconds in enumerate(scene.jumps, 1):
                if self._now_held().issuperset(points):
                    break
                await self._move_clock(seconds)
                await self._held(points, told, quiet if number == len(scene.jumps) else between)
        self.killed |= {name: points[name].__name__ if name in points else "" for name in self._now_held()}

    def _tell(self, stories: Iterable[Story]) -> list[asyncio.Task[None]]:
        begun = []
        for story in stories:
            self.count += 1
            caller = Caller(
                api=self.api,
                name=f"caller-{self.count}",
                receiver_url=self.receiver.url,
                model=self.stack.model,
                tables=self.tables,
            )
            begun.append(asyncio.create_task(_told(story, caller), name=f"{story.__name__} {caller.name}"))
        self._callers += begun
        return begun

    async def _held(
        self, points: Collection[str], told: Collection[asyncio.Task[None]], quiet: float = QUIET_SECONDS
    ) -> None:
        """Return once something is held at each, or nothing goes on any more."""
        before, since = (-1, -1), monotonic()
        while not (points and self._now_held().issuperset(points)) and monotonic() - since < quiet:
            now = len(self._now_held()), sum(each.done() for each in told)
            if now != before:
                before, since = now, monotonic()
            await asyncio.sleep(0.05)

    def _now_held(self) -> set[str]:
        file = self.holds.held
        return set(file.read_text("utf-8").splitlines()) if file.exists() else set()

    async def _move_clock(self, seconds: float) -> None:
        """Move the clock of the host. Whoever comes by a slow point has moved it, too."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.host.url}/admin/clock", json={"advance": seconds}, headers=admin(self.host)) as reply,
        ):
            now = datetime.fromisoformat((await reply.json())["now"])
        self.ahead = (now - datetime.now(UTC)).total_seconds()

    async def _restart(self, env: Mapping[str, str], wanted: Collection[str], slow: Collection[str]) -> None:
        await self._move_clock(0)
        self.host.kill()
        self.holds.held.unlink(missing_ok=True)
        self.holds.wanted.write_text("".join(f"{name}\n" for name in wanted), "utf-8")
        self.holds.slow.write_text("".join(f"{name}\n" for name in slow), "utf-8")
        self.ahead += MINUTE
        self.host.env.update({**self._env, **env, AHEAD_VARIABLE: str(self.ahead)})
        await asyncio.to_thread(lambda: self.host.start().wait_ready())

    @contextlib.asynccontextmanager
    async def _ticking(self, *names: str) -> AsyncIterator[None]:
        """Have these timers fire again and again, though one of them is held: as other instances would."""

        async def tick() -> None:
            async with aiohttp.ClientSession() as session:
                while True:
                    for name in names:
                        with contextlib.suppress(aiohttp.ClientError):
                            url = f"{self.host.url}/admin/functions/{name}"
                            await session.post(url, json={}, headers=admin(self.host))
                    await asyncio.sleep(TICK_SECONDS[self.stack.driver])

        task = asyncio.create_task(tick())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def end(self) -> None:
        """Kill the last host, and let all stories come to their ends.

        Raises what a story raises, and ``AssertionError`` unless all invariants hold in the end.
        """
        await self._restart({}, (), ())
        async with self._ticking("sweep"):
            await self._stories_end()
            try:
                await eventually(self._comes_to_rest, timeout=120)
            except TimeoutError:
                raise AssertionError(_evidence(await self.seen())) from None

    async def _stories_end(self) -> None:
        pending, until = set(self._callers), monotonic() + STORIES_SECONDS
        while pending:
            assert monotonic() < until, [each.get_name() for each in pending]
            done, pending = await asyncio.wait(pending, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
            # Some wait for what comes only with time.
            if not done:
                await self._move_clock(STORIES_JUMP)

    async def _comes_to_rest(self) -> bool:
        """Whether all invariants hold. If not, time goes on."""
        if not check(await self.seen(), AT_REST):
            return True
        await self._move_clock(MINUTE)
        await asyncio.sleep(1.5)
        return False

    async def seen(self) -> Seen:
        """All that can be seen of the app from outside."""
        return await seen_outside(self.stack, self.tables, self.receiver, ahead=self.ahead)


def _evidence(seen: Seen) -> str:
    """What is violated, and how the runs stand that are named in it."""
    violations = "\n".join(map(str, check(seen, AT_REST)))
    named = [run for run in seen.runs.values() if run.id in violations]
    responses = [each for each in seen.responses if each.metadata.get("run") in {run.id for run in named}]
    return "\n".join([violations, *map(str, named), *map(str, responses)])


async def _told(story: Story, caller: Caller) -> None:
    with contextlib.suppress(GoneError):
        await story(caller)
