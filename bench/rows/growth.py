"""Row 10: what becomes of it where there is much of something."""

from __future__ import annotations

import statistics

from bench.figures import DORMOUSE, Line, compare
from bench.rows.transactions import STOCK
from bench.stack import MANY_CALLS, SWEEPS, Bench

TURNS = 200
FEW = 10

TITLE = "10. Growth"
HOW = (
    "*Sweep*: runs that are due and pending, by the processor time of one sweep over all of them; the stock timer "
    "looks for rows that are not done and handles sixteen side by side. *Replay*: with `DORMOUSE_CHAIN=replay`, as "
    "where the provider forgets, a turn sends all that was said before; the figure is from its submit to its end. "
    "*Batch item*: from the batch's submit to its end, with a model that answers at once, its runs included."
)


async def measure(bench: Bench) -> list[Line]:
    """The sweeps in turns; the rest is the app's alone."""
    return [*await _sweeps(bench), *await _sizes(bench)]


async def _sweeps(bench: Bench) -> list[Line]:
    found: dict[str, list[float]] = {STOCK: [], DORMOUSE: []}
    many = bench.sizes.sweep
    async with bench.program("stock") as stock, bench.program("dormouse", **SWEEPS) as app:
        programs = {STOCK: stock, DORMOUSE: app}
        for program in programs.values():
            await program.do("prepare", many)
            await program.do("sweep", many)
        for _ in range(bench.sizes.rounds):
            for name, program in programs.items():
                swept = await program.do("sweep", many)
                found[name].append(swept.result / swept.cpu)
    bench.counted["looks_a_second"] = statistics.median(found[DORMOUSE])
    return compare("runs swept a second of a core", "", found, base=STOCK, least=400)


async def _sizes(bench: Bench) -> list[Line]:
    sizes = bench.sizes
    turns = TURNS if sizes.rounds > FEW / 2 else FEW
    items, statuses = [], []
    async with bench.program("growth", DORMOUSE_CHAIN="replay") as app:
        await app.do("turns", turns)
        replayed = len((await app.do("turns", 1)).transactions)
        await app.do("batch", sizes.units)
        assert (await app.do("calls")).result == MANY_CALLS
        await app.do("status_of_long_text", 1)
        for _ in range(sizes.rounds):
            items.append(1_000 * (await app.do("batch", sizes.units)).cpu / sizes.units)
            statuses.append(1_000 * (await app.do("status_of_long_text", sizes.units)).cpu / sizes.units)
    return [
        *compare(f"transactions of turn {turns + 1} by replay", "", {DORMOUSE: [replayed]}, most=10),
        *compare("a batch item", "ms", {DORMOUSE: items}, most=10),
        *compare(f"a status with {MANY_CALLS} calls", "ms", {DORMOUSE: statuses}, most=4),
    ]
