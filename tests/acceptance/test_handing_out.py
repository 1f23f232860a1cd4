"""Under `timer`, what a sweep cannot poll within its period: activities of the host do it, each run in one of them."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

from local.model.control import ModelControl
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.acceptance.launch import DEBUG_VARIABLE
from tests.acceptance.test_crashes import restart
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]

MANY = 60
AT_ONCE = 16
"""Questions to the provider at once, of one host."""

GAP = 2.0
SETTINGS = {
    "DORMOUSE_SWEEP_CONCURRENCY": "1",
    "DORMOUSE_POLL_FIRST_SECONDS": f"{GAP:g}",
    "DORMOUSE_POLL_MAX_SECONDS": f"{GAP:g}",
    "DORMOUSE_POLL_TIMEOUT_SECONDS": "30",
    "DORMOUSE_MAX_ACTIVE_RUNS": "",
    DEBUG_VARIABLE: "1",
    "DORMOUSE_OVERDUE_SECONDS": "0.5",
}
"""A sweep polls two runs by itself. A create has the time it has in production: many at once are slow."""


async def looks(model: ModelControl) -> dict[str, list[float]]:
    """When the provider was asked for each response, oldest first."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for entry in await model.log("retrieve"):
        found[entry.path].append(entry.time)
    return found


def handed_out(stack: Stack) -> int:
    """How many due rows all hosts have handed out, by their logs."""
    logs = "".join(file.read_text("utf-8") for file in stack.folder.glob("host-*.log"))
    return sum(map(int, re.findall(r"'handed_out': (\d+)", logs)))


async def test_many_runs_are_polled_by_activities_and_each_when_it_is_due(own_stack: NewStack) -> None:
    stack = own_stack("timer", **SETTINGS)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "Fine.", "think": 9}])
    async with Api(host.url) as api:
        runs = await asyncio.gather(*(api.start("[script:s]", agent="workshop") for _ in range(MANY)))
        ended = [await api.finished(run_id) for run_id in runs]
    assert {run["status"] for run in ended} == {"completed"}
    assert handed_out(stack) >= MANY
    found = await looks(stack.model)
    assert len(found) == MANY
    gaps = [after - before for times in found.values() for before, after in pairwise(times)]
    assert len(gaps) >= MANY
    assert min(gaps) > GAP / 2, "polled by two"


async def test_where_the_host_is_killed_while_it_polls_another_goes_on(own_stack: NewStack) -> None:
    stack = own_stack("timer", **SETTINGS)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "Fine.", "think": 1, "faults": {"retrieve": [{"hang": 20}] * AT_ONCE}}])
    async with Api(host.url) as api:
        runs = await asyncio.gather(*(api.start("[script:s]", agent="workshop") for _ in range(MANY)))

        async def is_in_the_middle() -> bool:
            return len(await looks(stack.model)) >= AT_ONCE

        # A create that the kill cuts off is rightly made once more: it is not what is looked at here.
        await asyncio.gather(*(api.until(run_id, lambda run: run["provider_status"] is not None) for run_id in runs))
        await eventually(is_in_the_middle)
        host.kill()
        assert handed_out(stack) > 0
        before = len(await looks(stack.model))
        assert before < MANY, "no host has come to all of them"
        await restart(host)
        ended = [await api.finished(run_id) for run_id in runs]
    assert {run["status"] for run in ended} == {"completed"}
    assert len(await stack.model.creates()) == MANY
