"""What the callers of a load run do. Each story raises when a run does not end as the story says."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from local.model.control import ModelControl
from tests.acceptance import calling_runs, killed_scripts
from tests.acceptance.calling import AGAIN_SECONDS, Caller
from tests.acceptance.client import Reply
from tests.parts.receiver import Receiver

BATCH = 20
"""Items of the batch."""

FIRST_LOOK, LONGEST = 2.0, 60.0
"""Seconds between two looks of a caller at what no callback has told of yet: the first gap, and the longest."""

TRY_AGAIN = frozenset({"key_in_use", "in_progress"})
"""Conflicts that say: the same request is being answered, send it again."""


@dataclass(kw_only=True)
class Told:
    """What callbacks have told, by the id of the run or batch."""

    receiver: Receiver
    counts: Counter[str] = field(default_factory=Counter)
    _events: dict[str, asyncio.Event] = field(default_factory=dict)

    async def listen(self) -> None:
        """Read what the receiver gets; without end."""
        read = 0
        while True:
            for receipt in self.receiver.received[read:]:
                read += 1
                subject = receipt.body["data"]["id"]
                self.counts[subject] += 1
                if event := self._events.pop(subject, None):
                    event.set()
            await asyncio.sleep(0.05)

    async def more(self, subject: str, than: int, seconds: float) -> None:
        """Return when there is more than so many callbacks of it, or when the time is over."""
        if self.counts[subject] <= than:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._events.setdefault(subject, asyncio.Event()).wait(), seconds)


@dataclass(frozen=True, kw_only=True)
class LoadCaller(Caller):
    """A caller that is told by callbacks, and looks itself only now and then."""

    told: Told
    started: dict[str, str]
    """The script of each run that some caller has started, by the run's id."""

    @property
    def headers(self) -> dict[str, str]:
        """None: all callers are one user here, without a limit."""
        return {}

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        """A request, as often as it takes to have an answer of its own."""
        while True:
            reply = await super().send(method, path, **options)
            if reply.status != 409 or reply.body["code"] not in TRY_AGAIN:
                return reply
            await asyncio.sleep(AGAIN_SECONDS)

    async def start(self, script: str, key: str = "", text: str = "", **fields: Any) -> str:
        """Submit a run under a key; its id."""
        run_id = await super().start(script, key, text, **fields)
        self.started[run_id] = script
        return run_id

    async def until(self, path: str, holds: Callable[[Any], bool], **options: Any) -> dict[str, Any]:
        """What is at that path, once that holds."""
        gap, subject = FIRST_LOOK, path.rpartition("/")[2]
        while True:
            heard = self.told.counts[subject]
            reply = await self.send("GET", path, **options)
            assert reply.status == 200, reply
            if holds(reply.body):
                body: dict[str, Any] = reply.body
                return body
            await self.told.more(subject, heard, gap)
            gap = FIRST_LOOK if self.told.counts[subject] > heard else min(gap * 3, LONGEST)


async def write_scripts(model: ModelControl) -> None:
    """The scripts of all stories."""
    await killed_scripts.write_scripts(model)
    asks = {"calls": [{"name": name, "arguments": {"label": "x"}} for name in ("work", "pay")]}
    await model.script("tools", [asks, {"text": "Done with both."}])
    for name in ("first", "second", "third"):
        await model.script(name, [{"text": f"This is the {name}."}])


async def a_plain_run(caller: Caller) -> None:
    """A text for a text; the same key, sent once more, is the same run."""
    run = await caller.over(await caller.start("done"))
    assert (run["status"], run["text"]) == ("completed", "Done."), run
    assert await caller.start("done") == run["id"]


async def a_conversation(caller: Caller) -> None:
    """Three runs of one session, one after the other."""
    session: dict[str, Any] = {}
    for name in ("first", "second", "third"):
        run = await caller.over(await caller.start(name, **session))
        assert (run["status"], run["text"]) == ("completed", f"This is the {name}."), run
        session = {"session_id": run["session_id"], "agent": None}


async def a_batch(caller: Caller) -> None:
    """A batch whose items all end well."""
    items = [{"input": "[script:done]"}] * BATCH
    body = {"agent": "workshop", "items": items, "callback_url": caller.receiver_url}
    headers = {"Idempotency-Key": f"{caller.name}-batch"}
    reply = await caller.send("POST", "/api/batches", json=body, headers=headers)
    assert reply.status in (200, 202), reply
    over = await caller.until(f"/api/batches/{reply['id']}", lambda batch: batch["completed_at"] is not None)
    assert over["counts"]["completed"] == BATCH, over


Story = Callable[[Caller], Awaitable[None]]

MIX: tuple[tuple[Story, int, int], ...] = (
    (a_plain_run, 1, 40),
    (calling_runs.with_tools, 1, 25),
    (calling_runs.an_approval, 2, 10),
    (a_conversation, 3, 6),
    (calling_runs.a_cancel, 1, 10),
    (calling_runs.a_deleted_run, 1, 3),
    (calling_runs.a_deleted_session, 1, 3),
)
"""Each story, how many runs it has, and how often it is told among a hundred."""


def mixed(runs: int, seed: int) -> list[Story]:
    """Stories in any order that together have at least so many runs: one batch, and the others by their shares."""
    found: list[Story] = [a_batch]
    count, choice = BATCH, random.Random(seed)
    while count < runs:
        story, own, _ = choice.choices(MIX, [share for _, _, share in MIX])[0]
        found.append(story)
        count += own
    choice.shuffle(found)
    return found
