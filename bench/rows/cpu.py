"""Rows 5 and 6: the processor time of a pending wake and of a submit, and how many requests wait for one another."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bench.counting_proxy import in_a_row
from bench.figures import DORMOUSE, Line, compare
from bench.rows.transactions import FRAMEWORK, STOCK
from bench.stack import Bench, Program

RAW = "raw aiohttp"
PROGRAMS = {RAW: "raw", STOCK: "stock", FRAMEWORK: "framework", DORMOUSE: "dormouse"}
LATENCY = 0.02
"""Seconds by which each answer of the store is late while its chains are looked for: long beside what is between."""

WAKES_TITLE = "5. Processor time of a pending wake"
WAKES_HOW = (
    "Read the state, ask the provider, write what came of it: three requests, of everybody. The processor time of the "
    "program's process by the number of wakes, one after the other. All do the same number in each round, in turns, "
    "and a ratio is of one round."
)
SUBMITS_TITLE = "6. Submit"
SUBMITS_HOW = (
    "From the request's body to the answer's: create the response in the background and keep its token. The peers keep "
    "one row and promise nothing else; starting a driver is in nobody's figure. Requests one after another are those "
    f"of the store alone, with each answer {1_000 * LATENCY:g} ms late: the longest chain in which each begins after "
    "the one before has ended."
)


async def wakes(bench: Bench) -> list[Line]:
    """Row 5."""
    found = await _rounds(bench, "wake")
    return compare("a pending wake", "ms", found, base=RAW, most_ratio=4.4)


async def submits(bench: Bench) -> list[Line]:
    """Row 6."""
    found = await _rounds(bench, "submit")
    lines = compare("a submit", "ms", found, base=RAW, most_ratio=12)
    chains: dict[str, list[float]] = {}
    counts: dict[str, list[float]] = {}
    with_key: dict[str, list[float]] = {}
    for name in (STOCK, FRAMEWORK, DORMOUSE):
        async with bench.program(PROGRAMS[name]) as program:
            await program.do("prepare", 1)
            chains[name], counts[name] = await _chain(bench, program, "submit")
            if name == DORMOUSE:
                with_key[name], _ = await _chain(bench, program, "submit_with_key")
    lines += compare("requests one after another", "", chains, base=STOCK, most=3)
    lines += compare("the same with an Idempotency-Key", "", with_key)
    return lines + compare("transactions of a submit", "", counts, base=STOCK)


async def _chain(bench: Bench, program: Program, what: str) -> tuple[list[float], list[float]]:
    bench.proxy.latency = LATENCY
    try:
        transactions = (await program.do(what, 1)).transactions
    finally:
        bench.proxy.latency = 0.0
    return [in_a_row(transactions)], [len(transactions)]


async def _rounds(bench: Bench, what: str) -> dict[str, list[float]]:
    """Milliseconds a unit of every program, by round, after one round that does not count."""
    units = bench.sizes.units
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    async with AsyncExitStack() as stack:
        running = {name: await stack.enter_async_context(bench.program(program)) for name, program in PROGRAMS.items()}
        for program in running.values():
            await program.do("prepare", units)
            await program.do(what, units)
        for _ in range(bench.sizes.rounds):
            for name, program in running.items():
                found[name].append(1_000 * (await program.do(what, units)).cpu / units)
    return found
