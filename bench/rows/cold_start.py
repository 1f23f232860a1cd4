"""Row 7: what a worker that is started anew takes until its first answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from bench.figures import DORMOUSE, Line, compare
from bench.stack import Bench, Program, ProgramFailed
from local import ROOT

APP = "AgentFunctionApp with its client"
SUBMITTED = f"{APP}, first submit"

TITLE = "7. Cold start"
HOW = (
    "Processor time of fresh processes, from the first line to the answer: import, index the functions, make the "
    "clients, answer one request. Everything is in bytecode and in the page cache, for both. All ratios are to "
    "`AgentFunctionApp` with its client, indexed and no more: it has no status that is read from rows. Its first "
    "submit is the run that its entity begins; what its durable entity takes besides is not in it."
)


async def measure(bench: Bench) -> list[Line]:
    """Every variant once a round, after one round that writes the bytecode."""
    async with bench.program("dormouse") as app:
        given = await variables(bench, app)
        found: dict[tuple[str, str], list[float]] = {}
        for number in range(bench.sizes.rounds + 1):
            for who, what in (
                ("framework", "index"),
                ("framework", "submit"),
                ("dormouse", "index"),
                ("dormouse", "status"),
                ("dormouse", "submit"),
            ):
                taken = await started(bench, who, what, given)
                if number:
                    found.setdefault((who, what), []).append(taken)
    base = found["framework", "index"]
    return [
        *compare("index", "ms", {APP: base, DORMOUSE: found["dormouse", "index"]}, base=APP),
        *compare(
            "index and first status", "ms", {APP: base, DORMOUSE: found["dormouse", "status"]}, base=APP, most_ratio=0.5
        ),
        *compare(
            "index and first submit",
            "ms",
            {APP: base, SUBMITTED: found["framework", "submit"], DORMOUSE: found["dormouse", "submit"]},
            base=APP,
            most_ratio=0.8,
        ),
    ]


async def variables(bench: Bench, app: Program) -> dict[str, str]:
    """The environment of a fresh process on the tables of that program, with a run to ask for."""
    await app.do("prepare", 1)
    return {name: value for name, value in app.env.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
        "AzureWebJobsStorage": bench.storage,
        "DORMOUSE_TABLE_PREFIX": app.env["BENCH_PREFIX"],
        "OPENAI_API_KEY": app.env["BENCH_ACCOUNT"],
        "OPENAI_BASE_URL": bench.model.base_url,
        "BENCH_RUN": (await app.do("last")).result,
    }


async def started(bench: Bench, who: str, what: str, env: Mapping[str, str]) -> float:
    """Milliseconds of processor time that a fresh process takes to its answer."""
    process = await asyncio.create_subprocess_exec(
        str(bench.python),
        *("-m", f"bench.programs.cold.{who}", what),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        cwd=ROOT,
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise ProgramFailed(f"cold {who} {what}: {errors.decode(errors='replace')[-3_000:]}")
    return 1_000 * float(out)
