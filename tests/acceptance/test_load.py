"""Two hosts on one storage, killed (``kill -9``) in turn: what `python -m tests.load` does, in small."""

from __future__ import annotations

from tests.load.thousand import play


async def test_runs_on_two_hosts_that_are_killed_in_turn_end_as_without_kills(driver: str) -> None:
    played = await play(driver, 40, kill_every=6)
    assert played["violations"] == []
    assert played["runs"] >= 40
    assert played["kills"] > 0
    assert played["throttled"] > 0
    assert played["connections_lost"] > 0
