"""A host is killed (``kill -9``) while it stands at named points, each with a caller of its own; another goes on.

In rounds a host stops at some of them: the first that comes by a point stays there, all others go on. When something is
held at each, the host is killed, and another starts on the same storage, a minute later by its clock, to stop at the
next ones. The callers lose their connections and send again; in the end every story has come to its end, and the
invariants hold over all rows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from local.points.hold import Holds
from local.prove.points import OUTCOMES, Death, note
from shared.runs.store.azure import AzureTables
from tests.acceptance.calling import CLIENT_KEY
from tests.acceptance.calling_faults import SLOTS
from tests.acceptance.calling_operators import OPERATOR_KEY
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.acceptance.killed_hosts import KilledHosts
from tests.acceptance.killed_points import PARTS, Story, after_a_kill, told_for
from tests.acceptance.killed_scripts import write_scripts
from tests.acceptance.launch import HOLD_VARIABLE
from tests.parts.receiver import SECRET, Receiver

TOGETHER = 20
"""Points at which one host stops."""

ACTIVITIES = ("wake / ", "batch wake / ", "provider / ")
ACTIVITIES_TOGETHER = 12
"""Of those within an activity: half as many as it runs at a time."""

TRIES = 3
"""Rounds for a point: some are come by only now and then. Each is waited for longer."""

SETTINGS = {
    "DORMOUSE_OVERDUE_SECONDS": "0.5",
    "DORMOUSE_TOOL_LEASE_SECONDS": "40",
    "DORMOUSE_TOOL_RENEWAL_SECONDS": "0.5",
    "DORMOUSE_CREATE_TIMEOUT_SECONDS": "30",
    "DORMOUSE_CREATE_CLAIM_SECONDS": "40",
    "DORMOUSE_CREATE_GRACE_SECONDS": "1",
    "DORMOUSE_POLL_TIMEOUT_SECONDS": "30",
    "DORMOUSE_POLL_GRACE_SECONDS": "1",
    "DORMOUSE_CALLBACK_SECRET": SECRET,
    "DORMOUSE_CALLBACK_ALLOW": "127.0.0.1",
    "DORMOUSE_CALLBACK_CONCURRENCY": "64",
    "DORMOUSE_DELEGATION": "1",
    "DORMOUSE_API_KEYS": f"ada+delegate:{CLIENT_KEY}",
    "DORMOUSE_API_WAIT_SECONDS": "1",
    "DORMOUSE_OPERATOR_KEY": OPERATOR_KEY,
    "DORMOUSE_MAX_ACTIVE_RUNS": str(SLOTS),
}
"""What is held stays held until the kill; a minute later every claim and lease is over."""

SWEEP_SECONDS = {"durable": "5", "timer": "1"}
"""The gap between the app's own sweeps: under ``durable`` nearly all of its work is the orchestrations'."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """An HTTP server that receives callbacks."""
    async with Receiver() as running:
        yield running


@pytest.mark.parametrize(
    ("driver", "part"),
    [
        # All of them take too long for a part of all tests: `dev.py prove --points` plays the others.
        pytest.param(driver, part, marks=() if (driver, part) == ("durable", "days") else pytest.mark.own_command)
        for driver in ("durable", "timer")
        for part in PARTS
    ],
)
async def test_a_host_killed_at_any_named_point_loses_nothing(
    own_stack: Callable[..., Stack], tmp_path: Path, receiver: Receiver, driver: str, part: str
) -> None:
    stack, holds = (
        own_stack(driver, **SETTINGS, DORMOUSE_SWEEP_SECONDS=SWEEP_SECONDS[driver]),
        Holds(tmp_path / "points.wanted"),
    )
    await write_scripts(stack.model)
    host = await asyncio.to_thread(stack.host, **{HOLD_VARIABLE: str(holds.wanted)})
    tables = AzureTables.from_connection_string(stack.azurite.connection_string, stack.prefix)
    async with Api(host.url) as api:
        hosts = KilledHosts(stack=stack, receiver=receiver, holds=holds, host=host, tables=tables, api=api)
        try:
            missed = await _kill_at_all(hosts, driver, part)
            await hosts.end()
        finally:
            await tables.close()
    _note(driver, hosts)
    assert not missed


async def _kill_at_all(hosts: KilledHosts, driver: str, part: str) -> list[str]:
    """Kill a host at each point of this part; the points that nothing came by."""
    missed: list[str] = []
    told = told_for(driver)
    for scene in PARTS[part]:
        left: dict[str, Story] = {name: story for name, (its, story) in told.items() if its is scene}
        for patience in range(1, TRIES + 1):
            for points in _rounds(left):
                besides = [name for name in after_a_kill(driver) if name not in hosts.killed]
                await hosts.round(scene, points, besides, patience)
            left = {name: story for name, story in left.items() if name not in hosts.killed}
        missed += left
    return missed


def _rounds(left: dict[str, Story]) -> list[dict[str, Story]]:
    rounds: list[dict[str, Story]] = []
    for name in sorted(left, key=lambda name: left[name].__name__):
        is_activity = name.startswith(ACTIVITIES)
        for each in rounds:
            activities = sum(other.startswith(ACTIVITIES) for other in each)
            if len(each) < TOGETHER and not (is_activity and activities == ACTIVITIES_TOGETHER):
                each[name] = left[name]
                break
        else:
            rounds.append({name: left[name]})
    return rounds


def _note(driver: str, hosts: KilledHosts) -> None:
    if folder := os.environ.get(OUTCOMES):
        note(
            folder,
            [
                Death(point=name, driver=driver, story=story, effects=0, killed=True)
                for name, story in hosts.killed.items()
            ],
        )
