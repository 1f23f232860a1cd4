"""Row 11: what it costs to export traces, metrics and the log; where nothing is exported, the rows above are it."""

from __future__ import annotations

from bench.figures import DORMOUSE, Line, compare
from bench.rows.cold_start import started, variables
from bench.stack import Bench
from local.traces.receiver import Receiver

EXPORTING = "Dormouse, exporting"

TITLE = "11. Telemetry"
HOW = (
    "The app as it is, and the app with `OTEL_EXPORTER_OTLP_ENDPOINT`, whose receiver is another process's. What a "
    "wake and a submit take with all that is exported for them, in the whole process; and a fresh process until its "
    "first answer, which does not wait for OpenTelemetry: that is imported a second later, beside the work."
)


async def measure(bench: Bench) -> list[Line]:
    """Both in turns."""
    with Receiver() as receiver:
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        found = await _at_work(bench, exporting)
        starts = await _cold(bench, exporting)
        assert receiver.spans, "nothing was exported"
    return [
        *compare("a pending wake", "ms", found["wake"], base=DORMOUSE),
        *compare("a submit", "ms", found["submit"], base=DORMOUSE),
        *compare("index and first status", "ms", starts["status"], base=DORMOUSE),
        *compare("index and first submit", "ms", starts["submit"], base=DORMOUSE),
    ]


async def _at_work(bench: Bench, exporting: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {what: {DORMOUSE: [], EXPORTING: []} for what in ("wake", "submit")}
    units = bench.sizes.units
    async with bench.program("dormouse") as plain, bench.program("dormouse", **exporting) as exports:
        programs = {DORMOUSE: plain, EXPORTING: exports}
        for program in programs.values():
            await program.do("prepare", units)
            await program.do("import_telemetry", 1)
        for _ in range(bench.sizes.rounds):
            for what, of_both in found.items():
                for name, program in programs.items():
                    of_both[name].append(1_000 * (await program.do(what, units)).cpu / units)
    return found


async def _cold(bench: Bench, exporting: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {what: {DORMOUSE: [], EXPORTING: []} for what in ("status", "submit")}
    async with bench.program("dormouse") as app:
        env = await variables(bench, app)
        for _ in range(bench.sizes.rounds):
            for what, of_both in found.items():
                of_both[DORMOUSE].append(await started(bench, "dormouse", what, env))
                of_both[EXPORTING].append(await started(bench, "dormouse", what, {**env, **exporting}))
    return found
