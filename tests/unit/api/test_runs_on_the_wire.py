"""A run as its callers see it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.api.runs import _retry_after, on_the_wire
from shared.runs.lease import leased
from shared.runs.run import Next, Run
from shared.runs.transitions import park, wake_later
from tests.unit.runs.records import NOW, a_run

POLLED = wake_later(a_run(next=Next.POLL), NOW, 7.0)


@pytest.mark.parametrize(
    ("run", "gap"),
    [
        (POLLED, 7.0),
        (park(POLLED, NOW, NOW + timedelta(days=7)), 30.0),
        (leased(a_run(next=Next.TOOLS), NOW, 60.0), 5.0),
        (wake_later(a_run(next=Next.TOOLS), NOW, 2.0), 2.0),
        (wake_later(a_run(next=Next.ANSWERS), NOW, 300.0), 30.0),
    ],
    ids=["polled", "parked", "tools run", "tools are to run", "parked, after a wake that crashed"],
)
def test_the_gap_in_the_body_is_the_one_in_the_header(run: Run, gap: float) -> None:
    assert on_the_wire(run, url="", text="")["retry_after"] == gap
    assert _retry_after(run, NOW) == gap
