"""Row 8: the memory of a process while runs sleep."""

from __future__ import annotations

from bench.figures import DORMOUSE, Line, compare
from bench.rows.transactions import STOCK
from bench.stack import SWEEPS, Bench

TITLE = "8. Memory of sleeping runs"
HOW = (
    "The peer keeps a loop for each run in its process, which looks once and sleeps: what that adds to the process. "
    "For the app, under `timer`, sleeping runs are rows: what the process holds more after a sweep that looks at all "
    "of them than after the one before."
)


async def measure(bench: Bench) -> list[Line]:
    """One measurement each: it is no matter of time."""
    many = bench.sizes.asleep
    async with bench.program("stock") as stock:
        await stock.do("prepare", many)
        await stock.do("wake", 20)
        waiting = (await stock.do("wait_for", many)).result
    async with bench.program("dormouse", **SWEEPS) as app:
        await app.do("prepare", many)
        await app.do("sweep")
        before = (await app.do("memory")).result
        await app.do("sweep")
        drift = max(0.0, (await app.do("memory")).result - before)
    found = {STOCK: [waiting], DORMOUSE: [drift]}
    return compare(f"{many:,} runs", "MB", found, base=STOCK, most=1)
