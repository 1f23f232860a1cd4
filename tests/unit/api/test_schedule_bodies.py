"""What the body of a schedule may hold."""

from __future__ import annotations

from typing import Any

import pytest

from shared.api.native.schedule_bodies import read_change, read_schedule
from shared.errors import InvalidRequest
from shared.runs.commands.submission import Submission
from shared.runs.model.schedules import Missed
from shared.runs.schedules.change import Timing
from shared.settings import Settings
from tests.parts.cases import cases
from tests.unit.api.conftest import request

SETTINGS = Settings()


async def test_a_schedule_is_read_as_it_was_meant() -> None:
    given = {
        "cron": "0 0 6 * * 1",
        "time_zone": "Europe/Berlin",
        "missed": "once",
        "paused": True,
        "input": "x",
        "agent": "a",
        "title": "t",
        "stream": True,
        "metadata": {"k": "v"},
        "deadline_seconds": 60,
        "limits": {"turns": 1, "tool_calls": 2, "total_tokens": 3},
        "callback_url": "https://example.com/hook",
    }
    wanted, timing = await read_schedule(request(given, headers={"Idempotency-Key": "k"}), "me", SETTINGS)
    assert wanted == Submission(
        owner="me",
        items=({"type": "message", "role": "user", "content": "x"},),
        agent="a",
        title="t",
        stream=True,
        metadata={"k": "v"},
        deadline_seconds=60.0,
        turns=1,
        tool_calls=2,
        total_tokens=3,
        callback_url="https://example.com/hook",
        idempotency_key="k",
    )
    assert timing == Timing(cron="0 0 6 * * 1", time_zone="Europe/Berlin", missed=Missed.ONCE, paused=True)


async def test_by_default_what_was_missed_is_skipped_and_nothing_is_paused() -> None:
    _, timing = await read_schedule(request({"cron": "0 6 * * *", "input": "x"}), "me", SETTINGS)
    assert timing == Timing(cron="0 6 * * *", missed=Missed.SKIP, paused=False)


@cases(
    "body",
    [
        {"input": "x"},
        {"cron": "0 6 * * *"},
        {"cron": "", "input": "x"},
        {"cron": "0" * 201, "input": "x"},
        {"cron": "0 6 * * *", "input": "x", "missed": "twice"},
        {"cron": "0 6 * * *", "input": "x", "paused": "no"},
        {"cron": "0 6 * * *", "input": "x", "session_id": "s"},
        {"cron": "0 6 * * *", "input": "x", "start_at": "2026-12-01T06:00:00Z"},
    ],
)
async def test_what_does_not_fit_is_refused(body: Any) -> None:
    with pytest.raises(InvalidRequest):
        await read_schedule(request(body), "me", SETTINGS)


async def test_a_change_is_what_it_names() -> None:
    assert await read_change(request({"paused": False}), SETTINGS) == Timing(paused=False)
    assert await read_change(request({"cron": "1 * * * *", "missed": "skip"}), SETTINGS) == Timing(
        cron="1 * * * *", missed=Missed.SKIP
    )
    with pytest.raises(InvalidRequest):
        await read_change(request({"input": "y"}), SETTINGS)
