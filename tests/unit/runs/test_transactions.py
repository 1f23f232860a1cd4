"""What a wake costs at Table Storage: operations, each of which is billed and waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.unit.runs.conftest import Rig


async def operations(rig: Rig, act: Callable[[], Coroutine[Any, Any, Any]]) -> dict[str, int]:
    """What it takes, by the kind of operation."""
    seen: Counter[str] = Counter()

    async def count(operation: str, *_: object) -> None:
        seen[operation] += 1

    rig.tables.before = count
    await act()
    rig.tables.before = None
    return dict(seen)


async def test_a_look_without_news_reads_the_run_and_merges_it(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True}])
    run_id = await rig.start()
    for _ in range(3):
        rig.clock.move(130)
        assert await operations(rig, lambda: rig.wake(run_id)) == {"get": 1, "commit": 1}


async def test_a_look_that_completes_the_run_is_one_transaction_with_its_session(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Once."}])
    run_id = await rig.start()
    rig.clock.move(2)
    assert await operations(rig, lambda: rig.wake(run_id)) == {"get": 2, "commit": 1}


async def test_a_turn_with_tools_reads_its_calls_before_they_run_and_after(rig: Rig) -> None:
    work = {"name": "work", "arguments": {"label": "a"}}
    await rig.model.script("s", [{"calls": [work, work]}, {"text": "Once."}])
    run_id = await rig.start()
    rig.clock.move(2)
    await rig.wake(run_id)
    # The lease with both starts, the end of each, and what they came to.
    assert await operations(rig, lambda: rig.wake(run_id)) == {"get": 1, "query": 2, "commit": 4}
