"""Row 4: what the store is asked for, counted at the wire."""

from __future__ import annotations

from bench.figures import DORMOUSE, Line, compare
from bench.stack import SWEEPS, Bench, Program

STOCK = "openai and tables as they come"
FRAMEWORK = "Agent Framework with tables"
DURABLE_LOOP = "Durable timer loop"
DURABLE_WAKE = 15.0
"""From the source of the extension's storage provider: a timer's wake with its orchestrator's episode. Not counted
here: the local host keeps its task hub in memory. An activity adds 3."""

TITLE = "4. Storage transactions"
HOW = (
    "Requests to Table Storage, counted by a proxy before the emulator; an entity group transaction is one, as on the "
    "bill. What the task hub of `durable` takes is not among them (a wake of it takes what one of the Durable loop "
    f"does). The figure of the Durable loop, {DURABLE_WAKE:g} a wake, is from the source of its storage provider; all "
    "others are counted. In the sweep all runs share the query for due rows, and up to 25 of them the write of their "
    "dates; its first look at a run reads that, the later ones, which are counted, do not."
)


async def measure(bench: Bench) -> list[Line]:
    """Counts do not change from round to round: one is enough."""
    units = bench.sizes.units
    wakes: dict[str, list[float]] = {DURABLE_LOOP: [DURABLE_WAKE]}
    for name, program in ((STOCK, "stock"), (FRAMEWORK, "framework")):
        async with bench.program(program) as peer:
            await peer.do("prepare", units)
            wakes[name] = [await _each(peer, "wake", units)]
    async with bench.program("dormouse") as app:
        await app.do("prepare", units)
        await app.do("wake", units)
        wakes[DORMOUSE] = [await _each(app, "wake", units)]
        status = await _each(app, "status", units)
        await app.do("ask_for_tools", units)
        tools = await _after_thinking(app, units)
        assert (await app.do("long_text")).result > 200_000
        long = await _each(app, "status_of_long_text", units)
        looks = len((await app.do("unchanged", units)).transactions)
    async with bench.program("dormouse", **SWEEPS) as app:
        await app.do("prepare", bench.sizes.sweep)
        await app.do("sweep")
        swept = await _each(app, "sweep", bench.sizes.sweep)
    bench.counted.update(wake_transactions=wakes[DORMOUSE][0], swept_transactions=swept)
    return [
        *compare("a pending wake", "", wakes, base=DURABLE_LOOP, most=2),
        *compare("a pending wake in the sweep", "", {DORMOUSE: [swept]}, most=2),
        *compare("a turn of two tools: look, tools, next create", "", {DORMOUSE: [tools]}, most=9),
        *compare("a status", "", {DORMOUSE: [status]}, most=1),
        *compare("a status with a text of 200 KB", "", {DORMOUSE: [long]}),
        *compare("the same, answered 304", "", {DORMOUSE: [looks / units - long]}, most=1),
    ]


async def _each(program: Program, what: str, units: int) -> float:
    return len((await program.do(what, units)).transactions) / units


async def _after_thinking(app: Program, units: int) -> float:
    await app.do("think")
    found = len((await app.do("tools_turn", units)).transactions) / units
    await app.do("check_tools_turn")
    return found
