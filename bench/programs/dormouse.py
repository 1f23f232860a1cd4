"""The app's own parts on a clock that is moved, without a host around them: what a trigger of the app delegates to.

The task hub is not there: what its client is asked for is done at once and costs nothing. (The other programs have no
driver either.) Reads and writes go to the same emulator, looks to the same model, as those of the peers.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bench.programs.loop import given, resident, serve
from local.model.control import ModelControl
from shared import settings, wiring
from shared.api.http import answered
from shared.api.native import run_changes, runs
from shared.drivers.activity import wake
from shared.drivers.driver import Driver
from shared.drivers.durable import Hub
from shared.drivers.sweep import sweep
from shared.runs.actions.outcome import Outcome
from shared.runs.commands.adopt import adopt
from shared.runs.model.phases import Pending
from shared.runs.store.tables import Tables
from shared.telemetry.exporting import IMPORT_AFTER_SECONDS
from tests.parts.memory import MemoryTables

LONG_TEXT = "[script:long]"
TOOLS = "[script:tools]"
PENDING = "[script:pending]"
GAP = 2.0

IN_MEMORY = "BENCH_TABLES_IN_MEMORY"
"""The variable by which the program keeps its tables itself: for more rows than the emulator can be asked for."""


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        """Move it ahead."""
        self.now += timedelta(seconds=seconds)


class NoHub:
    """A durable client whose host takes everything."""

    async def start_new(self, *_: object) -> None:
        """Started."""

    async def raise_event(self, *_: object) -> None:
        """Raised."""


class Dormouse:
    """One process of the app."""

    def __init__(self) -> None:
        stack = given()
        self.clock = Clock()
        self.settings = settings.load(
            {
                "AzureWebJobsStorage": stack.storage,
                "DORMOUSE_TABLE_PREFIX": stack.prefix,
                "OPENAI_API_KEY": stack.account,
                "OPENAI_BASE_URL": stack.model,
                "DORMOUSE_POLL_FIRST_SECONDS": f"{GAP:g}",
                "DORMOUSE_POLL_MAX_SECONDS": f"{GAP:g}",
                "DORMOUSE_DEADLINE_SECONDS": "604800",
                "DORMOUSE_SAMPLE_TOOL_SECONDS": "0",
                **settings_of_program(),
            }
        )
        agents = wiring.build_agents(self.settings, self.clock)
        self.telemetry = wiring.telemetry_of(self.settings, self.clock)
        tables: Tables = MemoryTables(checks_limits=False)
        if not os.environ.get(IN_MEMORY):
            tables = wiring.open_tables(self.settings, self.telemetry)
        self.app = wiring.build(self.settings, agents, tables, self.clock, self.telemetry)
        self.driver = Driver(self.app.ports, Hub(NoHub()), self.app.watching.read_now)
        self.runs: list[str] = []
        self.ended = ""
        self.with_tools: list[str] = []

    # --- submit, status ---

    async def call(
        self, handler: Callable[..., Awaitable[Response]], *more: object, body: object = None, **request: Any
    ) -> Response:
        """One request to a handler, as the trigger of that route makes it."""
        headers = [(name.lower().encode(), value.encode()) for name, value in request.get("headers", {}).items()]
        sent = b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        scope = {"type": "http", "method": method, "path": "/api/runs", "query_string": b"", "headers": headers}
        scope |= {"path_params": request.get("path", {}), "scheme": "http", "server": ("127.0.0.1", 80)}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        response: Response = await answered(handler)(Request(scope, receive), self.app, *more)
        assert response.status_code in (200, 202, 304), bytes(response.body)
        return response

    async def submitted(self, text: str = PENDING, **headers: str) -> str:
        """Submit; the id of the run."""
        headers["Content-Type"] = "application/json"
        body = {"input": text, "agent": "novelist"}
        response = await self.call(run_changes.create_run, self.driver, body=body, headers=headers)
        run_id: str = json.loads(bytes(response.body))["id"]
        return run_id

    async def submit(self, count: int) -> None:
        """Submit so many runs, one after the other, whose responses stay pending."""
        for _ in range(count):
            self.runs.append(await self.submitted())

    async def submit_with_key(self, count: int) -> None:
        """The same with an `Idempotency-Key` each."""
        for _ in range(count):
            self.runs.append(await self.submitted(**{"Idempotency-Key": secrets.token_hex(8)}))

    async def prepare(self, count: int) -> None:
        """Make the tables, open the connections, and have so many runs whose responses are pending."""
        await self.submit(count)

    async def last(self, count: int) -> str:
        """The id of the last run."""
        return self.runs[-1]

    async def status(self, count: int) -> None:
        """Look at a pending run."""
        for run_id, _ in zip(cycle(self.runs), range(count), strict=False):
            await self.call(runs.get_run, path={"run_id": run_id})

    async def long_text(self, count: int) -> int:
        """Have a run that has ended with a text of 200 KB; the length of its status."""
        self.ended = await self.submitted(LONG_TEXT)
        await self._wake_until(self.ended, lambda outcome: outcome.wake_in is None)
        return len((await self.call(runs.get_run, path={"run_id": self.ended})).body)

    async def status_of_long_text(self, count: int) -> None:
        """Look at the run of `long_text`."""
        for _ in range(count):
            await self.call(runs.get_run, path={"run_id": self.ended})

    async def unchanged(self, count: int) -> None:
        """Look at it with the `ETag` of the last look: two looks each, of which the second is answered 304."""
        for _ in range(count):
            etag = (await self.call(runs.get_run, path={"run_id": self.ended})).headers["etag"]
            again = await self.call(runs.get_run, path={"run_id": self.ended}, headers={"If-None-Match": etag})
            assert again.status_code == 304, again.status_code

    # --- wakes ---

    async def wake(self, count: int) -> None:
        """Wake so many pending runs, one after the other, as the activity of `durable` does."""
        for run_id, _ in zip(cycle(self.runs), range(count), strict=False):
            self.clock.move(GAP)
            outcome = await wake(self.app.ports, run_id, self.driver)
            assert outcome.wake_in, outcome

    async def sweep(self, count: int) -> int:
        """One sweep over all runs, each of which is due."""
        self.clock.move(61)
        found = await sweep(self.app.ports, self.driver)
        assert found["polled"] == len(self.runs), found
        return found["polled"]

    async def import_telemetry(self, count: int) -> None:
        """Have what exports imported, where anything is exported: that is once in the life of a process."""
        await asyncio.sleep(IMPORT_AFTER_SECONDS + 2)

    async def memory(self, count: int) -> float:
        """Megabytes that the process holds."""
        return resident()

    async def ask_for_tools(self, count: int) -> None:
        """Have so many runs whose response will ask for two tools."""
        self.with_tools = [await self.submitted(TOOLS) for _ in range(count)]

    async def think(self, count: int) -> None:
        """Let the model think, which goes by real time."""
        await asyncio.sleep(0.5)

    async def tools_turn(self, count: int) -> None:
        """Each from the look that brings two calls to the next turn's response, which is pending."""
        for run_id in self.with_tools:
            self.clock.move(GAP)
            while (await wake(self.app.ports, run_id, self.driver)).wake_in == 0:
                continue

    async def check_tools_turn(self, count: int) -> None:
        """Raises ``AssertionError`` where `tools_turn` has not come where it says."""
        for run_id in self.with_tools:
            run = await self._stored(run_id)
            assert run.turn.number == 2, run
            assert isinstance(run.phase, Pending), run

    async def webhook(self, count: int) -> int:
        """A run whose end a webhook tells of: how often the provider is asked from there to its end."""
        stack = given()
        model = ModelControl(stack.model.removesuffix("/v1"), stack.account)
        run_id = await self.submitted(LONG_TEXT)
        await self.think(1)
        response_id = (await self._stored(run_id)).phase.token.response_id
        before = len(await model.log("retrieve"))
        told = await adopt(self.app.ports, response_id)
        assert told in (run_id, None), told
        outcome = await wake(self.app.ports, run_id, self.driver)
        while outcome.wake_in is not None:
            self.clock.move(GAP)
            outcome = await wake(self.app.ports, run_id, self.driver)
        return len(await model.log("retrieve")) - before

    async def _stored(self, run_id: str) -> Any:
        stored = await self.app.ports.runs.load(run_id)
        assert stored is not None
        return stored.value

    async def _wake_until(self, run_id: str, done: Callable[[Outcome], bool]) -> None:
        while True:
            await asyncio.sleep(0.05)  # the model goes by real time
            self.clock.move(GAP)
            if done(await wake(self.app.ports, run_id, self.driver)):
                return


def settings_of_program() -> dict[str, str]:
    """Settings that the bench gives to this program alone."""
    return {name: value for name, value in os.environ.items() if name.startswith(("DORMOUSE_", "OTEL_"))}


if __name__ == "__main__":
    asyncio.run(serve(Dormouse()))
