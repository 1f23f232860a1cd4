"""Whose code takes the processor's time: what could be won at most by a part that costs nothing.

`.venv/bin/python -m bench.shares` samples the app's process by its own processor time.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from bench.programs.sampling import SAMPLED, Shares
from bench.stack import FULL, MANY_CALLS, SWEEPS, Program, stack

WARM = 40
MANY = 400


async def main() -> None:
    """Print a table."""
    print("| what | ms | whose |\n|---|---|---|")
    async with stack(Path(sys.executable), FULL) as bench:
        async with bench.program("dormouse", DORMOUSE_DRIVER="durable", **SAMPLED) as app:
            await app.do("prepare", WARM)
            await _print(app, "a submit", "submit", MANY)
            await _print(app, "a pending wake", "wake", MANY)
        async with bench.program("dormouse", **SWEEPS, **SAMPLED) as app:
            await app.do("prepare", MANY)
            await app.do("sweep", MANY)
            await _print(app, "a look of the sweep", "sweep", MANY)
        async with bench.program("growth", **SAMPLED) as app:
            await app.do("batch", WARM)
            await _print(app, "a batch item", "batch", MANY)
            await app.do("calls")
            await _print(app, f"a status with {MANY_CALLS} calls", "status_of_long_text", MANY)


async def _print(app: Program, name: str, what: str, count: int) -> None:
    await app.do("forget_shares")
    measured = await app.do(what, count)
    found: Any = (await app.do("shares")).result
    shares: Shares = found
    said = ", ".join(f"{who} {share:.0%}" for who, share in shares.items() if share >= 0.01)
    print(f"| {name} | {1_000 * measured.cpu / count:.2f} | {said} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
