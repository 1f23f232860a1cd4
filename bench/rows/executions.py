"""Rows 3 and 9: how often functions are executed for a run, and what that costs at list prices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.figures import DORMOUSE, Line, compare
from bench.prices import ACTIVITY, EPISODE, EXECUTION, GB_SECOND, QUEUES, TABLES
from bench.rows.transactions import DURABLE_LOOP
from bench.stack import CALLS, Bench

THINK = 300
PLAIN = [{"think": THINK, "text": "Once."}]
WITH_TOOLS = [{"think": 10, "calls": CALLS}, {"think": THINK - 20, "text": "Once."}]

TITLE = "3. Executions of functions"
HOW = (
    f"A run whose response takes {THINK} s, on the local host with its own Durable and a clock that jumps from event "
    "to event. Everything that the host calls counts but the submit: activities, orchestrators with their replays, "
    "sweeps. The Durable loop is the documentation's monitor: an activity, then a timer, with gaps that double from 2 "
    "to 30 s. *At once*: so many runs are submitted together, and the figure is that of one."
)

AIMED_CROWD = 100
GB = 2.0

COST_TITLE = "9. Dollars for 1,000 runs of five minutes"
COST_HOW = (
    f"Computed from the executions above, and the submit, at list prices of Flex Consumption with {GB:g} GB: "
    f"${GB_SECOND:f} a GB-s, $0.40 a million executions, $0.00036 for 10,000 transactions of tables and $0.004 of "
    "queues. *Alone*: each second in which something runs is billed whole, as the plan does. *Many at once*: what is "
    "billed is the processor time of the whole local process, with host and model in it, so it is too high, for all "
    "alike. Transactions of our rows are counted at the wire; those of Durable are "
    f"{EPISODE} an episode and {ACTIVITY} an activity, from its source, half of them taken to be those of queues. "
    "*Waiting* holds one instance for the five minutes. What callers' status requests cost is not in here."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of runs that were submitted at once. All figures are of all of them together."""

    count: int
    names: Mapping[str, int]
    kinds: Mapping[str, int]
    moments: int
    """Seconds in which something was executed."""

    cpu: float
    transactions: int
    """Of tables, but for those of Durable and of the questions how the run stands."""

    @property
    def executions(self) -> float:
        """Of one run, without its submit."""
        return sum(called for kind, called in self.kinds.items() if kind != "http") / self.count

    def dollars(self, billed_seconds: float) -> float:
        """For a thousand such runs."""
        durables = EPISODE * self.kinds.get("orchestrator", 0) + ACTIVITY * self.kinds.get("activity", 0)
        total = billed_seconds * GB * GB_SECOND + sum(self.kinds.values()) * EXECUTION
        total += self.transactions * TABLES + durables * (TABLES + QUEUES) / 2
        return 1_000 * total / self.count


async def measure(bench: Bench) -> list[Line]:
    """Row 3."""
    found = await played(bench)
    crowd = bench.sizes.crowd

    def executions(**of: str) -> dict[str, list[float]]:
        names = {DURABLE_LOOP: of.get("loop"), DORMOUSE: of["app"]}
        return {who: [each.executions for each in found[name]] for who, name in names.items() if name}

    def activities(name: str) -> dict[str, list[float]]:
        return {DORMOUSE: [each.names["advance"] for each in found[name]]}

    for_others(bench, found["durable at once"][0])
    at_once = f"one of {crowd} at once"
    return [
        *compare("a run, `durable`", "", executions(loop="loop", app="durable"), base=DURABLE_LOOP),
        *compare("activities of that run", "", activities("durable")),
        *compare("a run with two tools, `durable`", "", executions(app="durable with tools")),
        *compare("activities of the run with tools", "", activities("durable with tools"), most=26),
        *compare(
            f"{at_once}, `durable`", "", executions(loop="loop at once", app="durable at once"), base=DURABLE_LOOP
        ),
        *compare("a run, `timer`", "", executions(app="timer")),
        # Of a smaller crowd each has a larger share of the sweeps.
        *compare(
            f"{at_once}, `timer`", "", executions(app="timer at once"), most=0.7 if crowd >= AIMED_CROWD else None
        ),
    ]


def for_others(bench: Bench, crowd: Played) -> None:
    """What `dev.py simulate` takes from it."""
    wakes = crowd.names["advance"]
    bench.counted["wake_executions"] = crowd.executions * crowd.count / wakes
    bench.counted["wake_seconds"] = crowd.cpu / wakes
    # A wake that finds nothing new takes two (row 4); the rest is the submit's, and of the wake that finds the end.
    bench.counted["run_transactions"] = (crowd.transactions - 2 * wakes) / crowd.count


async def costs(bench: Bench) -> list[Line]:
    """Row 9."""
    found = await played(bench)
    waiting = 1_000 * THINK * GB * GB_SECOND

    def alone(name: str) -> list[float]:
        return [each.dollars(each.moments) for each in found[name]]

    def busy(name: str) -> list[float]:
        return [each.dollars(each.cpu) for each in found[name]]

    one = {DURABLE_LOOP: alone("loop"), DORMOUSE: alone("durable"), "waiting": [waiting] * len(found["loop"])}
    many = {DURABLE_LOOP: busy("loop at once"), DORMOUSE: busy("durable at once")}
    swept = {DURABLE_LOOP: busy("loop at once"), DORMOUSE: busy("timer at once")}
    return [
        *compare("alone, `durable`", "$", one, base=DURABLE_LOOP),
        *compare("many at once, `durable`", "$", many, base=DURABLE_LOOP, most_ratio=0.5),
        *compare(f"{bench.sizes.crowd} at once and no others, `timer`", "$", {DORMOUSE: alone("timer at once")}),
        *compare("many at once, `timer`", "$", swept, base=DURABLE_LOOP, most_ratio=0.5),
    ]


async def played(bench: Bench) -> dict[str, list[Played]]:
    """Every simulation, once for both rows. Single runs several times: the schedule has jitter."""
    if "played" not in bench.kept:
        loop, crowd, times = "bench/peers/durable_loop", bench.sizes.crowd, bench.sizes.rounds
        bench.kept["played"] = {
            "loop": [await _play(bench, loop, "", PLAIN, 1) for _ in range(times)],
            "loop at once": [await _play(bench, loop, "", PLAIN, crowd)],
            "durable": [await _play(bench, ".", "durable", PLAIN, 1) for _ in range(times)],
            "durable with tools": [await _play(bench, ".", "durable", WITH_TOOLS, 1) for _ in range(times)],
            "durable at once": [await _play(bench, ".", "durable", PLAIN, crowd)],
            "timer": [await _play(bench, ".", "timer", PLAIN, 1)],
            "timer at once": [await _play(bench, ".", "timer", PLAIN, crowd)],
        }
    found: dict[str, list[Played]] = bench.kept["played"]
    return found


async def _play(bench: Bench, app: str, driver: str, script: list[dict[str, Any]], count: int) -> Played:
    settings = {"DORMOUSE_DRIVER": driver, "DORMOUSE_SAMPLE_TOOL_SECONDS": "0"} if driver else {"LOOP_TABLE": "loop"}
    simulation = {"BENCH_APP": app, "BENCH_SCRIPT": json.dumps(script), "BENCH_EARLIEST": f"{THINK - 20}"}
    async with bench.program("simulated", **settings, **simulation) as program:
        measured = await program.do("runs", count)
    said = measured.result
    # Each question is one transaction of ours; the loop's status is its task hub's.
    asked = said["asked"] if driver else 0
    return Played(
        count=count,
        names=said["names"],
        kinds=said["kinds"],
        moments=said["moments"],
        cpu=said["cpu"],
        transactions=len(measured.transactions) - asked,
    )
